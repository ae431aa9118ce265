"""Figures of an evaluation: the confusion matrix, the reliability curve, recall by class."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from clipcli.arrays import Float64
from clipcli.disk.atomic import NewFile, open_own
from clipcli.errors import ClipcliWarning, UsageError
from clipcli.printable import printable, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from clipcli.evaluation.evaluate import Evaluation

FORMATS = ("png", "svg")
FILES = [f"{name}.{kind}" for name in ("confusion", "reliability", "recall") for kind in FORMATS]

# Characters that XML 1.0 (section 2.2), and so an SVG, must not hold, beside those that
# `printable` escapes.
_NOT_IN_XML = re.compile("[\ufffe\uffff]")

_DPI = 150
_BLUE, _ORANGE, _GREY = "#2b6ca3", "#c8641e", "#8a8a8a"
_LONGEST = 24
# With so few labels there is room for the counts in a confusion matrix.
_FEW = 20
# With more, letters that can be read would make a poster of it.
_MOST = 120


@dataclass(frozen=True)
class _Scale:
    """Sizes that suit a number of labels.

    Attributes:
        letters: of labels, in points.
        pitch: from one label to the next, in inches.
    """

    letters: float
    pitch: float

    @classmethod
    def of(cls, labels: int) -> _Scale:
        return cls(9, 0.42) if labels <= _FEW else cls(6, 0.115)


def check_matplotlib() -> None:
    """See that figures can be drawn.

    Raises:
        UsageError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise UsageError("--plots needs the package matplotlib: pip install 'clipcli[eval]'")


def save_plots(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Draw all figures, each as PNG and as SVG.

    Args:
        evaluation: of one model with one set of prompts.
        folder: where they go; it is made, and files of the same names are replaced.

    Returns:
        The files that were written.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "confusion": confusion_figure(evaluation),
        "reliability": reliability_figure(evaluation),
        "recall": recall_figure(evaluation),
    }
    files = [folder / name for name in FILES]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for file in files:
            _save(figures[file.stem], file)
    if any("missing from font" in str(warning.message) for warning in told):
        text = "no font here has all letters of the labels: the .svg figures leave them to the"
        warnings.warn(f"{text} viewer, the .png ones show boxes", ClipcliWarning, stacklevel=2)
    return files


def _save(figure: Figure, file: Path) -> None:
    from matplotlib import rc_context

    # Without a date and with a salt of its own, the same figures are the same bytes.
    metadata = {"Date": None} if file.suffix == ".svg" else {}
    with (
        rc_context({"svg.hashsalt": "clipcli", "svg.fonttype": "none"}),
        NewFile(file) as beside,
        open_own(beside, "wb") as stream,
    ):
        figure.savefig(stream, format=file.suffix[1:], dpi=_DPI, metadata=metadata)


def confusion_figure(evaluation: Evaluation) -> Figure:
    """Which labels are taken for which: of each true label's images, the share of each answer.

    Only labels that some image has or gets; of very many, those with the most mistakes.
    """
    counts = evaluation.confusion
    shown = _confused(counts)
    names = _names([evaluation.labels[place] for place in shown])
    counts = counts[np.ix_(shown, shown)]
    images = evaluation.confusion[shown].sum(axis=1, keepdims=True)
    shares = counts / np.maximum(images, 1)

    scale = _Scale.of(len(shown))
    side = max(3.0, scale.pitch * len(shown))
    figure, axes = _figure(side + 2.6, side + 1.6, layout="compressed")
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    _draw_lines(axes, len(shown))
    ticks = range(len(shown))
    axes.set_xticks(ticks, names, rotation=90, fontsize=scale.letters, parse_math=False)
    axes.set_yticks(ticks, names, fontsize=scale.letters, parse_math=False)
    axes.set_xlabel("answer")
    axes.set_ylabel("true label")
    axes.set_title(_title("Answers by true label", len(shown), _present(evaluation)))
    if len(shown) <= _FEW:
        _write_counts(axes, counts, shares)
    bar = figure.colorbar(picture, ax=axes, shrink=min(1.0, 4 / side), label="share of its images")
    bar.outline.set_visible(False)
    return figure


