"""Bytes to pixels: safe decoding, and the model's own preprocessing in Pillow and NumPy."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from clipcli.errors import FailureCode, InputError
from clipcli.formats import allowed_formats, explain_unreadable

Float32 = NDArray[np.float32]
ResizeMode = Literal["shortest", "longest", "squash"]

# OpenAI's own data set, as in the preprocessing of openai/CLIP.
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)

# The largest camera sensors have 200 million pixels; decoded as RGB that is 600 MB.
DEFAULT_MAX_PIXELS = 200_000_000
DEFAULT_MAX_BYTES = 256 * 1024 * 1024

_RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
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
        interpolation: `bicubic`, `bilinear`, `nearest` or `lanczos`.
        resize_mode: which side is brought to size before the centre is cut out; `squash` gives
            up the aspect ratio.
        fill_color: 0..255, beside an image whose longest side was brought to size.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    resize_mode: ResizeMode = "shortest"
    fill_color: int = 0

    @classmethod
    def from_open_clip(
        cls, fields: Mapping[str, Any], size: int | Sequence[int]
    ) -> PreprocessConfig:
        """Make one of open_clip's `preprocess_cfg`; what it leaves out is OpenAI's.

        Args:
            fields: any of `mean`, `std`, `interpolation`, `resize_mode`, `fill_color`.
            size: of the model's input, in pixels: a side, or height and width.
        """
        height, width = (size, size) if isinstance(size, int) else size
        return cls(
            size=(height, width),
            mean=tuple(fields.get("mean") or OPENAI_MEAN),
            std=tuple(fields.get("std") or OPENAI_STD),
            interpolation=fields.get("interpolation", "bicubic"),
            resize_mode=fields.get("resize_mode", "shortest"),
            fill_color=fields.get("fill_color", 0),
        )


@dataclass(frozen=True)
class ImageOptions:
    """What is accepted as an image, and how it is prepared.

    Attributes:
        max_bytes: of one encoded image.
        max_pixels: of the decoded image, and of the resized one.
        extra_formats: formats beyond the usual ones: `tiff`, `avif`, `jpeg2000`.
        reference: do exactly what open_clip's transform does to an opened image, instead of
            turning it upright, laying it on white and scaling 16-bit values.
    """

    max_bytes: int = DEFAULT_MAX_BYTES
    max_pixels: int = DEFAULT_MAX_PIXELS
    extra_formats: Sequence[str] = ()
    reference: bool = False


def open_image(data: bytes, options: ImageOptions) -> Image.Image:
    """Decode the first frame of an image whose format is on the list.

    Raises:
        InputError: empty, not an image, a format that is off, too many pixels, or damaged.
    """
    if not data:
        raise InputError(FailureCode.EMPTY, "the file is empty")
    try:
        image = Image.open(io.BytesIO(data), formats=allowed_formats(data, options.extra_formats))
        _check_pixels(image.size, options.max_pixels)
        image.load()
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise explain_unreadable(data, options.extra_formats) from error
    except Image.DecompressionBombError as error:
        raise InputError(FailureCode.TOO_MANY_PIXELS, "more pixels than Pillow opens") from error
    except Exception as error:  # decoders raise far more than OSError
        raise InputError(FailureCode.DAMAGED, f"a damaged image ({_reason(error)})") from error
    return image


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
    try:
        if not options.reference:
            image = plain(image)
        image = _fit(image, config, options.max_pixels).convert("RGB")
    except InputError:
        raise
    except Exception as error:  # as in open_image
        raise InputError(FailureCode.DAMAGED, f"a damaged image ({_reason(error)})") from error
    rgb = np.asarray(image)
    table = _normalised_values(config.mean, config.std)
    return np.stack([table[channel][rgb[:, :, channel]] for channel in range(3)])


def plain(image: Image.Image) -> Image.Image:
    """The image as a viewer shows it: upright, opaque, 8 bits a channel, ready to be resized.

    Transparent pixels are laid on white, palette and 1-bit images become RGB and L, 16-bit and
    32-bit integer images are scaled. Other images stay in their own mode.
    """
    image = _upright(image)
    if image.mode.startswith("I"):
        return _eight_bit(image)
    if image.has_transparency_data:
        # Some modes with premultiplied or palette alpha have only a way through RGBA.
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    if image.mode in ("P", "PA"):
        return image.convert("RGB")
    return image.convert("L") if image.mode == "1" else image


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except Exception:  # noqa: BLE001  a corrupt EXIF block says nothing about the pixels
        return image
    transpose = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if transpose is None else image.transpose(transpose)


def _eight_bit(image: Image.Image) -> Image.Image:
    """A 16-bit (or 32-bit, whose values are taken as 16-bit) grey image, scaled to 8 bits."""
    values = np.asarray(image, dtype=np.float64).clip(0, 65535)
    return Image.fromarray(np.rint(values / 257).astype(np.uint8))


def _fit(image: Image.Image, config: PreprocessConfig, max_pixels: int) -> Image.Image:
    """Resize and crop to the model's size, rounding as torchvision and open_clip do."""
    width, height = resized_size(image.size, config)
    if width * height > max_pixels:
        message = f"too elongated: resized it would be {width:,} x {height:,} pixels"
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
        color = tuple([config.fill_color] * len(image.getbands()))
        canvas = Image.new(image.mode, (image.width + missing_x, image.height + missing_y), color)
        canvas.paste(image, (missing_x // 2, missing_y // 2))
        image = canvas
    left = round((image.width - width) / 2.0)
    top = round((image.height - height) / 2.0)
    return image.crop((left, top, left + width, top + height))


@lru_cache(maxsize=8)
def _normalised_values(mean: tuple[float, ...], std: tuple[float, ...]) -> Float32:
    """(value / 255 - mean) / std for the 256 values of each channel: shape (channels, 256).

    Divided and rounded in float32, step by step, as torch does.
    """
    values = np.arange(256, dtype=np.float32) / np.float32(255)
    centred = values[None, :] - np.asarray(mean, np.float32)[:, None]
    table: Float32 = centred / np.asarray(std, np.float32)[:, None]
    return table


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
