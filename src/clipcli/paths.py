"""Where clipcli keeps what it can make again: prepared models and text embeddings."""

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
