"""The gate, the refitted temperature and the figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from adaptation_data import made_material

from clipcli.adaptation.adapt import adapt
from clipcli.adaptation.judgement import Gain, Gate, HeldOut, likeliest_temperature
from clipcli.adaptation.options import AdaptOptions
from clipcli.adaptation.probe import Scale
from clipcli.evaluation.evaluate import evaluate
from clipcli.heads.zero_shot import ZeroShotHead

SURE, UNSURE, NONE, WORSE = Gain(0.2, 0.1), Gain(0.1, 0.2), Gain(0.0, 0.0), Gain(-0.3, 0.1)


@pytest.mark.parametrize("other", [SURE, UNSURE, NONE, WORSE])
def test_both_gains_must_be_sure(other) -> None:
    is_sure = other is SURE
    assert Gate(SURE, other).is_passed == is_sure
    assert Gate(other, SURE).is_passed == is_sure


@pytest.mark.parametrize(
    ("gain", "is_sure"),
    [(Gain(0.1, 0.1), True), (Gain(0.3, 0.0), True), (Gain(0.1, math.inf), False)],
)
def test_a_gain_is_sure_from_one_standard_error_on(gain, is_sure) -> None:
    assert gain.is_sure == is_sure


def held_out(zero_shot, adapted, truth, folds=None) -> HeldOut:
    folds = np.arange(len(truth)) % 2 if folds is None else folds
    return HeldOut(truth, folds, zero_shot, adapted, Scale(10.0))


def test_gains_are_of_pairs_with_their_standard_error() -> None:
    truth = np.array([0, 0, 1, 1])
    zero_shot = np.array([[1.0, 2], [1, 2], [2, 1], [1, 2]])  # one right
    adapted = np.array([[2.0, 1], [2, 1], [2, 1], [1, 2]])  # three right

    gate = held_out(zero_shot, adapted, truth).gate()

    assert gate.accuracy.mean == 0.5
    assert gate.accuracy.error == pytest.approx(np.std([1, 1, 0, 0], ddof=1) / 2)
    # Two pictures gained the difference of the logits, 1, exactly.
    assert gate.log_loss.mean == pytest.approx(0.5)


def test_the_temperature_is_the_one_that_eval_finds() -> None:
    random = np.random.default_rng(0)
    head = ZeroShotHead(
        tuple("abcd"), random.normal(size=(4, 8)).astype(np.float32), 40.0, 0.0, "softmax"
    )
    pictures = random.normal(size=(200, 8)).astype(np.float32)
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    logits = head.logit_scale * head.similarities(pictures)
    truth = np.array([random.choice(4, p=row) for row in head.probabilities(logits / 40 / 3)])

    expected = evaluate(head, pictures, truth).temperature

    assert expected is not None
    found = likeliest_temperature(logits, truth, Scale(40.0))
    assert found == pytest.approx(expected.value, rel=1e-3)


@pytest.mark.parametrize("logits", [[[9.0, 0], [0, 9.0]], [[0.0, 9], [9, 0.0]]])
def test_where_all_is_right_or_wrong_there_is_no_temperature(logits) -> None:
    assert likeliest_temperature(np.array(logits), np.array([0, 1]), Scale(1.0)) is None


def test_logits_that_are_too_large_are_divided() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(size=(400, 3))
    powers = np.exp(logits)
    truth = np.array([random.choice(3, p=row / row.sum()) for row in powers])
    inflated = held_out(logits, 4 * logits, truth, np.arange(400) % 5)

    cooled, temperature = inflated.at_temperature()

    assert temperature == pytest.approx(4, rel=0.2)
    assert cooled.adapted == pytest.approx(logits, rel=0.3, abs=0.3)
    before, after = (one.classes("abc")[-1].adapted for one in (inflated, cooled))
    assert after.log_loss < before.log_loss
    assert after.calibration_error < before.calibration_error


def test_few_pictures_keep_their_logits() -> None:
    truth = np.array([0, 1, 0, 1])
    logits = np.array([[3.0, 0], [0, 3], [0, 3], [0, 3]])
    few = held_out(logits, logits, truth)

    assert few.at_temperature() == (few, 1.0)


def test_figures_are_of_each_class_and_of_all() -> None:
    material = made_material([10, 20, 0])
    adaptation = adapt(material, AdaptOptions())

    assert [(one.label, one.pictures) for one in adaptation.classes] == [
        ("label 0", 10),
        ("label 1", 20),
        ("label 2", 0),
        (None, 30),
    ]
    first, second, bare, whole = adaptation.classes
    assert (bare.zero_shot, bare.adapted) == (None, None)
    for name in ("zero_shot", "adapted"):
        figures = [getattr(one, name) for one in (first, second, whole)]
        for figure in ("accuracy", "log_loss"):
            values = [getattr(one, figure) for one in figures]
            assert values[2] == pytest.approx((values[0] + 2 * values[1]) / 3)


def test_what_helps_is_accepted_and_what_cannot_is_refused() -> None:
    helped = [adapt(made_material([12] * 6, seed=seed), AdaptOptions()) for seed in range(5)]
    # Around the texts themselves nothing is to be learned.
    right = [
        adapt(made_material([12] * 6, apart=0, spread=2.5, seed=seed), AdaptOptions())
        for seed in range(20)
    ]

    assert all(one.is_accepted for one in helped)
    assert sum(not one.is_accepted for one in right) >= 16
    assert 0.6 < np.mean([one.classes[-1].zero_shot.accuracy for one in right]) < 0.95


def test_one_picture_a_class_cannot_be_checked() -> None:
    adaptation = adapt(made_material([1, 1, 1]), AdaptOptions())

    assert (adaptation.gate, adaptation.classes, dict(adaptation.thresholds)) == (None, (), {})
    assert (adaptation.is_accepted, adaptation.temperature) == (True, 1.0)
