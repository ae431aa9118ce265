"""Folds: each class in all of them alike, and what is nearly one picture in one."""

from __future__ import annotations

import numpy as np
import pytest
from adaptation_data import unit

from clipcli.adaptation.folds import alike_groups, stratified_folds


@pytest.mark.parametrize("counts", [[5, 5], [16] * 10, [7, 12, 3], [2, 2], [1, 50], [1, 1, 2]])
@pytest.mark.parametrize("seed", range(3))
def test_each_class_is_spread_evenly(counts, seed) -> None:
    truth = np.repeat(np.arange(len(counts)), counts)

    folds = stratified_folds(truth, np.arange(len(truth)), seed)

    assert folds is not None
    number = folds.max() + 1
    assert number == min(5, max(counts))
    for place in range(len(counts)):
        sizes = np.bincount(folds[truth == place], minlength=number)
        assert sizes.max() - sizes.min() <= 1
    whole = np.bincount(folds, minlength=number)
    assert whole.max() - whole.min() <= 1


def test_other_seeds_make_other_folds() -> None:
    truth = np.repeat(np.arange(3), 10)
    made = [stratified_folds(truth, np.arange(30), seed).tolist() for seed in (0, 0, 1)]

    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize(
    ("truth", "groups"), [([0, 1, 2], [0, 1, 2]), ([0, 0, 1, 1], [0, 0, 1, 1])]
)
def test_with_one_picture_a_class_there_are_none(truth, groups) -> None:
    assert stratified_folds(np.array(truth), np.array(groups), 0) is None


def test_what_is_nearly_one_picture_is_never_in_two_folds() -> None:
    random = np.random.default_rng(0)
    once = unit(random.normal(size=(40, 16)))
    # Each three times: as it is, and with what another file format does to it.
    pictures = unit(np.concatenate([once, once, once + 1e-3 * random.normal(size=once.shape)]))
    truth = np.tile(np.repeat([0, 1], 20), 3)

    groups = alike_groups(pictures, truth)
    folds = stratified_folds(truth, groups, 0)

    assert len(set(groups.tolist())) == 40
    assert (folds.reshape(3, 40) == folds[:40]).all()


def test_pictures_of_two_classes_are_never_one_group() -> None:
    pictures = np.tile(unit(np.ones((1, 4))), (4, 1))

    assert alike_groups(pictures, np.array([0, 0, 1, 1])).tolist() == [0, 0, 2, 2]
