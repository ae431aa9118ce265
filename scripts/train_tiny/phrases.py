"""The phrases the text tower learns, and the embeddings it is to give them."""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip import IMAGENET_CLASSNAMES
from torch import Tensor

from scripts.train_tiny.concepts import concept_names
from scripts.train_tiny.folders import WorkFolder

CONCEPT_WEIGHT = 150
IMAGENET_WEIGHT = 20


def collect(words: Path) -> list[str]:
    """Return WordNet's nouns, ImageNet's class names and the concept names, sorted, each once.

    Args:
        words: Tiny ImageNet's `words.txt`: a WordNet id, a tab, and nouns with commas between,
            of which the first two are taken.
    """
    found = set(concept_names())
    for name in IMAGENET_CLASSNAMES:
        found |= {name, name.lower()}
    for line in words.read_text(encoding="utf-8").splitlines():
        found.update(line.split("\t")[1].split(", ")[:2])
    return sorted(found)


def sampling_weights(phrases: Sequence[str]) -> NDArray[np.float64]:
    """Return how likely each phrase is to be drawn: what pictures show comes up far more often.

    Returns:
        Shape (n,), summing to 1.
    """
    weights = dict.fromkeys(phrases, 1.0)
    weights.update(dict.fromkeys(IMAGENET_CLASSNAMES, IMAGENET_WEIGHT))
    weights.update(dict.fromkeys(concept_names(), CONCEPT_WEIGHT))
    likelihoods = np.array(list(weights.values()), np.float64)
    likelihoods /= likelihoods.sum()
    return likelihoods


@dataclass(frozen=True)
class Phrases:
    """Phrases and the embeddings the text tower is to give them, whatever the template.

    Attributes:
        texts: The phrases.
        embeddings: Shape (n, embed_dim), float32, unit rows.
    """

    texts: Sequence[str]
    embeddings: Tensor

    def __len__(self) -> int:
        return len(self.texts)

    def prompts(self, rows: Iterable[int], templates: Sequence[str]) -> list[str]:
        """Put the phrases of these rows into templates, each drawn at random."""
        return [random.choice(templates).format(self.texts[row]) for row in rows]

    def save(self, work: WorkFolder) -> None:
        """Write phrases and embeddings into the work folder."""
        work.phrases.write_text(json.dumps(self.texts))
        np.save(work.phrase_embeddings, self.embeddings.numpy())

    @classmethod
    def load(cls, work: WorkFolder) -> Self:
        """Read what `save` wrote."""
        embeddings = torch.from_numpy(np.load(work.phrase_embeddings))
        return cls(json.loads(work.phrases.read_text()), embeddings)
