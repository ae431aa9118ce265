"""Checks of what the user named, before anything is loaded or begun."""

from __future__ import annotations

from pathlib import Path

from clipcli.errors import UsageError


def check_report_name(file: str) -> None:
    """See that a report replaces no image: `--report *.jpg` would name the first one.

    Raises:
        UsageError: the name is not that of a page.
    """
    if Path(file).suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--report {file} is no name of a page: give one that ends in .html")
