"""Small pictures of images, for pages that show them."""

from __future__ import annotations

import io
from functools import partial
from typing import NamedTuple

from PIL import Image

from clipcli.images.colours import colours_of, in_srgb
from clipcli.images.decoding import open_image, plain
from clipcli.images.options import ImageOptions
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.images.views import View

SIDE, LARGE_SIDE = 256, 1024
"""The longest sides in pixels: of one among many, and of one that is looked at alone."""

MAX_BYTES, LARGE_MAX_BYTES = 1 << 18, 1 << 22
"""More than any of these has: uncompressed they would be 192 KiB and 3 MiB."""

# Three times as small as at 95, and nobody sees it at this size.
_QUALITY = 75
# As in `Image.thumbnail`'s documentation: at 2 the result can hardly be told from a full resize.
_REDUCING_GAP = 2.0


class Thumbnails(NamedTuple):
    """Small pictures of one image, each a JPEG.

    Attributes:
        small: at most 256 pixels a side; empty where the image cannot be decoded.
        large: at most 1,024; empty where none is wanted, or it would be no larger than the small.
    """

    small: bytes = b""
    large: bytes = b""


def thumbnails(
    data: bytes,
    options: ImageOptions,
    config: PreprocessConfig | None = None,
    *,
    large: bool = False,
) -> Thumbnails:
    """Small pictures of an encoded image: its first frame, upright, on white, in sRGB.

    Args:
        data: the image, as it is in its file.
        options: what is accepted as an image, and how it is fitted.
        config: of the model that it is for: what that is not shown of the picture is dark.
        large: make the large one, too.

    Returns:
        What could be made, without what cameras write beside the pixels.
    """
    side = LARGE_SIDE if large else SIDE
    try:
        image = open_image(data, options, reduce=partial(_reduced, side=max(side, 2 * SIDE)))
        whole = plain(image)
        view = config and View.of(whole.size, config.fitted(options.fit))
        whole.thumbnail((side, side), reducing_gap=_REDUCING_GAP)
        shown = in_srgb(whole, colours_of(image)).convert("RGB")
        shown = view.lit(shown) if view else shown
        large_jpeg = _jpeg(shown) if max(shown.size) > SIDE else b""
        shown.thumbnail((SIDE, SIDE), reducing_gap=_REDUCING_GAP)
        return Thumbnails(_jpeg(shown), large_jpeg)
    except Exception:  # noqa: BLE001  decoders raise far more than OSError; there is no picture then
        return Thumbnails()


def thumbnail(data: bytes, options: ImageOptions) -> bytes | None:
    """The small one alone, None where there is none."""
    return thumbnails(data, options).small or None


def _reduced(image: Image.Image, side: int) -> Image.Image:
    # A photo's JPEG is decoded at a fraction of its size: 27 ms instead of 104.
    image.draft(None, (side, side))
    return image


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    # Pillow would copy the comment of the file that the image comes from.
    image.save(file, "JPEG", quality=_QUALITY, comment=b"")
    return file.getvalue()
