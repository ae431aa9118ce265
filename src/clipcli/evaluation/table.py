"""An evaluation as text: aligned tables, the same on a terminal and in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clipcli.evaluation.calibration import FEWEST_IMAGES
from clipcli.evaluation.comparison import TOP, Row
from clipcli.evaluation.evaluate import Evaluation
from clipcli.evaluation.intervals import Interval
from clipcli.evaluation.metrics import ClassMetrics
from clipcli.evaluation.thresholds import Threshold
from clipcli.images.dataset import Dataset
from clipcli.printable import printable, shortened, width

_LONGEST = 40
_FEW_CLASSES = 20
_LOWEST = 10
_MISTAKES = 10


@dataclass(frozen=True)
class TableOptions:
    """How the tables are written.

    Attributes:
        verbose: all classes are shown, not only those that do worst.
        color: headings may be bold.
    """

    verbose: bool = False
    color: bool = False


def table(rows: Sequence[Row], images: Dataset, options: TableOptions) -> str:
    """Everything that people want to see first; the first row's classes and mistakes.

    Args:
        rows: one or more contenders.
        images: that were answered, without those that failed.
        options: how it is written.
    """
    first = rows[0]
    parts = [_overview(first, images, options)]
    if len(rows) > 1:
        # On top: whoever compares wants the comparison before the details of its first row.
        parts.insert(0, _comparison(rows, options))
    parts += [_classes(first.contender.evaluation, options)]
    parts += [_mistakes(first.contender.evaluation, images, options)]
    parts += [_suggestions(first, options)]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _comparison(rows: Sequence[Row], options: TableOptions) -> list[str]:
    heading = (
        *("model", "prompts", "top-1", "95 % interval"),
        *(f"top-{TOP}", "recall", "ECE", "difference", "95 % interval"),
    )
    return aligned(heading, [_compared(row) for row in rows], "llrlrrrrl", options)


def _compared(row: Row) -> list[str]:
    contender, evaluation = row.contender, row.contender.evaluation
    return [
        _shown(contender.model.name),
        _shown(contender.prompts),
        _number(evaluation.accuracy()),
        _range(row.top1),
        _number(evaluation.accuracy(TOP) if len(evaluation.labels) > TOP else None),
        _number(evaluation.mean_recall),
        _number(evaluation.calibration_error),
        "" if row.difference is None else f"{row.difference:+.4f}",
        "" if row.difference is None else _range(row.difference_interval),
    ]


def _overview(row: Row, images: Dataset, options: TableOptions) -> list[str]:
    contender, evaluation = row.contender, row.contender.evaluation
    figures = [["top-1", _number(evaluation.accuracy()), _range(row.top1)]]
    if len(evaluation.labels) > TOP:  # else it is 1, and means nothing
        figures.append([f"top-{TOP}", _number(evaluation.accuracy(TOP)), _range(row.top5)])
    figures.append(["mean recall", _number(evaluation.mean_recall), _range(row.mean_recall)])
    figures.append(["calibration error (ECE)", _number(evaluation.calibration_error), "-"])
    what = (
        f"{_shown(contender.model.name)}, prompts {_shown(contender.prompts)}:"
        f" {_count(evaluation.images, 'image', 'images')}"
        f" of {_count(len(images.classes), 'class', 'classes')}, {len(evaluation.labels):,} labels"
    )
    return [what, *aligned(("", "", "95 % interval"), figures, "lrl", options)]


def _count(number: int, one: str, more: str) -> str:
    return f"{number:,} {one if number == 1 else more}"


def _classes(evaluation: Evaluation, options: TableOptions) -> list[str]:
    classes: Sequence[ClassMetrics] = evaluation.classes
    title = "class"
    if not options.verbose and len(classes) > _FEW_CLASSES:
        seen = [one for one in classes if one.recall is not None]
        classes = sorted(seen, key=lambda one: (one.recall or 0.0, -one.images))[:_LOWEST]
        title = "class (lowest recall)"
    cells = [
        [_shown(one.label), f"{one.images:,}", *map(_number, (one.precision, one.recall, one.f1))]
        for one in classes
    ]
    return aligned((title, "images", "precision", "recall", "F1"), cells, "lrrrr", options)


def _mistakes(evaluation: Evaluation, images: Dataset, options: TableOptions) -> list[str]:
    cells = [
        [
            _number(evaluation.answers.confidence[place]),
            _shown(images.labels[place]),
            _shown(evaluation.labels[evaluation.answers.predicted[place]]),
            printable(images.refs[place].name),
        ]
        for place in evaluation.mistakes(_MISTAKES)
    ]
    heading = ("surest mistakes", "class", "answer", "image")
    return aligned(heading, cells, "rlll", options) if cells else []


def _suggestions(row: Row, options: TableOptions) -> list[str]:
    evaluation = row.contender.evaluation
    lines = [_bold("suggestions", options)]
    if evaluation.images < FEWEST_IMAGES:
        few = _count(evaluation.images, "image is", "images are")
        return [*lines, f"{few} too few for suggestions: {FEWEST_IMAGES} at least"]
    lines.append(_temperature(evaluation))
    for option, found in (
        ("--min-probability", evaluation.thresholds),
        ("--min-similarity", evaluation.similarity_thresholds),
    ):
        lines += [
            _suggestion(option, target, threshold, evaluation.images)
            for target, threshold in found.items()
        ]
    return lines


def _temperature(evaluation: Evaluation) -> str:
    fitted = evaluation.temperature
    if fitted is None or fitted.trial is None:
        return "no --temperature is best for these images"
    trial = fitted.trial
    errors = f"the ECE is {trial.error:.4f} with it, {trial.error_without:.4f} without"
    where = f"on {trial.images:,} images that it was not fitted on"
    if fitted.is_confirmed:
        return f"--temperature {fitted.value:.4g}: {where}, {errors}"
    return f"no --temperature helps: {where}, {errors}"


def _suggestion(option: str, target: float, threshold: Threshold | None, images: int) -> str:
    if threshold is None:
        return f"precision {target:g}: no {option} reaches it"
    return (
        f"precision {target:g}: {option} {threshold.value} answers"
        f" {threshold.answered:,} of {images:,} images, {threshold.right:,} of them right"
    )


def aligned(
    heading: Sequence[str], rows: Sequence[Sequence[str]], sides: str, options: TableOptions
) -> list[str]:
    """Columns two spaces apart, each to the left or to the right (`l` or `r`)."""
    columns = zip(heading, *rows, strict=True)
    widths = [max(map(width, column)) for column in columns]
    lines = ["  ".join(map(_padded, cells, widths, sides)).rstrip() for cells in (heading, *rows)]
    return [_bold(lines[0], options), *lines[1:]]


def _padded(text: str, columns: int, side: str) -> str:
    space = " " * (columns - width(text))
    return space + text if side == "r" else text + space


def _bold(text: str, options: TableOptions) -> str:
    return f"\x1b[1m{text}\x1b[0m" if options.color else text


def _shown(text: str) -> str:
    return shortened(printable(text), _LONGEST)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _range(ends: Interval | None) -> str:
    # One without width is of answers that are all alike: it would promise what nobody knows.
    if ends is None or ends.low == ends.high:
        return "-"
    return f"{ends.low:.4f} to {ends.high:.4f}"
