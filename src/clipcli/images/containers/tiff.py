"""TIFF files (Adobe's revision 6.0, and BigTIFF): the first image's tags, and RAW photos."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from clipcli.images.containers.base import Bare

# Bytes of a value, by its type.
_TYPE_BYTES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8,
    18: 8,
}  # fmt: skip

_SUB_DIRECTORIES, _XMP, _PROFILE, _DNG_VERSION = 330, 700, 34675, 50706
_COMPRESSION, _PHOTOMETRIC, _BITS = 259, 262, 258
_PIXELS_AT = (273, 324)  # strips, tiles
# What pixels and their showing need; all else is somebody's remarks, which may be broken.
_NEEDED = frozenset(
    {254, 255, 256, 257, _BITS, _COMPRESSION, _PHOTOMETRIC, 263, 266, 273, 274, 277, 278, 279}
    | {280, 281, 284, 290, 291, 292, 293, 297, 301, 317, 318, 319, 320, 322, 323, 324, 325}
    | {332, 334, 338, 339, 340, 341, 347, *range(512, 522), 529, 530, 531, 532, 32997}
)

# A colour filter array, and raw numbers behind one (TIFF/EP and DNG).
_RAW_PHOTOMETRICS = (32803, 34892)
# Compressions of makers: Sony's, Samsung's, Nikon's, Kodak's, Pentax's.
_RAW_COMPRESSIONS = (32767, 32769, 32770, 32772, 34713, 65000, 65535)
_MOST_DIRECTORIES = 32

# The compressions that Pillow's libtiff may have (TIFF 6.0 and libtiff's tiff.h).
_USUAL_COMPRESSIONS = (1, 2, 3, 4, 5, 7, 8, 32773, 32946)


@dataclass(frozen=True)
class _Layout:
    """How numbers are written, and how wide counts and places are."""

    order: str
    count: str  # of a directory's entries
    wide: str  # counts of values, places

    @property
    def entry_bytes(self) -> int:
        return 4 + 2 * struct.calcsize(self.wide)

    def number(self, form: str, data: bytes, place: int) -> int:
        """A number; 0 where the file has ended."""
        try:
            (found,) = struct.unpack_from(self.order + form, data, place)
        except struct.error:
            return 0
        return int(found)


@dataclass(frozen=True)
class _Entry:
    place: int  # of the entry itself
    kind: int
    value: bytes  # as far as it is there


_Directory = dict[int, _Entry]


def bare_tiff(data: bytes) -> Bare:
    """The first image with the tags that it needs; XMP and profile beside it."""
    layout, first = _layout(data)
    directory = _directory(data, layout, first)
    if not directory:
        return Bare(data)
    told = {"xmp": directory.get(_XMP), "icc_profile": directory.get(_PROFILE)}
    info = {name: entry.value for name, entry in told.items() if entry and entry.value}
    written = _with_needed(data, layout, first, directory)
    unusual = _unusual(data, layout, directory)
    is_usual = _number(layout, directory, _COMPRESSION) in (0, *_USUAL_COMPRESSIONS)
    return Bare(written, info, unusual, "" if is_usual else unusual)


def first_directory(data: bytes) -> tuple[_Layout, _Directory]:
    """How a file's numbers are written, and the tags of its first directory."""
    layout, place = _layout(data)
    return layout, _directory(data, layout, place)


def is_raw(data: bytes) -> bool:
    """Whether these bytes are what a camera's sensor saw, in a TIFF file (DNG, NEF, ARW, ...)."""
    if data[8:10] == b"CR":  # Canon's CR2
        return True
    layout, first = _layout(data)
    for directory in _directories(data, layout, first):
        if _DNG_VERSION in directory:
            return True
        kind = _number(layout, directory, _PHOTOMETRIC)
        if kind in _RAW_PHOTOMETRICS:
            return True
        if _number(layout, directory, _COMPRESSION) in _RAW_COMPRESSIONS:
            return True
    return False


def _layout(data: bytes) -> tuple[_Layout, int]:
    """How a file is written, and where its first directory is."""
    order = ">" if data[:2] == b"MM" else "<"
    layout = _Layout(order, "H", "I")
    if layout.number("H", data, 2) == 43:
        layout = _Layout(order, "Q", "Q")
        return layout, layout.number("Q", data, 8)
    return layout, layout.number("I", data, 4)


def _directories(data: bytes, layout: _Layout, first: int) -> Iterator[_Directory]:
    """The directories of a file: in their row, and below each other."""
    ahead, seen = [first], set[int]()
    while ahead and len(seen) < _MOST_DIRECTORIES:
        place = ahead.pop()
        if place in seen or not 0 < place < len(data):
            continue
        seen.add(place)
        directory = _directory(data, layout, place)
        yield directory
        count = layout.number(layout.count, data, place)
        end = place + struct.calcsize(layout.count) + count * layout.entry_bytes
        ahead.append(layout.number(layout.wide, data, end))
        if _SUB_DIRECTORIES in directory:
            value = directory[_SUB_DIRECTORIES].value
            step = struct.calcsize(layout.wide)
            ahead += [layout.number(layout.wide, value, at) for at in range(0, len(value), step)]


def _directory(data: bytes, layout: _Layout, place: int) -> _Directory:
    """Tags and their values, as far as they are there."""
    count = layout.number(layout.count, data, place)
    start = place + struct.calcsize(layout.count)
    directory: _Directory = {}
    for entry in range(start, start + count * layout.entry_bytes, layout.entry_bytes):
        if entry + layout.entry_bytes > len(data):
            break
        tag, kind = layout.number("H", data, entry), layout.number("H", data, entry + 2)
        length = layout.number(layout.wide, data, entry + 4) * _TYPE_BYTES.get(kind, 0)
        at = entry + 4 + struct.calcsize(layout.wide)
        if length > struct.calcsize(layout.wide):
            at = layout.number(layout.wide, data, at)
        directory.setdefault(tag, _Entry(entry, kind, data[at : at + length]))
    return directory


def _number(layout: _Layout, directory: _Directory, tag: int) -> int:
    """A tag's first value, which is a short or a long; 0 where it is missing."""
    entry = directory.get(tag)
    if entry is None:
        return 0
    return layout.number("I" if len(entry.value) in (4, 8) else "H", entry.value, 0)


def _with_needed(data: bytes, layout: _Layout, first: int, directory: _Directory) -> bytes:
    """The file with a shorter first directory and none behind it; all places stay as they are."""
    kept = [entry.place for tag, entry in directory.items() if tag in _NEEDED]
    step = layout.entry_bytes
    count = struct.pack(layout.order + layout.count, len(kept))
    entries = b"".join(data[place : place + step] for place in kept)
    end = bytes(struct.calcsize(layout.wide))
    written = count + entries + end
    return data[:first] + written + data[first + len(written) :]


def _unusual(data: bytes, layout: _Layout, directory: _Directory) -> str:
    """What kind of image it is; empty where its pixels lie outside of the file."""
    places = (_number(layout, directory, tag) for tag in _PIXELS_AT)
    if not any(0 < place < len(data) for place in places):
        return ""
    compression = _number(layout, directory, _COMPRESSION) or 1
    bits = directory[_BITS].value if _BITS in directory else b""
    depth, samples = layout.number("H", bits, 0) or 1, max(1, len(bits) // 2)
    photometric = _number(layout, directory, _PHOTOMETRIC)
    what = f"{samples} x {depth} bits, photometric {photometric}, compression {compression}"
    return f"a TIFF image of {what}"
