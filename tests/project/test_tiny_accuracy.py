"""The benchmark of accuracy: which labels are drawn, what is counted, which folders it reads."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from command import PHOTOS

from benchmarks.tiny_accuracy import drawn_labels, main, measure
from clipcli.heads.zero_shot import ZeroShotHead

KINDS = {"chelsea.png": "cat", "coffee.png": "cup of coffee", "rocket.jpg": "rocket"}


@pytest.mark.parametrize(("labels", "choices"), [(10, 10), (12, 10), (1000, 10), (3, 3), (2, 2)])
def test_a_draw_holds_the_true_label_first_and_others_once(labels, choices):
    truth = np.arange(labels)
    places = drawn_labels(truth, labels, choices, seed=3)
    assert places.shape == (labels, choices)
    assert (places[:, 0] == truth).all()
    assert all(len(set(row)) == choices and set(row) <= set(range(labels)) for row in places)
    assert (places == drawn_labels(truth, labels, choices, seed=3)).all()
    if labels > choices:
        assert (places != drawn_labels(truth, labels, choices, seed=4)).any()


def test_every_other_label_is_drawn_as_often():
    places = drawn_labels(np.full(20_000, 7), 21, 10, seed=0)
    counts = np.bincount(places[:, 1:].ravel(), minlength=21)
    assert counts[7] == 0
    assert np.abs(np.delete(counts, 7) / 9_000 - 1).max() < 0.06


def head_of(labels: int, scale: float) -> ZeroShotHead:
    names = tuple(map(str, range(labels)))
    return ZeroShotHead(names, np.zeros((labels, 4), np.float32), scale, 0.0, "softmax")


def test_figures_are_those_counted_by_hand():
    """Of four pictures one loses to label 0, in those draws that have it."""
    cosines = np.full((4, 20), 0.1)
    truth = np.array([1, 2, 3, 4])
    cosines[np.arange(4), truth] = 0.5
    cosines[3, 0] = 0.9
    draws = [np.array([[own, *others] for own in truth]) for others in ([19, 0], [18, 17])]
    found = measure(head_of(20, 1000.0), cosines, draws)
    assert (found.labels, found.right, found.mean) == (3, (3, 4), 7 / 8)
    # All answers have probability 1, and one of eight is wrong.
    assert found.calibration_error == pytest.approx(1 / 8)
    assert found.interval.low < 7 / 8 < found.interval.high == 1
    assert found.interval.low >= 0.5  # both draws are of the same four pictures


def test_of_equal_labels_the_true_one_is_no_mistake_and_half_sure():
    found = measure(head_of(2, 10.0), np.ones((3, 2)), [np.array([[0, 1], [1, 0], [0, 1]])])
    assert (found.mean, found.calibration_error) == (1.0, 0.5)


@pytest.fixture
def folders(tmp_path):
    """The same pictures with a table of labels, and with a folder for each class."""
    table = ["file\tlabel", *(f"{name}\t{label}" for name, label in KINDS.items())]
    shutil.copytree(PHOTOS, tmp_path / "table")
    (tmp_path / "table" / "labels.tsv").write_text("\n".join(table), encoding="utf-8")
    for name, label in KINDS.items():
        (tmp_path / "classes" / label.replace(" ", "_")).mkdir(parents=True)
        shutil.copy(PHOTOS / name, tmp_path / "classes" / label.replace(" ", "_"))
    return tmp_path


def test_both_kinds_of_folder_give_the_same_figures(folders, capsys):
    told = []
    for kind in ("table", "classes"):
        main([str(folders / kind), "--draws", "2"])
        told.append(capsys.readouterr())
    assert told[0] == told[1]
    lines = told[0].out.splitlines()
    assert lines[0] == "tiny, prompts a photo of a {}.: 3 images, 3 labels"
    assert lines[1].split() == ["labels", "accuracy", "95", "%", "interval", "ECE"]
    # Of three labels all are drawn.
    assert lines[2] == lines[3]
    assert lines[2].startswith("     3    1.0000  1.0000 to 1.0000  0.")
    assert lines[4] == "of 3 labels, 2 draws: 3 right in the first, 3 to 3 in all"


def test_a_picture_that_cannot_be_read_is_told_and_left_out(folders, capsys):
    (folders / "classes" / "dog").mkdir()
    (folders / "classes" / "dog" / "broken.png").write_bytes(b"text")
    main([str(folders / "classes"), "--draws", "1"])
    told = capsys.readouterr()
    assert "broken.png: not an image" in told.err
    assert "3 images, 3 labels" in told.out
