"""The data files that come with clipcli, and where they lie."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent


def asset(*names: str) -> Path:
    """Where a data file or a folder of them lies, as `asset("check", "rocket.jpg")`."""
    return _FOLDER.joinpath(*names)


def preset(kind: str, name: str) -> list[str]:
    """The lines of a built-in list.

    Args:
        kind: `labels` or `templates`.
        name: of the list, as on the command line.
    """
    return asset(kind, f"{name}.txt").read_text(encoding="utf-8").splitlines()
