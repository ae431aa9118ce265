"""Confidence intervals by the bootstrap: what the figures would be on other draws of images.

The percentile bootstrap of Efron 1979: images are drawn with replacement, as many as there are.
The draws depend on nothing but their seed and the number of images, so that two models' figures
are of the same draws and their difference is that of pairs. Where every answer is the same, right
or wrong, every draw is, too: such an interval has no width, and says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipcli.arrays import Float64

LEVEL = 0.95
DRAWS = 2000
SEED = 0

# So few images of a class say little of its recall, and many draws would have none of them.
FEWEST_IN_A_CLASS = 5

_NUMBERS_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class Interval:
    """Where a figure lies, with a confidence of 95 %."""

    low: float
    high: float


def interval(figures: Float64) -> Interval:
    """The middle 95 % of a figure's values over all draws, shape (draws,)."""
    low, high = np.quantile(figures, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def drawn_means(values: NDArray[np.bool_] | Float64, draws: int = DRAWS) -> Float64:
    """Means over images, for each draw.

    Args:
        values: shape (n, columns).
        draws: how many times n images are drawn.

    Returns:
        Shape (draws, columns).
    """
    columns = values.astype(np.float64)
    return np.concatenate([counts @ columns for counts in _counts(len(values), draws)]) / len(
        values
    )


def drawn_class_means(
    values: NDArray[np.bool_], classes: NDArray[np.int64], draws: int = DRAWS
) -> Float64 | None:
    """Means over images of each class, averaged over classes, for each draw.

    Args:
        values: shape (n, columns).
        classes: of the images, shape (n,).
        draws: how many times n images are drawn.

    Returns:
        Shape (draws, columns), or None where a class has too few images for it to mean much.
    """
    _, starts, sizes = np.unique(np.sort(classes), return_index=True, return_counts=True)
    if sizes.min() < FEWEST_IN_A_CLASS:
        return None
    order = np.argsort(classes, kind="stable")
    parts = []
    for counts in _counts(len(values), draws):
        by_class = counts[:, order]
        images = np.add.reduceat(by_class, starts, axis=1)
        # A class that a draw has missed has no mean in it.
        images[images == 0] = np.nan
        hits = [np.add.reduceat(by_class * hit, starts, axis=1) for hit in values[order].T]
        parts.append(np.stack([np.nanmean(hit / images, axis=1) for hit in hits], axis=1))
    return np.concatenate(parts)


def _counts(images: int, draws: int) -> Iterator[Float64]:
    """How often each image is drawn: shape (draws, images), a part of the draws at a time."""
    random = np.random.default_rng(SEED)
    at_once = max(1, _NUMBERS_AT_ONCE // images)
    for start in range(0, draws, at_once):
        rows = min(at_once, draws - start)
        drawn = random.integers(images, size=(rows, images))
        # Each row counts in places of its own: one call for all of them.
        places = drawn + images * np.arange(rows)[:, None]
        counts = np.bincount(places.ravel(), minlength=rows * images)
        yield counts.reshape(rows, images).astype(np.float64)
