"""Where clipcli keeps its caches, notes of what it downloaded, and a user's adapters."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path

from clipcli.errors import ClipcliWarning

_NOWHERE = Path(os.devnull, "clipcli")


def cache_folder() -> Path:
    """The folder of all caches: `CLIPCLI_CACHE_DIR`, or the platform's place for such things.

    Where there is none, it is `nowhere`: what is optional goes on without it.
    """
    # Read here and not by an option: every command and the library mean the same folder.
    chosen = os.environ.get("CLIPCLI_CACHE_DIR")
    if chosen:
        return Path(chosen)
    # Imported only where it is needed: it takes a hundredth of a second.
    from platformdirs import user_cache_path

    with suppress(RuntimeError):  # no HOME, and no entry of this user in the system's list
        path = user_cache_path("clipcli", appauthor=False)
        if path.is_absolute():
            return path
    return nowhere()


def data_folder() -> Path:
    """The folder of what only its user can make again: `CLIPCLI_DATA_DIR`, or the platform's place.

    No command that clears a cache goes near it. Where there is none, it is `nowhere`.
    """
    chosen = os.environ.get("CLIPCLI_DATA_DIR")
    if chosen:
        return Path(chosen)
    from platformdirs import user_data_path

    with suppress(RuntimeError):
        path = user_data_path("clipcli", appauthor=False)
        if path.is_absolute():
            return path
    return nowhere()


@cache
def nowhere() -> Path:
    """A folder that is not there and cannot be made, in the place of one below a missing home.

    The first use is told of, in a `ClipcliWarning`.
    """
    message = (
        "this user has no home folder, so nothing is kept from one run to the next: set HOME, or"
        " CLIPCLI_CACHE_DIR to a folder for clipcli's caches and HF_HOME to one for downloads"
    )
    warnings.warn(message, ClipcliWarning, stacklevel=3)
    return _NOWHERE


def is_nowhere(path: Path) -> bool:
    """Whether a path is below `nowhere`."""
    return path.is_relative_to(_NOWHERE)


def adapters_folder() -> Path:
    """Where adapters lie that are called by a bare name."""
    return data_folder() / "adapters"


def bundles_folder() -> Path:
    """Where `clipcli pull` puts prepared models."""
    return cache_folder() / "models"


def text_cache_file() -> Path:
    """The database of text embeddings."""
    return cache_folder() / "texts.sqlite3"


def picture_cache_file() -> Path:
    """The database of embeddings of pictures in folders that have been searched."""
    return cache_folder() / "pictures.sqlite3"


def pins_folder() -> Path:
    """Which commits of the model hub are used: a small file for each repository."""
    return cache_folder() / "pins"


def hashes_folder() -> Path:
    """Hashes of large files, so that a start need not work them out: a small file for each."""
    return cache_folder() / "hashes"


def is_within(folder: str, other: str) -> bool:
    """Whether a folder, which need not be there, is another or in it.

    Asked of the disk, not of the names: links, and names in another case, lead to the same.
    """
    try:
        status = os.stat(other)
    except OSError:
        return False
    real = os.path.realpath(folder)
    return any(_is(path, status) for path in (Path(real), *Path(real).parents))


def _is(path: Path, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), status)
    except OSError:
        return False
