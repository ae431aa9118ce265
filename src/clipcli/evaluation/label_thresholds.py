"""The cosine from which on each label fits, learned where several labels may fit an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipcli.evaluation.thresholds import shortest_between

if TYPE_CHECKING:
    from clipcli.arrays import Float32
    from clipcli.heads.zero_shot import ZeroShotHead
    from clipcli.images.dataset import Dataset


def learned_thresholds(head: ZeroShotHead, embeddings: Float32, data: Dataset) -> dict[str, float]:
    """For each label that some image has, the threshold of the highest F1 on these images.

    Args:
        head: the labels.
        embeddings: of n images, shape (n, embed_dim).
        data: the same images; one that comes several times, by its name, has several labels.
    """
    names = [ref.name for ref in data.refs]
    first = {name: place for place, name in reversed([*enumerate(names)])}
    images = {name: number for number, name in enumerate(first)}
    cosines = head.similarities(embeddings[[*first.values()]])
    has = np.zeros(cosines.shape, np.bool_)
    places = {label: place for place, label in enumerate(head.labels)}
    for name, label in zip(names, data.labels, strict=True):
        has[images[name], places[label]] = True
    return {
        label: _best(cosines[:, place], has[:, place])
        for label, place in places.items()
        if has[:, place].any()
    }


def _best(cosines: NDArray[np.float64], has: NDArray[np.bool_]) -> float:
    """The threshold of the highest F1; of equal ones the one that most images pass."""
    order = np.argsort(-cosines, kind="stable")
    values, right = cosines[order], np.cumsum(has[order])
    passed = np.arange(1, len(values) + 1)
    # Images of one cosine pass together.
    is_last = np.append(values[:-1] != values[1:], True)
    scores = np.where(is_last, 2 * right / (passed + has.sum()), 0)
    last = len(scores) - 1 - int(scores[::-1].argmax())
    low = float(values[last + 1]) if last + 1 < len(values) else -1.0
    return shortest_between(low, float(values[last]))
