"""How good a model is on the pictures that are held out of training: accuracy and calibration."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TEMPLATE = "a photo of a {}."
TEN = 10


@dataclass(frozen=True)
class TestSet:
    """Pictures of one set: their features (n, 1280), the right label of each, and all labels."""

    name: str
    features: NDArray[np.float32]
    truth: list[str]
    labels: list[str]


def similarities(test: TestSet, encode_features: Callable, encode_texts: Callable) -> NDArray[np.float64]:
    """Cosines (n, labels)."""
    images = encode_features(test.features)
    texts = encode_texts([TEMPLATE.format(label) for label in test.labels])
    return np.asarray(images, np.float64) @ np.asarray(texts, np.float64).T


def draws(test: TestSet, cosines: NDArray[np.float64], repeats: int = 20) -> NDArray[np.float64]:
    """Cosines of the right label, then of up to nine others drawn at random: (repeats * n, ten)."""
    column = {label: place for place, label in enumerate(test.labels)}
    rows = []
    for seed in range(repeats):
        draw = random.Random(seed)
        for cosine, right in zip(cosines, test.truth, strict=True):
            others = [label for label in test.labels if label != right]
            chosen = [right, *draw.sample(others, min(TEN - 1, len(others)))]
            rows.append(cosine[[column[label] for label in chosen]])
    return np.array(rows)


def accuracy(drawn: NDArray[np.float64]) -> float:
    """Share of rows whose first value is the largest."""
    return float((drawn.argmax(axis=1) == 0).mean())


def all_labels(test: TestSet, cosines: NDArray[np.float64]) -> float:
    """Share of pictures named right among all labels at once."""
    right = np.array([test.labels.index(label) for label in test.truth])
    return float((cosines.argmax(axis=1) == right).mean())


def calibration_error(drawn: NDArray[np.float64], scale: float, bins: int = 10) -> float:
    """Expected calibration error (Guo et al. 2017) of the softmax over each row."""
    logits = scale * drawn
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    best, right = probabilities.max(axis=1), drawn.argmax(axis=1) == 0
    places = np.minimum((best * bins).astype(int), bins - 1)
    shares = [
        (places == place).mean() * abs(best[places == place].mean() - right[places == place].mean())
        for place in np.unique(places)
    ]
    return float(sum(shares))
