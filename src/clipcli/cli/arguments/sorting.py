"""Checks of the folders that pictures are sorted into, against those that are read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from clipcli.cli.arguments.checks import check_writable_folder
from clipcli.cli.options.inputs import NamingFlags
from clipcli.cli.options.sorting import SortingFlags
from clipcli.disk.paths import is_within
from clipcli.errors import UsageError
from clipcli.images.sources import is_pattern, is_url

_PATTERN = re.compile(r"[*?[]")


def check_folders(sorting: SortingFlags, naming: NamingFlags) -> None:
    """See that folders can be written to, and are none that are read, nor in them, nor around them.

    What is sorted would else be found, and sorted once more.

    Raises:
        UsageError: one is, or cannot be written to.
    """
    for option, folder in sorting.folders().items():
        for read in _read_folders(naming):
            if is_within(folder, read) or is_within(read, folder):
                way_out = "name a folder beside it"
                raise UsageError(f"{option} {folder} and {read}, which is read, overlap: {way_out}")
        check_writable_folder(option, folder)


def _read_folders(naming: NamingFlags) -> Iterator[str]:
    """The folders that are searched for images, as far as the command line names them.

    Those of a list are only known when it is read: a picture that is sorted already stays.
    """
    for name in naming.images:
        if is_pattern(name):
            if naming.recursive or "**" in name:
                yield os.path.dirname(_PATTERN.split(name, maxsplit=1)[0]) or os.curdir
        elif naming.recursive and not is_url(name) and os.path.isdir(name):
            yield name
