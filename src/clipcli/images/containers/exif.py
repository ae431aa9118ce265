"""EXIF blocks (Exif 2.32): the one tag that says how an image is turned."""

from __future__ import annotations

import re
import struct

from clipcli.images.containers.tiff import first_directory

ORIENTATION_TAG = 0x0112
_MARK = re.compile(rb"(Exif\0\0){0,2}")
# Types of whole numbers: short, long, and both with signs.
_WHOLE = (3, 4, 8, 9)


def orientation(block: bytes) -> int | None:
    """What a block says of its image's orientation; None where that is nothing or no number."""
    mark = _MARK.match(block)
    data = block[mark.end() if mark else 0 :]
    if data[:2] not in (b"II", b"MM"):
        return None
    layout, directory = first_directory(data)
    entry = directory.get(ORIENTATION_TAG)
    if entry is None or entry.kind not in _WHOLE or len(entry.value) not in (2, 4):
        return None
    return layout.number("H" if len(entry.value) == 2 else "I", entry.value, 0)


def orientation_alone(block: bytes) -> bytes:
    """A block that says the same of the orientation, and nothing that could be broken."""
    found = orientation(block)
    if found is None or found > 0xFFFF:
        return b""
    entry = struct.pack("<HHIHH", ORIENTATION_TAG, 3, 1, found, 0)
    return b"Exif\0\0II*\0\x08\0\0\0\1\0" + entry + bytes(4)
