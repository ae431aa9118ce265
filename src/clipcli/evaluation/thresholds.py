"""Thresholds of the probability and of the cosine: where answers are right often enough."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from clipcli.arrays import Float64


@dataclass(frozen=True)
class Threshold:
    """The smallest threshold at which a precision is reached, on the images at hand.

    Attributes:
        target: the precision wished for, in 0..1.
        value: the threshold.
        answered: how many images have an answer other than unknown.
        right: how many of these answers are right.
        coverage: the share of images that have an answer.
    """

    target: float
    value: float
    answered: int
    right: int
    coverage: float

    @property
    def precision(self) -> float:
        """The share of right answers among those given."""
        return self.right / self.answered


def find_threshold(
    sureness: Float64, correct: NDArray[np.bool_], target: float, lowest: float = 0.0
) -> Threshold | None:
    """The smallest threshold whose answers have at least the precision wished for.

    Args:
        sureness: of each image's answer, its probability or its cosine, shape (n,).
        correct: whether it is right, shape (n,).
        target: the precision wished for, in 0..1.
        lowest: the threshold that lets every answer pass.

    Returns:
        None where no threshold does: the surest answers are wrong too often.
    """
    order = np.argsort(-sureness, kind="stable")
    confidence = sureness[order]
    right = np.cumsum(correct[order])
    answered = np.arange(1, len(order) + 1)
    # A threshold cannot part images of the same probability: only the last of them may be it.
    is_last = np.append(confidence[:-1] != confidence[1:], True)
    reached = np.flatnonzero(is_last & (right / answered >= target))
    if not len(reached):
        return None
    last = int(reached[-1])
    if last + 1 == len(order):
        value = lowest
    else:
        value = shortest_between(float(confidence[last + 1]), float(confidence[last]))
    count = last + 1
    return Threshold(target, value, count, int(right[last]), count / len(order))


def shortest_between(low: float, high: float) -> float:
    """The number with the fewest decimals that is above `low` and at most `high`, in -1..1.

    All of these part the images alike, and people will type it.
    """
    # In decimal: 0.57 * 100 is 56.99... in binary, and would be cut to 0.56.
    exact = Decimal(repr(high))
    for digits in range(1, 17):
        value = float(exact.quantize(Decimal(1).scaleb(-digits), ROUND_FLOOR))
        if low < value:
            return value
    return high
