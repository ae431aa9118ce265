"""Small pictures of images, for pages that show them."""

from __future__ import annotations

import io

from PIL import Image

from clipcli.images.colours import colours_of, in_srgb
from clipcli.images.decoding import open_image, plain
from clipcli.images.options import ImageOptions

SIDE = 256
"""The longest side in pixels."""

MAX_BYTES = 1 << 18
"""More than any thumbnail has: uncompressed it would be 192 KiB."""

# Three times as small as at 95, and nobody sees it at this size.
_QUALITY = 75
# As in `Image.thumbnail`'s documentation: at 2 the result can hardly be told from a full resize.
_REDUCING_GAP = 2.0


def thumbnail(data: bytes, options: ImageOptions) -> bytes | None:
    """A small picture of an encoded image: its first frame, upright, on white, in sRGB.

    Args:
        data: the image, as it is in its file.
        options: what is accepted as an image; how it is prepared for a model does not matter.

    Returns:
        A JPEG of at most 256 pixels a side, without what cameras write beside the pixels; None
        where the image cannot be decoded.
    """
    try:
        image = open_image(data, options, reduce=_reduced)
        small = plain(image)
        small.thumbnail((SIDE, SIDE), reducing_gap=_REDUCING_GAP)
        return _jpeg(in_srgb(small, colours_of(image)).convert("RGB"))
    except Exception:  # noqa: BLE001  decoders raise far more than OSError; there is no picture then
        return None


def _reduced(image: Image.Image) -> Image.Image:
    # A photo's JPEG is decoded at a fraction of its size: 27 ms instead of 104.
    image.draft(None, (2 * SIDE, 2 * SIDE))
    return image


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    # Pillow would copy the comment of the file that the image comes from.
    image.save(file, "JPEG", quality=_QUALITY, comment=b"")
    return file.getvalue()
