"""A file's sha256, worked out once and remembered for as long as the file looks the same."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from clipcli.disk.atomic import read_own, write_text
from clipcli.disk.paths import hashes_folder


def hash_file(path: Path) -> str:
    """The sha256 of a file's content, in hexadecimal; half a second for 600 MB.

    Raises:
        OSError: it cannot be read.
    """
    import hashlib  # takes three milliseconds, which most starts need not spend

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_hash(path: Path) -> str:
    """The sha256 of a file's content, read only where the file has changed since the last time.

    Raises:
        OSError: it cannot be read.
    """
    # A link and what it leads to are one file, whose hash is worked out once.
    file = path.resolve(strict=True)
    stamp = _stamp(file)
    with suppress(OSError, ValueError):
        known = json.loads(read_own(_note(file)))
        if isinstance(known, dict) and known == {**stamp, "sha256": known.get("sha256")}:
            return str(known["sha256"])
    sha256 = hash_file(file)
    with suppress(OSError):
        if _stamp(file) == stamp:  # something that is being written has no hash yet
            _keep(file, {**stamp, "sha256": sha256})
    return sha256


def note_hash(file: Path, sha256: str, place: Path) -> None:
    """Note the hash of a file for when it has been moved into its place, which no one reads yet.

    Args:
        file: as it is, whole and hashed.
        sha256: of its content.
        place: where it will be; on the same disk.
    """
    with suppress(OSError):
        there = place.parent.resolve() / place.name
        _keep(there, {**_stamp(file), "file": str(there), "sha256": sha256})


def _keep(file: Path, note: Mapping[str, object]) -> None:
    # Without a note there is only more work.
    with suppress(OSError):
        where = _note(file)
        where.parent.mkdir(parents=True, exist_ok=True)
        write_text(where, json.dumps(note) + "\n")


def _note(file: Path) -> Path:
    return hashes_folder() / f"{_name(file)}.json"


def _name(file: Path) -> str:
    """The name of the note about a file, whatever characters its path is of."""
    import hashlib

    return hashlib.sha256(os.fsencode(file)).hexdigest()[:32]


def _stamp(file: Path) -> dict[str, object]:
    """How a file looks to the file system; whatever changes its content changes that, too."""
    status = file.stat()
    # The inode tells a file that was moved into the place of another of the same size and time.
    return {
        "file": str(file),
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "inode": status.st_ino,
    }
