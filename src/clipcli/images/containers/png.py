"""PNG files (PNG specification, third edition): the image, and what says how to show it."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from clipcli.images.containers.base import Bare

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LENGTH_AND_KIND = 8
_CHECKSUM = 4
_INDEXED = 3

# What Pillow is given as it is, where it has its proper length.
_SHORT_CHUNKS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1}
# Bytes of a transparent colour, by the type of colour.
_KEY_BYTES = {0: 2, 2: 6}

MAX_PROFILE_BYTES = 16 << 20
_MAX_TEXT_BYTES = 1 << 20
_EXIF_TEXT, _XMP_TEXT = b"Raw profile type exif", b"XML:com.adobe.xmp"


@dataclass(frozen=True)
class _Chunk:
    kind: bytes
    body: bytes
    checksum: bytes  # shorter than it is where the file ends

    @property
    def is_sound(self) -> bool:
        return zlib.crc32(self.body, zlib.crc32(self.kind)).to_bytes(4) == self.checksum

    def written(self) -> bytes:
        return len(self.body).to_bytes(4) + self.kind + self.body + self.checksum


def bare_png(data: bytes) -> Bare:
    """An image with its palette and transparency, and the profile, EXIF and XMP beside it.

    Chunks that are not needed are left out, and so are those that are not in order. Of an animation
    that is everything but the first image.

    Raises:
        ValueError: a checksum of the image's data is wrong.
    """
    if data[12:16] == b"CgBI":
        kind = "a PNG image as Xcode rewrites them for iOS"
        return Bare(data, unusual=kind, coding=kind)
    chunks = list(_chunks(data))
    if not chunks or chunks[0].kind != b"IHDR" or len(chunks[0].body) < 13:
        return Bare(data)
    colour_type = chunks[0].body[9]
    kept, info = [SIGNATURE], dict[str, Any]()
    has_pixels = False
    for chunk in chunks:
        if chunk.kind == b"IDAT":
            has_pixels = True
            kept.append(_pixels(chunk).written())
        elif chunk.kind == b"IHDR" or (chunk.kind == b"PLTE" and colour_type == _INDEXED):
            kept.append(chunk.written())
        elif not chunk.is_sound:
            continue
        elif _is_wanted(chunk, colour_type) and not has_pixels:
            kept.append(chunk.written())
        else:
            info = _told(chunk) | info  # the first one counts
    end = b"IEND"
    kept.append(_Chunk(end, b"", zlib.crc32(end).to_bytes(4)).written())
    return Bare(b"".join(kept), info)


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """Chunks up to the end, or to where there are none any more."""
    place = len(SIGNATURE)
    while place + _LENGTH_AND_KIND <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        if not kind.isalpha() or kind == b"IEND":
            return
        start = place + _LENGTH_AND_KIND
        place = start + length + _CHECKSUM
        yield _Chunk(kind, data[start : start + length], data[start + length : place])


def _pixels(chunk: _Chunk) -> _Chunk:
    """A part of the image's data; its checksum may be missing, but not be wrong."""
    if not chunk.is_sound:
        if len(chunk.checksum) == _CHECKSUM:
            raise ValueError("wrong checksum of the pixels, IDAT")
        return _Chunk(
            chunk.kind, chunk.body, zlib.crc32(chunk.body, zlib.crc32(chunk.kind)).to_bytes(4)
        )
    return chunk


def _is_wanted(chunk: _Chunk, colour_type: int) -> bool:
    if chunk.kind == b"tRNS":
        return colour_type == _INDEXED or len(chunk.body) == _KEY_BYTES.get(colour_type)
    return _SHORT_CHUNKS.get(chunk.kind) == len(chunk.body)


def _told(chunk: _Chunk) -> dict[str, Any]:
    """What a chunk says of how to show the image."""
    body = chunk.body
    match chunk.kind:
        case b"cICP" if len(body) == 4 and body[2:] == b"\0\1":  # RGB, full range
            return {"cicp": (body[0], body[1])}
        case b"iCCP":
            profile = re.match(rb"[^\0]{1,79}\0\0", body)
            found = profile and inflated(body[profile.end() :], MAX_PROFILE_BYTES)
            return {"icc_profile": found} if found else {}
        case b"eXIf":
            return {"exif": b"Exif\0\0" + body}
        case b"tEXt" | b"zTXt" | b"iTXt":
            return _text(chunk.kind, body)
    return {}


def _text(kind: bytes, body: bytes) -> dict[str, Any]:
    """EXIF as ImageMagick writes it, and XMP: both may say how the image is to be turned."""
    name, _, rest = body.partition(b"\0")
    if name == _EXIF_TEXT and kind != b"iTXt":
        text = inflated(rest[1:], _MAX_TEXT_BYTES) if kind == b"zTXt" else rest
        with suppress(ValueError):
            # Behind a name and a length, a line each, hexadecimal digits.
            digits = b"".join((text or b"").split(b"\n")[3:]).decode("latin-1")
            return {"exif": bytes.fromhex(digits)}
        return {}
    if name == _XMP_TEXT and kind == b"iTXt":
        is_packed, packed = rest[:1] == b"\1", rest[2:].split(b"\0", 2)
        text = inflated(packed[-1], _MAX_TEXT_BYTES) if is_packed else packed[-1]
        return {"xmp": text} if text else {}
    return {}


def inflated(data: bytes, limit: int) -> bytes | None:
    """What a zlib stream holds; None where it is broken or holds more than `limit` bytes."""
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(data, limit)
    except zlib.error:
        return None
    return None if stream.unconsumed_tail else found
