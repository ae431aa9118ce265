"""Checks of what the user named, before anything is loaded or begun."""

from __future__ import annotations

import os
from pathlib import Path

from clipcli.errors import UsageError


def check_report_name(file: str) -> None:
    """See that a report replaces no image: `--report *.jpg` would name the first one.

    Raises:
        UsageError: the name is not that of a page.
    """
    if Path(file).suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--report {file} is no name of a page: give one that ends in .html")


def check_writable(option: str, file: str) -> None:
    """See that a file can be written: after a run, a slip of the pen would cost hours.

    Args:
        option: that names it, for the message.
        file: its name.

    Raises:
        UsageError: its folder is not there or cannot be written to.
    """
    _check_folder(Path(file).parent, f"{option} {file}")


def check_writable_folder(option: str, folder: str) -> None:
    """See that a folder can be written to, or can be made where it is not there.

    Raises:
        UsageError: what there is of it cannot be written to.
    """
    there = next(filter(os.path.exists, (Path(folder), *Path(folder).parents)))
    _check_folder(there, f"{option} {folder}")


def is_same_file(file: str, other: str) -> bool:
    """Whether two names are one file's, which need not be there."""
    return os.path.realpath(file) == os.path.realpath(other)


def _check_folder(folder: Path, what: str) -> None:
    if not folder.is_dir():
        raise UsageError(f"cannot write {what} (there is no folder {folder})")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"cannot write {what} ({folder} is read-only)")
