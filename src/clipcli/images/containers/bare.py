"""Any picture's file, taken apart as its kind is."""

from __future__ import annotations

import struct
from collections.abc import Callable

from clipcli.images.containers.base import Bare
from clipcli.images.containers.bmp import DIB_HEADERS, bare_bmp, bare_dib
from clipcli.images.containers.gif import bare_gif
from clipcli.images.containers.jpeg import bare_jpeg
from clipcli.images.containers.png import bare_png
from clipcli.images.containers.tiff import bare_tiff
from clipcli.images.containers.webp import bare_webp

_KINDS: tuple[tuple[bytes | tuple[bytes, ...], Callable[[bytes], Bare]], ...] = (
    (b"\xff\xd8\xff", bare_jpeg),
    (b"\x89PNG\r\n\x1a\n", bare_png),
    (b"RIFF", bare_webp),
    (b"GIF8", bare_gif),
    (b"BM", bare_bmp),
    (tuple(bytes((size, 0, 0, 0)) for size in DIB_HEADERS), bare_dib),
    (b"II", bare_tiff),
    (b"MM", bare_tiff),
)


def bare(data: bytes) -> Bare:
    """A picture's file without what its pixels do not need; as it is where its kind is unknown.

    Raises:
        ValueError: a checksum of its pixels is wrong.
    """
    for signature, take_apart in _KINDS:
        if data.startswith(signature):
            try:
                return take_apart(data)
            except (IndexError, struct.error):
                return Bare(data)  # a decoder will say what is wrong with it
    return Bare(data)
