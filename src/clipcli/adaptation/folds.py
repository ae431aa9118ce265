"""Folds: each class is in all of them alike, and pictures that are nearly the same are in one."""

from __future__ import annotations

import numpy as np

from clipcli.arrays import Float32, Int64

FOLDS = 5
# Of a cosine: one photo saved twice, resized or in another format; no two of a burst.
_SAME = 1 - 1e-4


def stratified_folds(truth: Int64, groups: Int64, seed: int, count: int = FOLDS) -> Int64 | None:
    """The fold of each picture, shape (n,).

    Args:
        truth: each picture's class, shape (n,).
        groups: pictures of one group stay together, shape (n,); a group is of one class.
        seed: of what is drawn.
        count: folds; fewer where no class has so many groups.

    Returns:
        Fold numbers from 0 on, or None where no class has two groups: there is nothing to hold out
        that the rest would teach.
    """
    random = np.random.default_rng(seed)
    by_class = [np.unique(groups[truth == one]) for one in np.unique(truth)]
    count = min(count, max(map(len, by_class)))
    if count < 2:
        return None
    folds = np.empty(len(truth), np.int64)
    offset = 0
    for members in by_class:
        for place, group in enumerate(random.permutation(members), offset):
            folds[groups == group] = place % count
        # Where a class has too few for all folds, the next one begins with those it has missed.
        offset += len(members)
    return folds


def alike_groups(embeddings: Float32, truth: Int64) -> Int64:
    """A number for each picture, shape (n,), the same for those of a class that are nearly one.

    Args:
        embeddings: unit rows of shape (n, d).
        truth: their classes, shape (n,).
    """
    groups = np.arange(len(truth))
    for one in np.unique(truth):
        places = np.flatnonzero(truth == one)
        rows = embeddings[places]
        for row, place in enumerate(places):
            # The first that it is like, itself at the latest; that one has its group by now.
            first = int(np.argmax(rows[: row + 1] @ rows[row] >= _SAME))
            groups[place] = groups[places[first]]
    return groups
