"""Pictures whose file ends early: whether a pixel is missing, and the others without it.

No decoder tells which pixels it has not got. So the rest of the file is made up in two ways: what
comes out the same both times does not depend on it. Pillow's own switch, LOAD_TRUNCATED_IMAGES, is
one for the whole process, and fills in black.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipcli.images.containers.jpeg import END, scans_are_complete, without_torn_segment
from clipcli.images.containers.webp import missing_bytes

TRUNCATED = "truncated"
"""In an image's `info`: whether pixels of it are missing."""

_GREY: dict[str, float | tuple[int, ...]] = {
    "L": 128, "RGB": (128,) * 3, "LA": (128, 255), "RGBA": (128, 128, 128, 255),
    "CMYK": (0, 0, 0, 127), "I": 32768, "F": 0.5,
}  # fmt: skip
_GREY_16 = 32768
# What the rest of a JPEG's or WebP's data is made of. Of some, a lossless WebP makes nothing.
_FILLERS = (b"", b"\x55", b"\xaa")
_WEBP_FILLERS = (b"\0", b"\xff", b"\x55", b"\xaa")
# Enough to spoil the first block that is missing.
_JPEG_FILLER_BYTES = 64
_BLOCK = 8

Opener = Callable[[bytes], Image.Image]


def rescued(data: bytes, open_image: Opener) -> Image.Image | None:
    """What there is of a picture whose file ends early, the rest grey; None if that is nothing.

    Args:
        data: of a picture that failed because its file is cut.
        open_image: opens what is left of the file, without decoding it.

    Returns:
        The image, decoded; its `info` says whether anything of it is missing.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data, open_image)
    versions = _webps(data, open_image) if data.startswith(b"RIFF") else _filled(data, open_image)
    images = [image for image in versions if image is not None]
    if len(images) < 2:
        return None
    missing = _differences(images)
    if missing.all():
        return None
    return _marked(images[0], missing) if missing.any() else images[0]


def _jpeg(data: bytes, open_image: Opener) -> Image.Image | None:
    """Libjpeg makes grey of blocks that it has no data for, once it finds an end."""
    images = []
    data = without_torn_segment(data).removesuffix(b"\xff")
    for filler in _FILLERS:
        image = open_image(data + filler * _JPEG_FILLER_BYTES + END)
        image.load()
        images.append(image)
    missing = _differences(images)
    if missing[:_BLOCK, :_BLOCK].any():
        return None
    if missing.any() or not scans_are_complete(data):
        images[0].info[TRUNCATED] = True
    return images[0]


def _webps(data: bytes, open_image: Opener) -> Iterator[Image.Image | None]:
    missing = missing_bytes(data)
    # A length that a file does not have, rather than a file that ends.
    if not 0 < missing <= 8 * len(data):
        return
    for filler in _WEBP_FILLERS:
        try:
            image = open_image(data + filler * missing)
            image.load()
        except Exception:  # noqa: BLE001  what was made up need not make sense
            yield None
        else:
            yield image


def _filled(data: bytes, open_image: Opener) -> Iterator[Image.Image | None]:
    """The image over pixels of all zeros, and over others."""
    for value in (0, 1):
        image = open_image(data)
        prepare = image.load_prepare  # type: ignore[attr-defined]

        def prepare_over(
            image: Image.Image = image, prepare: Callable[[], None] = prepare, value: int = value
        ) -> None:
            prepare()
            for tile in image.tile:  # type: ignore[attr-defined]
                image.im.paste(_ink(image.im.mode, value), tile.extents)

        image.load_prepare = prepare_over  # type: ignore[attr-defined]
        try:
            image.load()
        except OSError:
            image.tile = []  # type: ignore[attr-defined]
            image.load()
        finally:
            # It holds the image, which would outlive its failure in that circle.
            del image.load_prepare  # type: ignore[attr-defined]
        yield image


def _ink(mode: str, value: int) -> int | tuple[int, ...]:
    bands = Image.getmodebands(mode)
    return value if bands == 1 else (value,) * bands


def _differences(images: list[Image.Image]) -> NDArray[np.bool_]:
    """Where images differ, shape (height, width)."""
    first, *others = (np.asarray(image) for image in images)
    missing = np.zeros(first.shape[:2], np.bool_)
    for other in others:
        differs = first != other
        missing |= differs.any(axis=2) if differs.ndim == 3 else differs
    return missing


def _marked(image: Image.Image, missing: NDArray[np.bool_]) -> Image.Image:
    """The image with grey where pixels are missing."""
    if image.mode == "P":
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode == "1":
        image = image.convert("L")
    if image.mode.startswith("I;16"):  # which is not pasted through a mask
        values = np.array(image)
        values[missing] = _GREY_16
        grey = Image.fromarray(values)
        grey.info.update(image.info)
        image = grey
    else:
        image.paste(_GREY.get(image.mode, 0), mask=Image.fromarray(missing))
    image.info[TRUNCATED] = True
    return image
