"""Figures of an evaluation: what they show, as PNG and SVG."""

from __future__ import annotations

import warnings
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from clipcli.errors import ClipcliWarning
from clipcli.evaluation.evaluate import Evaluation, evaluate
from clipcli.evaluation.plots import confusion_figure, recall_figure, reliability_figure, save_plots
from clipcli.heads.zero_shot import ZeroShotHead

FILES = [
    f"{name}.{kind}" for name in ("confusion", "recall", "reliability") for kind in ("png", "svg")
]


def made_evaluation(labels: list[str], images: int = 400) -> Evaluation:
    """Answers that are right more often than not."""
    random = np.random.default_rng(0)
    count = len(labels)
    truth = np.arange(images) % count
    rows = random.normal(size=(images, count)).astype(np.float32)
    rows[np.arange(images), truth] += 2
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    head = ZeroShotHead(tuple(labels), np.eye(count, dtype=np.float32), 10.0, 0.0, "softmax")
    return evaluate(head, rows, truth)


def numbered(count: int) -> list[str]:
    return [f"label {place}" for place in range(count)]


def tick_labels(figure: Figure, axis: str = "y") -> list[str]:
    axes = figure.axes[0]
    ticks = axes.get_yticklabels() if axis == "y" else axes.get_xticklabels()
    return [tick.get_text() for tick in ticks]


def overlaps(figure: Figure, axis: str) -> int:
    """How many neighbouring tick labels lie over one another, drawn."""
    figure.draw_without_rendering()
    axes = figure.axes[0]
    ticks = axes.get_yticklabels() if axis == "y" else axes.get_xticklabels()
    boxes = [tick.get_window_extent() for tick in ticks]
    return sum(one.overlaps(other) for one, other in pairwise(boxes))


def test_each_figure_is_there_as_png_and_svg(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "figures"

    files = save_plots(made_evaluation(numbered(10)), folder)

    assert sorted(file.name for file in files) == sorted(path.name for path in folder.iterdir())
    assert sorted(file.name for file in files) == FILES
    for file in files:
        if file.suffix == ".svg":
            assert ElementTree.parse(file).getroot().tag.endswith("svg")
        else:
            with Image.open(file) as image:
                assert min(image.size) > 300
                # Not a blank sheet.
                assert len(image.convert("RGB").getcolors(1 << 24)) > 50


def test_the_same_figures_are_the_same_bytes(tmp_path: Path) -> None:
    evaluation = made_evaluation(numbered(4))

    for name in ("a", "b"):
        save_plots(evaluation, tmp_path / name)

    for file in FILES:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("count", [2, 10, 20, 21, 100, 120])
def test_labels_stand_clear_of_one_another(count: int) -> None:
    evaluation = made_evaluation(numbered(count))

    for figure in (confusion_figure(evaluation), recall_figure(evaluation)):
        assert overlaps(figure, "y") == 0
        assert len(tick_labels(figure)) == count
    assert overlaps(confusion_figure(evaluation), "x") == 0


def test_a_confusion_matrix_has_shares_of_each_row_and_counts_where_there_is_room() -> None:
    evaluation = made_evaluation(numbered(5))

    figure = confusion_figure(evaluation)

    shares = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(shares * 80, evaluation.confusion)
    written = [int(text.get_text()) for text in figure.axes[0].texts]
    assert written == [count for count in evaluation.confusion.ravel() if count]
    assert not confusion_figure(made_evaluation(numbered(21))).axes[0].texts


def test_labels_that_no_image_has_or_gets_are_not_in_the_matrix() -> None:
    head = ZeroShotHead(tuple("abcd"), np.eye(4, dtype=np.float32), 10.0, 0.0, "softmax")
    rows = np.eye(4, dtype=np.float32)[[0, 0, 3]]

    evaluation = evaluate(head, rows, np.array([0, 1, 0]))

    assert tick_labels(confusion_figure(evaluation)) == ["a", "b", "d"]
    assert tick_labels(recall_figure(evaluation)) == ["b (1)", "a (2)"]


def test_of_very_many_labels_the_worst_are_shown_and_the_title_says_so() -> None:
    evaluation = made_evaluation(numbered(130), images=1300)

    confusion, recall = confusion_figure(evaluation), recall_figure(evaluation)

    assert len(tick_labels(confusion)) == len(tick_labels(recall)) == 120
    assert confusion.axes[0].get_title() == "Answers by true label: the worst 120 of 130"
    assert recall.axes[0].get_title() == "Recall by class: the worst 120 of 130"
    # Shares are of all a label's images, those answered with labels that are not shown included.
    shares = confusion.axes[0].images[0].get_array()
    assert shares.sum(axis=1).max() <= 1 + 1e-9
    assert shares.sum(axis=1).min() < 1


def test_recalls_stand_in_their_order_beside_their_mean() -> None:
    evaluation = made_evaluation(numbered(6))

    axes = recall_figure(evaluation).axes[0]

    widths = [bar.get_width() for bar in axes.patches]
    assert widths == sorted(one.recall for one in evaluation.classes)
    assert axes.lines[0].get_xdata()[0] == evaluation.mean_recall


def test_the_reliability_curve_has_a_point_for_each_bin_with_images() -> None:
    evaluation = made_evaluation(numbered(4))

    upper, lower = reliability_figure(evaluation).axes

    bins = [one for one in evaluation.reliability if one.images]
    points = upper.lines[1].get_xydata().tolist()
    assert points == [[one.confidence, one.accuracy] for one in bins]
    assert sum(bar.get_height() for bar in lower.patches) == 400
    assert f"{evaluation.calibration_error:.4f}" in upper.get_title()


def test_a_label_is_text_and_no_formula_and_shows_no_control_characters(tmp_path: Path) -> None:
    labels = ["from $5 to $9", "$\\frac{", "bell\x07", "<b>&", "a" * 60, "no\uffffcharacter"]

    figure = confusion_figure(made_evaluation(labels))
    save_plots(made_evaluation(labels), tmp_path)

    shown = ["from $5 to $9", "$\\frac{", "bell\\x07", "<b>&", "a" * 23 + "…"]
    shown += ["no\N{REPLACEMENT CHARACTER}character"]
    assert tick_labels(figure) == tick_labels(figure, "x") == shown
    svg = ElementTree.parse(tmp_path / "confusion.svg")
    nodes = svg.iter("{http://www.w3.org/2000/svg}text")
    texts = ["".join(node.itertext()).strip() for node in nodes]
    assert [texts.count(label) for label in shown] == [2] * 6


def test_letters_without_a_font_are_told_once(tmp_path: Path) -> None:
    with pytest.warns(ClipcliWarning, match="no font here has all letters") as told:
        save_plots(made_evaluation(["\U00013000 one", "two"]), tmp_path)

    assert len(told) == 1
    assert "\U00013000 one" in (tmp_path / "confusion.svg").read_text(encoding="utf-8")


def test_no_other_figure_or_setting_is_touched(tmp_path: Path) -> None:
    import matplotlib as mpl
    from matplotlib import pyplot

    before = dict(mpl.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_plots(made_evaluation(numbered(3)), tmp_path)

    assert dict(mpl.rcParams) == before
    assert pyplot.get_fignums() == []
