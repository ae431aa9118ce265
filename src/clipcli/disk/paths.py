"""Where clipcli keeps what it can make again, and notes of what it downloaded."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder of all caches: `CLIPCLI_CACHE_DIR`, or the platform's place for such things."""
    # Read here and not by an option: every command and the library mean the same folder.
    chosen = os.environ.get("CLIPCLI_CACHE_DIR")
    if chosen:
        return Path(chosen)
    # Imported only where it is needed: it takes a hundredth of a second.
    from platformdirs import user_cache_path

    return user_cache_path("clipcli", appauthor=False)


def bundles_folder() -> Path:
    """Where `clipcli pull` puts prepared models."""
    return cache_folder() / "models"


def text_cache_file() -> Path:
    """The database of text embeddings."""
    return cache_folder() / "texts.sqlite3"


def pins_folder() -> Path:
    """Which commits of the model hub are used: a small file for each repository."""
    return cache_folder() / "pins"


def hashes_folder() -> Path:
    """Hashes of large files, so that a start need not work them out: a small file for each."""
    return cache_folder() / "hashes"
