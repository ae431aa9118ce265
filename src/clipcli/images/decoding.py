"""Bytes to pixels: safe decoding, images as a viewer shows them, the model's input."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
from PIL import Image, UnidentifiedImageError

from clipcli.arrays import Float32
from clipcli.errors import FailureCode, InputError, one_line
from clipcli.images.colours import colours_of, in_srgb
from clipcli.images.containers.bare import bare
from clipcli.images.containers.exif import ORIENTATION_TAG, orientation, orientation_alone
from clipcli.images.depths import eight_bit, is_deep
from clipcli.images.formats import (
    allowed_formats,
    damaged,
    explain_unreadable,
    is_tiff,
    refuse_raw,
    unsupported,
)
from clipcli.images.options import ImageOptions
from clipcli.images.prepared import Prepared
from clipcli.images.preprocessing import (
    PreprocessConfig,
    check_shape,
    fit,
    normalised,
    resampling,
    resized_size,
)
from clipcli.images.truncation import TRUNCATED, rescued
from clipcli.images.views import Sight, View
from clipcli.process import ProcessLock

# Fast decoding leaves an image's sides at least so many times what the resize makes of them. At
# 224 pixels a 12-megapixel photo's values then move by 0.2 of 255 on average, and by 0.5 at 1,
# which saves little more: decoding a quarter takes 27 ms, an eighth 21, the whole 104.
_FAST_DECODE_MARGIN = 2

_LOADING = ProcessLock()

# What Pillow knows a format by.
_PREFIX_BYTES = 16

# EXIF orientation (values as in the Exif 2.32 standard, table 4) -> what undoes it.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (_UPRIGHT[5], _UPRIGHT[6], _UPRIGHT[7], _UPRIGHT[8])


def decode(data: bytes, config: PreprocessConfig, options: ImageOptions) -> Float32:
    """Turn an encoded image into the model's input.

    Returns:
        Normalised pixels of shape (3, height, width); of a picture in tiles, the first.

    Raises:
        InputError: as `open_image` and `preprocess` do.
    """
    return decode_marked(data, config, options).pixels


def decode_marked(data: bytes, config: PreprocessConfig, options: ImageOptions) -> Prepared:
    """Do what `decode` does, and say how much of the picture there is in the pixels."""
    fitted = config.fitted(options.fit)

    def reduce(image: Image.Image) -> Image.Image:
        return _reduced(image, fitted) if options.fast_decode else image

    return prepare(open_image(data, options, config, reduce=reduce), config, options)


def open_image(
    data: bytes,
    options: ImageOptions,
    config: PreprocessConfig | None = None,
    *,
    reduce: Callable[[Image.Image], Image.Image] = lambda image: image,
) -> Image.Image:
    """Decode the first frame of an image whose format is on the list.

    Args:
        data: the image, as it is in its file.
        options: what is accepted.
        config: how the model that it is for wants its pixels, if it is for one.
        reduce: has it decoded at a fraction of its size.

    Raises:
        InputError: empty, not an image, a format that is off, too many pixels now or when it is
            resized for the model, or damaged.
    """
    try:
        image, coding = identified(data, options, config)
        with _decoding(coding):
            image = reduce(image)
            image.load()
    except InputError as error:
        if error.code is not FailureCode.DAMAGED:
            raise
        return _rescued(data, options, config, error)
    return image


def _rescued(
    data: bytes, options: ImageOptions, config: PreprocessConfig | None, error: InputError
) -> Image.Image:
    """A damaged image whose pixels are all there or, where that is accepted, some of them.

    Raises:
        InputError: the given one, or another that names the way out.
    """
    is_webp = data.startswith(b"RIFF")
    if not (is_webp or "truncated" in error.message):
        raise error
    try:
        image = rescued(data, lambda rest: identified(rest, options, config)[0])
    except Exception as reason:
        raise error from reason
    if image is None:
        raise error
    if TRUNCATED in image.info and not options.allow_truncated:
        raise damaged("it is cut short: --allow-truncated takes what is there of it")
    return image


def check_start(start: bytes, options: ImageOptions) -> None:
    """Refuse what no allowed decoder would open, whatever comes after its first bytes.

    Args:
        start: the first `START_BYTES`, or all.
        options: what is accepted.

    Raises:
        InputError: not an image, or a format that is off.
    """
    refuse_raw(start)
    if is_tiff(start):
        return  # which of them is a RAW photo may be said far behind
    with _decoding():
        prefix = bare(start).data[:_PREFIX_BYTES]
        Image.preinit()
        for name in allowed_formats(start, options.extra_formats):
            if name not in Image.OPEN:
                Image.init()  # all plug-ins, as Pillow does where it comes to this format
            _, accepts = Image.OPEN.get(name, (None, None))
            if accepts is None or accepts(prefix):
                return
        raise explain_unreadable(start, options.extra_formats)


def identified(
    data: bytes, options: ImageOptions, config: PreprocessConfig | None = None
) -> tuple[Image.Image, str]:
    """An image whose header has been read and allowed, and nothing else.

    Returns:
        The image, and what is to be said if its pixels cannot be decoded: `Bare.coding`.

    Raises:
        InputError: empty, not an image, a format that is off or not supported, or too many pixels.
    """
    if not data:
        raise InputError(FailureCode.EMPTY, "the file is empty")
    refuse_raw(data)
    with _decoding():
        found = bare(data)
    with _decoding(found.unusual):
        try:
            image = _opened(found.data, allowed_formats(data, options.extra_formats))
        except UnidentifiedImageError as error:
            reason = explain_unreadable(data, options.extra_formats)
            is_known = reason.code is FailureCode.DAMAGED and found.unusual
            raise unsupported(found.unusual) if is_known else reason from error
        _check_pixels(image.size, options.max_pixels)
        if config is not None:
            check_shape(image.size, config.fitted(options.fit), options.max_pixels)
    image.info.update(found.info)
    # What else is in the block may be broken, and Pillow warn of it.
    if isinstance(block := image.info.get("exif"), bytes):
        image.info["exif"] = orientation_alone(block)
    return image, found.coding


def _opened(data: bytes, formats: Sequence[str]) -> Image.Image:
    """Do what `Image.open` does, without its warnings, which a program may have made errors.

    Raises:
        UnidentifiedImageError: none of the formats.
        DecompressionBombError: more pixels than Pillow's own limit allows.
    """
    file = io.BytesIO(data)
    Image.preinit()
    for name in formats:
        if name not in Image.OPEN:
            Image.init()
        factory, accept = Image.OPEN.get(name, (None, None))
        if factory is None or (accept is not None and accept(data[:_PREFIX_BYTES]) is not True):
            continue
        file.seek(0)
        with suppress(SyntaxError, IndexError, TypeError, struct.error):
            image = factory(file, "")
            # Beyond once the limit Pillow warns, beyond twice it refuses.
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > 2 * limit:
                raise Image.DecompressionBombError
            return image
    raise UnidentifiedImageError


def _reduced(image: Image.Image, config: PreprocessConfig) -> Image.Image:
    """A large JPEG photo, decoded at a fraction of its size and resized for the model.

    Any other image is returned as it is. The inverse cosine transform of 4, 2 or 1 of a block's
    8 coefficients a side gives the smaller image at once (libjpeg's `scale_denom`).
    """
    if image.format not in ("JPEG", "MPO"):
        return image
    if _upright_transpose(image) in _SIDEWAYS:
        config = replace(config, size=config.size[::-1])
    target = resized_size(image.size, config)
    enough = target[0] * _FAST_DECODE_MARGIN, target[1] * _FAST_DECODE_MARGIN
    if image.width < 2 * enough[0] or image.height < 2 * enough[1]:
        return image
    reduced = image.draft(None, enough)
    if reduced is None:
        return image
    # The box ends within the last pixel where the side is no multiple of the fraction's; taken
    # whole, that pixel would shift the others: values would move by four times as much.
    _, box = reduced
    return image.resize(target, resampling(config), box=box)


def load_image(image: Image.Image) -> Image.Image:
    """An open image of the caller's, its pixels read from its file.

    One image may come several times, to several threads: only one of them reads the file.

    Raises:
        InputError: damaged.
    """
    with _LOADING, _decoding():
        image.load()
    return image


@contextmanager
def _decoding(unusual: str = "") -> Iterator[None]:
    """Make an InputError of whatever a decoder raises, which is far more than OSError.

    Args:
        unusual: what the image is, where a decoder need not know it.
    """
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        message = "too large: there is not enough memory for its pixels"
        raise InputError(FailureCode.TOO_MANY_PIXELS, message) from error
    # The warning: of a TIFF file's pixels, where a program has made it an error.
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        message = "too large: it has more pixels than PIL.Image.MAX_IMAGE_PIXELS allows"
        raise InputError(FailureCode.TOO_MANY_PIXELS, message) from error
    except Exception as error:
        reason = one_line(error)
        is_cut = "truncated" in reason.lower()
        raise unsupported(unusual) if unusual and not is_cut else damaged(reason) from error


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        message = f"too large: {width:,} x {height:,} pixels (--max-pixels is {max_pixels:,})"
        raise InputError(FailureCode.TOO_MANY_PIXELS, message)


def lift_pillow_limit() -> None:
    """Leave the check of image sizes to `ImageOptions.max_pixels`.

    Pillow's own limit is one number for the whole process, so only a program may lift it, and
    the library must not.
    """
    Image.MAX_IMAGE_PIXELS = None


def preprocess(image: Image.Image, config: PreprocessConfig, options: ImageOptions) -> Float32:
    """Turn an open image into the model's input.

    On plain RGB, L and CMYK images the result equals open_clip 3.3's own transform bit for bit,
    unless a profile says that their colours are other ones than sRGB's;
    with `options.reference`, on images of every mode.

    Returns:
        Normalised pixels of shape (3, height, width); of a picture in tiles, the first.

    Raises:
        InputError: resized, the image would have more than `options.max_pixels` pixels or tiles
            than there may be, or a damaged image only shows it now.
    """
    return prepare(image, config, options).pixels


def prepare(image: Image.Image, config: PreprocessConfig, options: ImageOptions) -> Prepared:
    """Do what `preprocess` does, and say how much of the picture there is in the pixels."""
    config = config.fitted(options.fit)
    with _decoding():
        is_truncated = TRUNCATED in image.info
        colours = None if options.reference else colours_of(image)
        if not options.reference:
            image = plain(image)
        first, *others = map(_rgb, fit(image, config, options.max_pixels, colours))
        tiles = np.empty((len(others), *config.size, 3), np.uint8)
        for place, tile in enumerate(others):
            tiles[place] = np.asarray(tile)
        sight = Sight(is_truncated, View.of(image.size, config).share)
        return Prepared(normalised(first, config), tiles, sight)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "P":
        # It does not change the colours; Pillow would warn of transparency in several steps.
        image.info.pop("transparency", None)
    return image.convert("RGB")


def as_seen(image: Image.Image) -> Image.Image:
    """An open image as a viewer shows it: upright, opaque, in RGB and sRGB."""
    return in_srgb(plain(image), colours_of(image)).convert("RGB")


def plain(image: Image.Image) -> Image.Image:
    """The image upright, opaque, 8 bits a channel: ready to be resized, in its own colours.

    Transparent pixels are laid on white, palette and 1-bit images become RGB and L, deeper numbers
    are scaled (see `depths`). Other images stay in their own mode.

    Raises:
        InputError: numbers whose range is not evident.
    """
    source, image = image, _upright(image)
    if is_deep(image.mode):
        return eight_bit(image, source)
    if image.has_transparency_data:
        return _on_white(image)
    if image.mode == "P":
        return image.convert("RGB")
    return image.convert("L") if image.mode == "1" else image


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "P":
        image = image.copy()  # convert() writes the transparency into the palette of its own image
    if image.mode == "La":
        image = image.convert("LA")  # there is no direct way from La to RGBA
    if image.mode != "RGBA":
        image = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image, mask=image)
    return canvas


def _upright(image: Image.Image) -> Image.Image:
    transpose = _upright_transpose(image)
    return image if transpose is None else image.transpose(transpose)


def _upright_transpose(image: Image.Image) -> Image.Transpose | None:
    """What turns an image upright, by its EXIF orientation; None where nothing is to be done."""
    try:
        found = image.getexif().get(ORIENTATION_TAG)
    except Exception:  # noqa: BLE001  corrupt somewhere, or a warning of that made an error
        block = image.info.get("exif")
        found = orientation(block) if isinstance(block, bytes) else None
    return _UPRIGHT.get(found) if isinstance(found, int) else None
