"""Bytes to pixels: safe decoding, and the model's own preprocessing in Pillow and NumPy."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from clipcli.errors import FailureCode, InputError, ModelError, UsageError
from clipcli.formats import EXTRA_FORMATS, allowed_formats, damaged, explain_unreadable

Float32 = NDArray[np.float32]
ResizeMode = Literal["shortest", "longest", "squash"]

# OpenAI's own data set, as in the preprocessing of openai/CLIP.
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)

# The largest camera sensors have 200 million pixels; decoded as RGB that is 600 MB.
DEFAULT_MAX_PIXELS = 200_000_000
DEFAULT_MAX_BYTES = 256 * 1024 * 1024

_LOADING = threading.Lock()

# What open_clip's transform knows; `random` is for training and means bicubic otherwise.
_RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "random": Image.Resampling.BICUBIC,
}

# EXIF orientation (tag 0x0112, values as in the Exif 2.32 standard, table 4) -> what undoes it.
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class PreprocessConfig:
    """How a model wants its pixels; the fields of open_clip's `preprocess_cfg`.

    Attributes:
        size: height and width in pixels.
        mean: per channel, of values in 0..1.
        std: per channel.
        interpolation: `bicubic`, `bilinear` or `random` (bicubic, save in training).
        resize_mode: which side is brought to size before the centre is cut out; `squash` gives
            up the aspect ratio.
        fill_color: 0..255, beside an image whose longest side was brought to size.

    Raises:
        ModelError: an interpolation or a resize mode that open_clip does not know either.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    resize_mode: ResizeMode = "shortest"
    fill_color: int = 0

    def __post_init__(self) -> None:
        if self.interpolation not in _RESAMPLING:
            raise ModelError(f"the model asks for an unknown interpolation: {self.interpolation!r}")
        if self.resize_mode not in get_args(ResizeMode):
            raise ModelError(f"the model asks for an unknown resize mode: {self.resize_mode!r}")

    @classmethod
    def from_open_clip(
        cls, fields: Mapping[str, Any], size: int | Sequence[int]
    ) -> PreprocessConfig:
        """Make one of open_clip's `preprocess_cfg`; what it leaves out is OpenAI's.

        Args:
            fields: any of `mean`, `std`, `interpolation`, `resize_mode`, `fill_color`; a mean or
                std may be one number for all channels.
            size: of the model's input, in pixels: a side, or height and width.
        """
        height, width = (size, size) if isinstance(size, int) else size
        return cls(
            size=(height, width),
            mean=_per_channel(fields.get("mean") or OPENAI_MEAN),
            std=_per_channel(fields.get("std") or OPENAI_STD),
            interpolation=fields.get("interpolation") or "bicubic",
            resize_mode=fields.get("resize_mode") or "shortest",
            fill_color=fields.get("fill_color") or 0,
        )


