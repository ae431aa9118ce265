"""BMP files (Microsoft's BITMAPFILEHEADER to BITMAPV5HEADER): profiles, and unusual ones."""

from __future__ import annotations

import struct

from clipcli.images.containers.base import Bare

_FILE_HEADER = 14
# Sizes of headers: OS/2's first, OS/2's second in any length from 16 on, Microsoft's.
_CORE, _SHORTEST, _INFO, _OS2, _V5 = 12, 16, 40, 64, 124
DIB_HEADERS = (_INFO, 52, 56, 108, _V5)
"""Sizes of Microsoft's headers, with which a bitmap without a file's header begins."""

_COMPRESSIONS = {
    0: "no compression", 1: "RLE8", 2: "RLE4", 3: "bit fields", 4: "JPEG inside", 5: "PNG inside",
    6: "bit fields with alpha", 11: "CMYK", 12: "CMYK RLE8", 13: "CMYK RLE4",
}  # fmt: skip
_OS2_COMPRESSIONS = {3: "Huffman's code", 4: "RLE24"}
_BITS = (0, 1, 2, 4, 8, 16, 24, 32, 64)
# Bits and compression that every decoder has; of bit fields it depends on where they lie.
_USUAL = {*((bits, 0) for bits in (1, 4, 8, 16, 24, 32)), (8, 1), (4, 2)}

_EMBEDDED = b"DEBM"  # LCS_PROFILE_EMBEDDED, 'MBED', as it lies in the file


def bare_bmp(data: bytes) -> Bare:
    """The file as it is, with the profile that its header may hold."""
    size = int.from_bytes(data[_FILE_HEADER : _FILE_HEADER + 4], "little")
    header = data[_FILE_HEADER : _FILE_HEADER + size]
    if len(header) < size or not (
        size == _CORE or _SHORTEST <= size <= _OS2 or size in DIB_HEADERS
    ):
        return Bare(data)
    return Bare(data, _profile(data, header), _unusual(header))


def bare_dib(data: bytes) -> Bare:
    """A bitmap without the header of its file, which is put before it."""
    planes, bits = struct.unpack_from("<HH", data, 12)
    if planes != 1 or bits not in _BITS:
        return Bare(data)
    # No size of the file, and no place of the pixels: they come behind what the header says.
    return bare_bmp(b"BM" + bytes(_FILE_HEADER - 2) + data)


def _unusual(header: bytes) -> str:
    size = len(header)
    bits = int.from_bytes(header[10:12] if size == _CORE else header[14:16], "little")
    compression = int.from_bytes(header[16:20], "little") if size > _SHORTEST else 0
    names = _COMPRESSIONS | (_OS2_COMPRESSIONS if size == _OS2 else {})
    if bits not in _BITS or compression not in names:
        return ""
    if (bits, compression) in _USUAL and size in (_CORE, *DIB_HEADERS, _OS2):
        return ""
    return f"a BMP image of {bits} bits a pixel with {names[compression]}"


def _profile(data: bytes, header: bytes) -> dict[str, bytes]:
    if len(header) < _V5 or header[56:60] != _EMBEDDED:
        return {}
    offset, length = struct.unpack_from("<II", header, 112)
    start = _FILE_HEADER + offset
    return {"icc_profile": data[start : start + length]}
