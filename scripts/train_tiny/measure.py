"""How good a model is on the pictures that are held out of training: accuracy and calibration."""

import random
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


def probabilities(drawn: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Softmax of each row, scaled."""
    logits = scale * drawn
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = odds / odds.sum(axis=1, keepdims=True)
    return shares


def likelihood_loss(drawn: NDArray[np.float64], scale: float) -> float:
    """Mean negative log likelihood of the right labels, which come first."""
    return float(-np.log(probabilities(drawn, scale)[:, 0] + 1e-12).mean())


def calibration_error(drawn: NDArray[np.float64], scale: float, bins: int = 10) -> float:
    """Expected calibration error (Guo et al. 2017) of the softmax over each row."""
    best, right = probabilities(drawn, scale).max(axis=1), drawn.argmax(axis=1) == 0
    places = np.minimum((best * bins).astype(int), bins - 1)
    shares = [
        (places == place).mean() * abs(best[places == place].mean() - right[places == place].mean())
        for place in np.unique(places)
    ]
    return float(sum(shares))
