"""Thresholds of novelty: below which a picture is unlike an adapter's classes."""

from __future__ import annotations

import numpy as np

from clipcli.adaptation.material import Material
from clipcli.arrays import Float32
from clipcli.heads.novelty import DENSITIES, density

KEPT = 0.95
"""Of the classes' own pictures, held out, so many are above the threshold."""


def thresholds(material: Material, pictures: Float32) -> dict[str, float]:
    """For each way to score, the threshold; empty where nothing can be held out.

    Args:
        material: whose folds are held out.
        pictures: its embeddings as the adapted model gives them, shape (n, d).
    """
    if material.folds is None:
        return {}
    return {name: _threshold(name, material, pictures) for name in DENSITIES}


def _threshold(name: str, material: Material, pictures: Float32) -> float:
    scores = np.empty(len(pictures))
    for fold in range(material.fold_count):
        is_out = material.folds == fold
        taught = density(name)(pictures[~is_out], material.truth[~is_out])
        scores[is_out] = taught.score(pictures[is_out])
    # One of the scores themselves, so that no fewer are kept.
    return float(np.quantile(scores, 1 - KEPT, method="lower"))
