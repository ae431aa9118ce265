"""How usual a picture's embedding is among those of an adapter's pictures."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from clipcli.arrays import Float32, Float64, Int64

_ROWS_AT_ONCE = 1024


class Density(Protocol):
    """What an adapter's pictures say of how usual another one is."""

    def __init__(self, pictures: Float32, truth: Int64) -> None:
        """Learn what the classes look like.

        Args:
            pictures: unit rows, shape (n, d).
            truth: their classes, shape (n,).
        """
        ...

    def score(self, embeddings: Float32) -> Float64:
        """How usual pictures are, the higher the more: shape (m,), of unit rows of shape (m, d)."""
        ...


class NearestNeighbours:
    """The cosine with the nearest picture (after Sun et al. 2022, who take the k-th nearest).

    Of few pictures the nearest tells more than the mean of several: of digits that are not among
    five known ones, an area under the ROC curve of .71 against .67 with four pictures a class.

    Args:
        pictures: unit rows, shape (n, d).
        _truth: their classes, which do not matter here.
    """

    def __init__(self, pictures: Float32, _truth: Int64) -> None:
        self._pictures = pictures

    def score(self, embeddings: Float32) -> Float64:
        """Shape (m,), in -1..1, of unit rows of shape (m, d)."""
        scores = np.empty(len(embeddings))
        for start in range(0, len(embeddings), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            scores[part] = (embeddings[part] @ self._pictures.T).max(axis=1)
        return scores


class Mahalanobis:
    """Minus the squared distance to the nearest class's mean, in the classes' common spread.

    Lee et al. 2018. With fewer pictures than numbers in an embedding the spread cannot be inverted:
    it is shrunk towards that of a ball, as in Wang et al. 2024 (arXiv:2402.04087), where
    S^-1 = d ((n - 1) S + tr(S) I)^-1.

    Args:
        pictures: unit rows, shape (n, d).
        truth: their classes, shape (n,).
    """

    def __init__(self, pictures: Float32, truth: Int64) -> None:
        rows = pictures.astype(np.float64)
        classes, places = np.unique(truth, return_inverse=True)
        means = np.stack([rows[truth == one].mean(axis=0) for one in classes])
        rest = rows - means[places]
        count, width = rest.shape
        spread = rest.T @ rest / max(count - 1, 1)
        # One picture a class has no spread: then a ball is all that is known.
        ball = max(float(np.trace(spread)), 1e-12)
        shrunk = (count - 1) * spread + ball * np.eye(width)
        # S^-1 = d (K K^T)^-1: distances are plain ones behind the inverse of K.
        self._whiten = np.sqrt(width) * np.linalg.inv(np.linalg.cholesky(shrunk)).T
        self._means = means @ self._whiten

    def score(self, embeddings: Float32) -> Float64:
        """Shape (m,), at most 0, of unit rows of shape (m, d)."""
        rows = embeddings.astype(np.float64) @ self._whiten
        products = rows @ self._means.T
        lengths = np.sum(rows**2, axis=1)[:, None] + np.sum(self._means**2, axis=1)
        nearest: Float64 = (lengths - 2 * products).min(axis=1)
        return -nearest
