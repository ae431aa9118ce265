"""The text-anchored probe: the optimum of its objective, and zero-shot where that holds it."""

from __future__ import annotations

import numpy as np
import pytest
from adaptation_data import made_material
from scipy.optimize import minimize

from clipcli.adaptation.options import AdaptOptions
from clipcli.adaptation.probe import Probe, Scale, few_shot_strength, objective
from clipcli.adaptation.probing import fit

SOFT, SURE = Scale(17.6), Scale(100.0)
SIGMOID = Scale(30.0, -5.0, "sigmoid")


def probe_of(material) -> Probe:
    return Probe(material.pictures, material.truth, material.texts, material.scale)


def value(material, weights, strength) -> float:
    return objective(
        weights, material.pictures, material.truth, material.texts, material.scale, strength
    )


def by_scipy(material, strength) -> tuple[np.ndarray, float]:
    """The optimum by L-BFGS, of an objective and a gradient that are written out here."""
    pictures, texts = material.pictures.astype(float), material.texts.astype(float)
    scale, truth = material.scale, np.eye(len(texts))[material.truth]

    def both(flat):
        weights = flat.reshape(texts.shape)
        logits = scale.logit_scale * pictures @ weights.T + scale.logit_bias
        if scale.activation == "sigmoid":
            shares = 1 / (1 + np.exp(-logits))
            losses = -(truth * np.log(shares) + (1 - truth) * np.log1p(-shares)).sum(axis=1)
        else:
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            shares = powers / powers.sum(axis=1, keepdims=True)
            losses = -np.log((shares * truth).sum(axis=1))
        slope = scale.logit_scale * (shares - truth).T @ pictures / len(pictures)
        moved = weights - texts
        found = losses.mean() + strength * (moved**2).sum()
        return found, (slope + 2 * strength * moved).ravel()

    options = {"maxiter": 20_000, "maxfun": 50_000, "ftol": 1e-15, "gtol": 1e-10}
    found = minimize(both, texts.ravel(), jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(texts.shape), both(texts.ravel())[0]


@pytest.mark.parametrize("scale", [SOFT, SURE, SIGMOID], ids=["soft", "sure", "sigmoid"])
@pytest.mark.parametrize("strength", [10.0, 1.0, 0.1, 0.01])
# Fewer pictures than an embedding has numbers, and more.
@pytest.mark.parametrize("counts", [[1, 1, 1], [4, 1, 7], [20, 20, 20]])
def test_it_is_the_optimum_that_scipy_finds(scale, strength, counts) -> None:
    material = made_material(counts, scale=scale, apart=30.0, spread=30.0)
    probe = probe_of(material)

    weights = probe.weights(probe.fit(strength))

    expected, at_start = by_scipy(material, strength)
    assert value(material, weights, strength) == pytest.approx(
        value(material, expected, strength), abs=1e-6
    )
    assert weights == pytest.approx(expected, abs=1e-3)
    # The start is not the optimum already, and is what both began with.
    assert value(material, material.texts, strength) == pytest.approx(at_start, rel=1e-6)
    assert value(material, weights, strength) < at_start - 1e-5


@pytest.mark.parametrize("scale", [SOFT, SURE, SIGMOID], ids=["soft", "sure", "sigmoid"])
def test_with_endless_strength_it_is_zero_shot_exactly(scale) -> None:
    material = made_material([5, 5, 5], scale=scale)
    probe = probe_of(material)

    weights = probe.weights(probe.fit(1e12)).astype(np.float32)

    assert np.array_equal(weights, material.texts)


def test_a_start_from_elsewhere_ends_at_the_same_place() -> None:
    material = made_material([6, 6, 6])
    probe = probe_of(material)

    from_zero_shot = probe.fit(0.1)
    from_elsewhere = probe.fit(0.1, start=probe.fit(10.0) + 1.0)

    assert from_elsewhere == pytest.approx(from_zero_shot, abs=1e-6)


def test_labels_without_a_picture_stay_near_their_texts() -> None:
    material = made_material([8, 8, 0])
    probe = probe_of(material)

    moved = np.linalg.norm(probe.weights(probe.fit(0.3)) - material.texts, axis=1)

    assert 0 < moved[2] < moved[:2].min()


def test_the_rule_is_three_times_the_squared_mean_of_the_truths_probability() -> None:
    logits = np.log(np.array([[0.5, 0.5], [0.25, 0.75]]))
    truth = np.array([0, 1])

    assert few_shot_strength(logits, truth, Scale(1.0)) == pytest.approx(3 * 0.625**2)


@pytest.mark.parametrize(
    ("counts", "rule"),
    [
        ([1, 1, 1], "3 p^2"),
        ([4, 4, 4], "3 p^2"),
        ([5, 5, 5], "cross-validation"),
        ([1, 50], "cross-validation"),
    ],
)
def test_few_pictures_go_by_the_rule_and_more_by_cross_validation(counts, rule) -> None:
    fitted = fit(made_material(counts), AdaptOptions(), lambda _line: None)

    assert fitted.hyperparameters["rule"] == rule
    assert (fitted.held_out is None) == (max(counts) == 1)


def test_held_out_answers_are_of_probes_without_those_pictures() -> None:
    material = made_material([10, 10, 10])

    fitted = fit(material, AdaptOptions(), lambda _line: None)

    assert fitted.held_out is not None
    strength = fitted.hyperparameters["strength"]
    for fold in range(material.fold_count):
        is_out = material.folds == fold
        without = Probe(
            material.pictures[~is_out], material.truth[~is_out], material.texts, material.scale
        )
        weights = without.weights(without.fit(strength))
        expected = material.scale.logits(material.pictures[is_out], weights)
        assert fitted.held_out.adapted[is_out] == pytest.approx(expected, abs=1e-2)
