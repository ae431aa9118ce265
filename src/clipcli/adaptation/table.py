"""An adaptation as text: what each class gained, and whether that is enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipcli.evaluation.table import TableOptions, aligned
from clipcli.printable import printable, shortened

if TYPE_CHECKING:
    from clipcli.adaptation.adapt import Adaptation
    from clipcli.adaptation.judgement import ClassFigures, Figures, Gain, Gate

_LONGEST = 40
_HEADING = ("held out", "pictures", "accuracy", "adapted", "log-loss", "adapted", "ECE", "adapted")


def table(adaptation: Adaptation, options: TableOptions) -> str:
    """Figures of each class and of all, out of fold; what was fitted; what the gate says."""
    parts = [[_what(adaptation)]]
    if adaptation.classes:
        rows = [_row(one) for one in adaptation.classes]
        parts[0] += aligned(_HEADING, rows, "lrrrrrrr", options)
    if adaptation.gate is not None:
        parts.append([verdict(adaptation.gate)])
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def verdict(gate: Gate) -> str:
    """What the gate says, with its figures."""
    said = f"accuracy {_gain(gate.accuracy)}, log-loss {_gain(gate.log_loss, sign=-1)}"
    if gate.is_passed:
        return f"better than zero-shot: {said}"
    return f"not surely better than zero-shot: {said}; each must be by one standard error at least"


def _gain(gain: Gain, sign: int = 1) -> str:
    return f"{sign * gain.mean:+.4f} (standard error {gain.error:.4f})"


def _what(adaptation: Adaptation) -> str:
    material, fitted = adaptation.material, adaptation.fitted
    how = ", ".join(f"{name} {_value(value)}" for name, value in fitted.hyperparameters.items())
    where = f" in {', '.join(fitted.layers)}" if fitted.layers else ""
    checked = {0: "nothing held out", 1: "a part held out"}.get(
        adaptation.folds, f"{adaptation.folds} folds"
    )
    return (
        f"{len(material.truth):,} pictures of {sum(map(bool, material.counts)):,} classes,"
        f" {checked}; {fitted.parameters:,} numbers fitted{where} ({how}), temperature"
        f" {adaptation.temperature:.3g}, {adaptation.seconds:.1f} s"
    )


def _value(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _row(one: ClassFigures) -> list[str]:
    name = "all" if one.label is None else shortened(printable(one.label), _LONGEST)
    return [name, f"{one.pictures:,}", *_pairs(one.zero_shot, one.adapted)]


def _pairs(before: Figures | None, after: Figures | None) -> list[str]:
    if before is None or after is None:
        return ["-"] * 6
    return [
        f"{getattr(figures, name):.4f}"
        for name in ("accuracy", "log_loss", "calibration_error")
        for figures in (before, after)
    ]
