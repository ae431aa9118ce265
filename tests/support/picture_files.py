"""Files of pictures made by hand, where Pillow would write nothing so odd."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from PIL import Image

PICTURE = Image.linear_gradient("L").resize((40, 30)).convert("RGB")
PICTURE.paste((200, 30, 60), (0, 0, 20, 15))
Chunk = tuple[bytes, bytes]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# PNG

PNG = encoded(PICTURE, "PNG")


def png_chunks(data: bytes) -> Iterator[Chunk]:
    place = 8
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        yield data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        place += 12 + length


def png_chunk(kind: bytes, body: bytes, wrong: int = 0) -> bytes:
    """A chunk; `wrong` spoils its checksum."""
    checksum = zlib.crc32(kind + body) ^ wrong
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def png_file(chunks: Iterable[Chunk]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*each) for each in chunks)


def png_with(*extra: bytes, before: bytes = b"IDAT", data: bytes = PNG) -> bytes:
    """A PNG file with other chunks, written already, before the first of a kind."""
    result, waiting = b"\x89PNG\r\n\x1a\n", b"".join(extra)
    for kind, body in png_chunks(data):
        if kind == before:
            result, waiting = result + waiting, b""
        result += png_chunk(kind, body)
    return result


# JPEG

JPEG = encoded(PICTURE, "JPEG", quality=95)


def segment(marker: int, body: bytes, length: int | None = None) -> bytes:
    stated = len(body) + 2 if length is None else length
    return bytes((0xFF, marker)) + stated.to_bytes(2) + body


def jpeg_with(*segments: bytes, data: bytes = JPEG) -> bytes:
    """A JPEG file with other segments behind its JFIF one."""
    place = 4 + int.from_bytes(data[4:6])
    return data[:place] + b"".join(segments) + data[place:]


def jpeg_of_frame(marker: int | None = None, **fields: int) -> bytes:
    """A JPEG file whose frame says something else: bits, height, components."""
    data = bytearray(JPEG)
    place = data.index(b"\xff\xc0")
    if marker is not None:
        data[place + 1] = marker
    data[place + 4] = fields.get("bits", 8)
    if "height" in fields:
        data[place + 5 : place + 7] = fields["height"].to_bytes(2)
    data[place + 9] = fields.get("components", 3)
    return bytes(data)


# WebP

WEBP = encoded(PICTURE, "WEBP", lossless=True)


def webp_file(chunks: Iterable[Chunk]) -> bytes:
    body = b"".join(
        kind + struct.pack("<I", len(part)) + part + bytes(len(part) % 2) for kind, part in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def webp_chunks(data: bytes) -> Iterator[Chunk]:
    place = 12
    while place < len(data):
        (length,) = struct.unpack_from("<I", data, place + 4)
        yield data[place : place + 4], data[place + 8 : place + 8 + length]
        place += 8 + length + length % 2


def webp_with(flags: int, before: Iterable[Chunk] = (), behind: Iterable[Chunk] = ()) -> bytes:
    """A WebP file of the extended kind with other chunks around its picture's."""
    size = (PICTURE.width - 1).to_bytes(3, "little") + (PICTURE.height - 1).to_bytes(3, "little")
    head = (b"VP8X", bytes((flags, 0, 0, 0)) + size)
    return webp_file([head, *before, *webp_chunks(WEBP), *behind])


# GIF

GIF = encoded(PICTURE.convert("P"), "GIF")


def gif_with(extra: bytes) -> bytes:
    place = 13 + (3 << (GIF[10] & 7) + 1)
    return GIF[:place] + extra + GIF[place:]


# BMP


def bmp(bits: int, compression: int, header_size: int = 40, masks: bytes = b"") -> bytes:
    """A BMP file of 4 x 4 pixels, all of them zero."""
    pixels = bytes(4 * 4 * 8)
    head = struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, bits, compression, len(pixels), 0, 0, 0, 0)
    head = struct.pack("<I", header_size) + (head[4:] + masks).ljust(header_size - 4, b"\0")
    palette = bytes(4 << bits) if bits <= 8 else b""
    start = 14 + len(head) + len(palette)
    size = start + len(pixels)
    return b"BM" + struct.pack("<IHHI", size, 0, 0, start) + head + palette + pixels


# TIFF


def tiff(
    *directories: dict[int, tuple[int, list[int]]],
    order: str = "<",
    below: tuple[int, ...] = (),
    magic: bytes = b"",
    pixels: bytes = bytes(4096),
) -> bytes:
    """A TIFF file: pixels at 16, then directories of tag -> type (3 short, 4 long) and values.

    Those whose places are in `below` are sub-directories of the first; others follow in a row.
    """
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 42)
    places, place = [], 16 + len(pixels)
    for number, entries in enumerate(directories):
        places.append(place)
        count = len(entries) + (number == 0 and bool(below))
        place += 2 + 12 * count + 4 + sum(4 * len(v) for _, v in entries.values() if len(v) > 1)
        place += 4 * len(below) if number == 0 and len(below) > 1 else 0
    row = [at for number, at in enumerate(places) if number not in below]
    body = b""
    for number, (at, given) in enumerate(zip(places, directories, strict=True)):
        entries = dict(given)
        if number == 0 and below:
            entries[330] = (4, [places[each] for each in below])
        table, far = b"", b""
        start = at + 2 + 12 * len(entries) + 4
        for tag, (kind, values) in sorted(entries.items()):
            written = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
            if len(written) > 4:
                table += struct.pack(order + "HHII", tag, kind, len(values), start + len(far))
                far += written.ljust(4 * len(values), b"\0")
            else:
                table += struct.pack(order + "HHI", tag, kind, len(values)) + written.ljust(
                    4, b"\0"
                )
        follows = row[row.index(at) + 1 :] if at in row else []
        behind = struct.pack(order + "I", follows[0] if follows else 0)
        body += struct.pack(order + "H", len(entries)) + table + behind + far
        body = body.ljust(
            (places[number + 1] if number + 1 < len(places) else 0) - places[0], b"\0"
        )
    return (head + struct.pack(order + "I", places[0]) + magic).ljust(16, b"\0") + pixels + body


def picture_tags(photometric: int = 1, compression: int = 1, **more: int) -> dict[int, Any]:
    """Tags of 16 x 16 grey pixels of 8 bits at 16."""
    tags = {256: (3, [16]), 257: (3, [16]), 258: (3, [8]), 259: (3, [compression])}
    tags |= {262: (3, [photometric]), 273: (4, [16]), 277: (3, [1]), 278: (3, [16])}
    tags |= {279: (4, [256])}
    return tags | {int(tag.removeprefix("t")): (4, [value]) for tag, value in more.items()}
