"""What a run was made with, as a JSON file, and where two runs differ in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipcli.disk.atomic import read_own
from clipcli.printable import printable, shortened

Settings = Mapping[str, Any]
"""What must be equal for a run to be continued, by names that people understand."""

PROVENANCE = "provenance"
"""Versions and dates: kept with the settings, not compared."""

RESUMED = "resumed"
"""The provenance of each run that went on with the file."""

ARITHMETIC = ("engine", "text_embeddings")
"""What of the provenance moves the last digits of probabilities, and no more.

A text's embedding depends on the texts that were encoded together with it, in its seventh digit:
another cache of texts, another head.
"""

SIZES = "bytes"
"""The size of the finished file, and those that it had before it was continued."""

CHECKSUMS = "crc32"
"""The CRC-32 of the file at each of these sizes, eight hexadecimal digits."""

AS_READY = "as ready"
"""An order of results that no later run can repeat."""

_NOT_COMPARED = {PROVENANCE, RESUMED, SIZES, CHECKSUMS}
_MISSING = object()
_LONGEST = 60
_LARGEST = 1 << 28  # bytes of settings: labels may be many
# So much of what two long values have in common is shown before their first difference.
_CONTEXT = 12


def differences(old: Settings, new: Settings) -> list[str]:
    """Where the settings of two runs differ, in words: `model: tiny then, ViT-B/32 now`.

    Args:
        old: of the earlier run, as read from its file.
        new: of this one.

    Returns:
        A text for each difference, in the order of `new`; none where a run can be continued.
    """
    new = json.loads(json.dumps(new))  # as it would be read again: tuples are lists
    keys = [key for key in dict.fromkeys([*new, *old]) if key not in _NOT_COMPARED]
    pairs = ((key, old.get(key, _MISSING), new.get(key, _MISSING)) for key in keys)
    return [f"{key}: {_contrast(then, now)}" for key, then, now in pairs if then != now]


def moved_digits(old: Settings, new: Settings) -> list[str]:
    """What may make two runs' numbers differ in their last digits, in the words of `differences`.

    What only one of them has recorded does not count.
    """
    then, now = (settings.get(PROVENANCE) for settings in (old, new))
    if not (isinstance(then, Mapping) and isinstance(now, Mapping)):
        return []
    keys = [key for key in ARITHMETIC if key in then and key in now]
    return differences({key: then[key] for key in keys}, {key: now[key] for key in keys})


def _contrast(then: object, now: object) -> str:
    texts = _text(then), _text(now)
    different = (place for place, (a, b) in enumerate(zip(*texts, strict=False)) if a != b)
    common = next(different, min(map(len, texts)))
    if max(map(len, texts)) > _LONGEST and common > _CONTEXT:
        # Of a thousand labels the five hundredth may be the one that differs.
        texts = "…" + texts[0][common - _CONTEXT :], "…" + texts[1][common - _CONTEXT :]
    before, after = (shortened(text, _LONGEST) for text in texts)
    return f"{before} then, {after} now"


def _text(value: object) -> str:
    if value is _MISSING:
        return "not recorded"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(repr, value)) or "none"
    return printable(str(value))


def read_settings(file: Path) -> dict[str, Any]:
    """The settings in a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds no settings.
    """
    try:
        settings = json.loads(read_own(file, _LARGEST))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(settings, dict):
        raise ValueError("not a JSON object")
    for key in (SIZES, CHECKSUMS, RESUMED):
        if not isinstance(settings.get(key, []), list):
            raise ValueError(f"{key} is not a list")
    return settings