def _confused(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels to show, in their order."""
    present = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    if len(present) <= _MOST:
        return present
    mistakes = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    return np.sort(np.argsort(-mistakes, kind="stable")[:_MOST])


def _present(evaluation: Evaluation) -> int:
    counts = evaluation.confusion
    return int(np.count_nonzero(counts.sum(axis=0) + counts.sum(axis=1)))


def _draw_lines(axes: Axes, count: int) -> None:
    """Thin lines between the cells, along which the eye finds the labels."""
    between = np.arange(count - 1) + 0.5
    axes.set_xticks(between, minor=True)
    axes.set_yticks(between, minor=True)
    axes.grid(which="minor", color="#e4e4e4", linewidth=0.4)
    axes.tick_params(which="minor", length=0)


def _write_counts(axes: Axes, counts: NDArray[np.int64], shares: Float64) -> None:
    for row, column in np.argwhere(counts).tolist():
        color = "white" if shares[row, column] > 0.5 else "black"
        text = f"{counts[row, column]:,}"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)


def reliability_figure(evaluation: Evaluation) -> Figure:
    """Accuracy by probability, and how many images have which."""
    bins = [one for one in evaluation.reliability if one.images]
    every = evaluation.reliability
    figure, (axes, below) = _figure_of_two(4.6, 4.8)
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1, label="as it should be")
    axes.bar(
        [one.low for one in bins],
        [one.accuracy or 0.0 for one in bins],
        width=1 / len(every),
        align="edge",
        color=_BLUE,
        alpha=0.35,
        edgecolor="white",
    )
    axes.plot(
        [one.confidence or 0.0 for one in bins],
        [one.accuracy or 0.0 for one in bins],
        "o-",
        color=_BLUE,
        markersize=4,
        clip_on=False,  # at 1 whole points are shown
        label="answers",
    )
    axes.set_ylabel("share of right answers")
    axes.set_ylim(0, 1)
    axes.legend(loc="upper left", frameon=False)
    axes.set_title(f"Reliability, ECE {evaluation.calibration_error:.4f}")
    below.bar(
        [one.low for one in every],
        [one.images for one in every],
        width=1 / len(every),
        align="edge",
        color=_ORANGE,
        edgecolor="white",
    )
    below.set_xlim(0, 1)
    below.set_xlabel("probability of the answer")
    below.set_ylabel("images")
    return figure


def recall_figure(evaluation: Evaluation) -> Figure:
    """Each class's recall, the lowest on top; of very many classes the lowest ones."""
    known = [one for one in evaluation.classes if one.recall is not None]
    ordered = sorted(known, key=lambda one: one.recall or 0.0)[:_MOST]
    scale = _Scale.of(len(ordered))
    figure, axes = _figure(5.6, 1.4 + max(1.0, scale.pitch * len(ordered)))
    places = range(len(ordered))
    axes.barh(places, [one.recall or 0.0 for one in ordered], color=_BLUE, height=0.75)
    names = _names([one.label for one in ordered], [one.images for one in ordered])
    axes.set_yticks(places, names, fontsize=scale.letters, parse_math=False)
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    mean = evaluation.mean_recall
    axes.axvline(mean, color=_ORANGE, linewidth=1, label=f"mean {mean:.4f}")
    axes.legend(loc="upper right", fontsize=8)
    axes.set_xlabel("recall (in brackets: images)")
    axes.set_title(_title("Recall by class", len(ordered), len(known)))
    return figure


def _title(text: str, shown: int, known: int) -> str:
    return text if shown == known else f"{text}: the worst {shown} of {known:,}"


def _names(labels: Sequence[str], images: Sequence[int] | None = None) -> list[str]:
    texts = [_NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", printable(label)) for label in labels]
    # A label of a line's length would leave no room for the matrix.
    names = [shortened(text, _LONGEST) for text in texts]
    if images is None:
        return names
    return [f"{name} ({count:,})" for name, count in zip(names, images, strict=True)]


def _figure(
    width: float, height: float, layout: Literal["constrained", "compressed"] = "constrained"
) -> tuple[Figure, Axes]:
    # Not pyplot, which keeps every figure and looks for a screen.
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout=layout)
    return figure, figure.add_subplot()


def _figure_of_two(width: float, height: float) -> tuple[Figure, tuple[Axes, Axes]]:
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    return figure, (upper, lower)
