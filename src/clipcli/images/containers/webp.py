"""WebP files (RFC 9649): the first frame, and what says how to show it."""

from __future__ import annotations

from collections.abc import Iterator

from clipcli.images.containers.base import Bare

_START = 12  # RIFF, the size, WEBP
_PIXELS = (b"VP8 ", b"VP8L", b"ANMF")
_KEPT = (b"VP8X", b"ANIM", b"ALPH", *_PIXELS)
_TOLD = {b"ICCP": "icc_profile", b"EXIF": "exif", b"XMP ": "xmp"}
# Of the flags in VP8X: animated and with alpha. The others promise chunks that are left out.
_ANIMATED = 0x02
_FLAGS = _ANIMATED | 0x10


def bare_webp(data: bytes) -> Bare:
    """The first frame, with its EXIF, XMP and profile beside it."""
    kept: list[tuple[bytes, bytes]] = []
    info: dict[str, bytes] = {}
    has_pixels = False
    for kind, body in _chunks(data):
        if kind in _TOLD:
            info.setdefault(_TOLD[kind], body)
        elif kind in _KEPT and not has_pixels:
            kept.append((kind, _without_promises(body) if kind == b"VP8X" else body))
            has_pixels = kind in _PIXELS
    if not has_pixels:
        return Bare(data)
    body = b"".join(
        kind + len(part).to_bytes(4, "little") + part + bytes(len(part) % 2) for kind, part in kept
    )
    size = (len(body) + 4).to_bytes(4, "little")
    return Bare(b"RIFF" + size + b"WEBP" + body, info)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = _START
    while place + 8 <= len(data):
        kind, start = data[place : place + 4], place + 8
        length = int.from_bytes(data[place + 4 : start], "little")
        place = start + length + length % 2
        yield kind, data[start : start + length]


def _without_promises(header: bytes) -> bytes:
    return bytes((header[0] & _FLAGS,)) + header[1:] if header else header


def missing_bytes(data: bytes) -> int:
    """How many bytes a file lacks that its first frame says it has."""
    end = _START
    while end + 8 <= len(data):
        kind = data[end : end + 4]
        length = int.from_bytes(data[end + 4 : end + 8], "little")
        end += 8 + length
        if kind in _PIXELS:
            break
        end += length % 2
    return max(0, end - len(data))