def _per_channel(value: float | Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = value if isinstance(value, Sequence) else (value, value, value)
    return red, green, blue


@dataclass(frozen=True)
class ImageOptions:
    """What is accepted as an image, and how it is prepared.

    Attributes:
        max_bytes: of one encoded image.
        max_pixels: of the decoded image, and of the resized one.
        extra_formats: formats beyond the usual ones: `tiff`, `avif`, `jpeg2000`.
        reference: do exactly what open_clip's transform does to an opened image, instead of
            turning it upright, laying it on white and scaling 16-bit values.

    Raises:
        UsageError: no such extra format.
    """

    max_bytes: int = DEFAULT_MAX_BYTES
    max_pixels: int = DEFAULT_MAX_PIXELS
    extra_formats: Sequence[str] = ()
    reference: bool = False

    def __post_init__(self) -> None:
        for name in self.extra_formats:
            if name not in EXTRA_FORMATS:
                known = ", ".join(EXTRA_FORMATS)
                raise UsageError(f"{name!r} is no format that can be allowed: use {known}")


def open_image(data: bytes, options: ImageOptions) -> Image.Image:
    """Decode the first frame of an image whose format is on the list.

    Raises:
        InputError: empty, not an image, a format that is off, too many pixels, or damaged.
    """
    if not data:
        raise InputError(FailureCode.EMPTY, "the file is empty")
    with _decoding():
        try:
            formats = allowed_formats(data, options.extra_formats)
            image = Image.open(io.BytesIO(data), formats=formats)
        except UnidentifiedImageError as error:
            raise explain_unreadable(data, options.extra_formats) from error
        _check_pixels(image.size, options.max_pixels)
        image.load()
    return image


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
def _decoding() -> Iterator[None]:
    """Make an InputError of whatever a decoder raises, which is far more than OSError."""
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        message = "too large: there is not enough memory for its pixels"
        raise InputError(FailureCode.TOO_MANY_PIXELS, message) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        message = "too large: it has more pixels than PIL.Image.MAX_IMAGE_PIXELS allows"
        raise InputError(FailureCode.TOO_MANY_PIXELS, message) from error
    except Exception as error:
        raise damaged(" ".join(str(error).split()) or type(error).__name__) from error


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

    On plain RGB, L and CMYK images the result equals open_clip 3.3's own transform bit for bit;
    with `options.reference`, on images of every mode.

    Returns:
        Normalised pixels of shape (3, height, width).

    Raises:
        InputError: resized, the image would have more than `options.max_pixels` pixels, or a
            damaged image only shows it now.
    """
    with _decoding():
        if not options.reference:
            image = plain(image)
        return _normalised(_fit(image, config, options.max_pixels).convert("RGB"), config)


def plain(image: Image.Image) -> Image.Image:
    """The image as a viewer shows it: upright, opaque, 8 bits a channel, ready to be resized.

    Transparent pixels are laid on white, palette and 1-bit images become RGB and L, 16-bit and
    32-bit integer images are scaled. Other images stay in their own mode.
    """
    image = _upright(image)
    if image.mode.startswith("I"):
        return _eight_bit(image)
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
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # noqa: BLE001  a corrupt EXIF block says nothing about the pixels
        return image
    transpose = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if transpose is None else image.transpose(transpose)


def _eight_bit(image: Image.Image) -> Image.Image:
    """A 16-bit (or 32-bit, whose values are taken as 16-bit) grey image, scaled to 8 bits."""
    table = ((np.arange(65536) + 128) // 257).tolist()  # value / 257, rounded
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        table[clear] = 255
    return image.convert("I").point(table, "L")


def _fit(image: Image.Image, config: PreprocessConfig, max_pixels: int) -> Image.Image:
    """Resize and crop to the model's size, rounding as torchvision and open_clip do."""
    if 0 in image.size:
        raise damaged("it has no pixels")
    width, height = resized_size(image.size, config)
    if width * height > max_pixels:
        message = (
            f"too elongated: resized for the model it would be {width:,} x {height:,} pixels "
            f"(--max-pixels is {max_pixels:,})"
        )
        raise InputError(FailureCode.TOO_ELONGATED, message)
    if (width, height) != image.size:
        image = image.resize((width, height), _resampling(config))
    return _centre(image, config)


def _resampling(config: PreprocessConfig) -> Image.Resampling:
    # open_clip's transform for targets that are not square is bicubic, whatever was asked for.
    if config.resize_mode == "shortest" and config.size[0] != config.size[1]:
        return Image.Resampling.BICUBIC
    return _RESAMPLING[config.interpolation]


def resized_size(size: tuple[int, int], config: PreprocessConfig) -> tuple[int, int]:
    """Width and height after the resize that comes before the crop.

    Args:
        size: width and height of the image.
        config: target size, given as height and width, and the resize mode.
    """
    width, height = size
    target_height, target_width = config.size
    if config.resize_mode == "squash":
        return target_width, target_height
    if config.resize_mode == "shortest" and target_height == target_width:
        # torchvision truncates the long side.
        short, long = min(size), max(size)
        long = int(target_width * long / short)
        return (target_width, long) if width <= height else (long, target_width)
    # open_clip's ResizeKeepRatio rounds both sides, half to even.
    ratios = height / target_height, width / target_width
    ratio = max(ratios) if config.resize_mode == "longest" else min(ratios)
    return max(1, round(width / ratio)), max(1, round(height / ratio))


def _centre(image: Image.Image, config: PreprocessConfig) -> Image.Image:
    """The central part of the target size; what lies outside the image is filled."""
    height, width = config.size
    missing_x, missing_y = max(0, width - image.width), max(0, height - image.height)
    if missing_x or missing_y:
        # Imported here: few models want a border, and it takes a hundredth of a start.
        from PIL import ImageOps

        bands = len(image.getbands())
        color = config.fill_color if bands == 1 else (config.fill_color,) * bands
        left, top = missing_x // 2, missing_y // 2
        image = ImageOps.expand(image, (left, top, missing_x - left, missing_y - top), color)
    left = round((image.width - width) / 2.0)
    top = round((image.height - height) / 2.0)
    return image.crop((left, top, left + width, top + height))


def _normalised(image: Image.Image, config: PreprocessConfig) -> Float32:
    """(value / 255 - mean) / std of an RGB image, of shape (3, height, width).

    Step by step in float32, as torch does it, so that every rounding is the same.
    """
    pixels = np.asarray(image).transpose(2, 0, 1).astype(np.float32, order="C")
    pixels /= np.float32(255)
    pixels -= np.asarray(config.mean, np.float32)[:, None, None]
    pixels /= np.asarray(config.std, np.float32)[:, None, None]
    return pixels
