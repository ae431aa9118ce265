"""The cosine from which on each label fits, as a file: what `clipcli eval` learns."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from clipcli.errors import UsageError

_LARGEST = 1 << 28  # bytes: labels may be many


def read_thresholds(file: Path) -> dict[str, float]:
    """Label -> cosine, of a JSON object of them.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
    try:
        if file.stat().st_size > _LARGEST:
            raise ValueError
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read --thresholds {file} ({error.strerror})") from error
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise UsageError(f'--thresholds {file} is no JSON object: write {{"cat": 0.21, ...}}')
    for label, value in content.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number and math.isfinite(value) and -1 <= value <= 1):
            raise UsageError(
                f"--thresholds {file}: {label!r} has {value!r}: give a cosine, -1 to 1"
            )
    return {label: float(value) for label, value in content.items()}


def thresholds_of(
    labels: Sequence[str], known: Mapping[str, float], usual: float | None
) -> list[float]:
    """A threshold for each label.

    Args:
        labels: in the user's order.
        known: those that have one of their own.
        usual: of all others; None where there is none.

    Raises:
        UsageError: a label has none.
    """
    missing = [label for label in labels if label not in known]
    if missing and usual is None:
        raise UsageError(
            f"--multi-label has no threshold for {missing[0]!r}: add --min-similarity S for all"
            " labels, or --thresholds FILE, which 'clipcli eval --learn-thresholds FILE' makes"
        )
    return [known.get(label, 0.0 if usual is None else usual) for label in labels]
