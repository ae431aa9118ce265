"""How usual a picture is among others."""

from __future__ import annotations

import numpy as np
import pytest
from adaptation_data import made_material, unit

from clipcli.adaptation.density import thresholds
from clipcli.heads.novelty import DENSITIES, density


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("counts", [[1, 1], [2, 3], [30, 30, 30]])
def test_own_pictures_are_more_usual_than_strange_ones(name, counts) -> None:
    material = made_material(counts)
    scores = density(name)(material.pictures, material.truth)
    strange = unit(np.random.default_rng(9).normal(size=(200, material.pictures.shape[1])))

    assert scores.score(material.pictures).mean() > scores.score(strange).mean()


def test_the_nearest_neighbour_counts() -> None:
    material = made_material([5, 5])
    strange = unit(np.random.default_rng(9).normal(size=(3000, material.pictures.shape[1])))

    found = density("knn")(material.pictures, material.truth).score(strange)

    assert found == pytest.approx((strange @ material.pictures.T).max(axis=1), abs=1e-6)


def test_distances_are_those_by_the_inverse_that_is_written_out() -> None:
    material = made_material([40, 40])
    rows, width = material.pictures.astype(float), material.pictures.shape[1]
    means = np.stack([rows[material.truth == one].mean(axis=0) for one in (0, 1)])
    rest = rows - means[material.truth]
    spread = rest.T @ rest / (len(rows) - 1)
    inverse = width * np.linalg.inv((len(rows) - 1) * spread + np.trace(spread) * np.eye(width))
    gaps = rows[:, None] - means
    expected = -np.einsum("nkd,de,nke->nk", gaps, inverse, gaps).min(axis=1)

    found = density("mahalanobis")(material.pictures, material.truth).score(material.pictures)

    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", DENSITIES)
def test_a_threshold_keeps_95_of_100_held_out(name) -> None:
    material = made_material([100, 100])
    threshold = thresholds(material, material.pictures)[name]
    scores = np.concatenate(
        [
            density(name)(
                material.pictures[material.folds != fold], material.truth[material.folds != fold]
            ).score(material.pictures[material.folds == fold])
            for fold in range(5)
        ]
    )

    assert 0.95 <= (scores >= threshold).mean() <= 0.96
