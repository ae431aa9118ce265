"""GIF files (GIF89a specification): the first image, and the one extension that it may need."""

from __future__ import annotations

from clipcli.images.containers.base import Bare

_HEADER = 13
_IMAGE, _EXTENSION, _TRAILER = 0x2C, 0x21, 0x3B
_GRAPHIC_CONTROL = 0xF9
_CONTROL_BYTES = 8  # with its introducer, length and end


def bare_gif(data: bytes) -> Bare:
    """The first image; what lies before it, save its graphic control, is left out."""
    start = _HEADER + _colours(data[10:11])
    place, control = start, b""
    while place < len(data) and data[place] != _IMAGE:
        if data[place] == _TRAILER:
            break
        if data[place] != _EXTENSION:
            place += 1  # as others do with what stands between blocks
            continue
        end = _blocks_end(data, place + 2)
        if data[place + 1 : place + 3] == bytes((_GRAPHIC_CONTROL, 4)):
            control = data[place : place + _CONTROL_BYTES - 1] + b"\0"
        place = end
    return Bare(data[:start] + control + data[place:])


def _colours(flags: bytes) -> int:
    """How many bytes a table of colours has."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def _blocks_end(data: bytes, place: int) -> int:
    """Where a row of blocks ends, each with its length in front, the last one of none."""
    while place < len(data) and data[place]:
        place += 1 + data[place]
    return place + 1
