"""What a model wants of pixels: size, cut, mean and spread, rounded as the reference does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from clipcli.arrays import Float32, UInt8
from clipcli.errors import FailureCode, InputError, ModelError
from clipcli.images.colours import Colours, in_srgb
from clipcli.images.formats import damaged
from clipcli.images.options import Fit

ResizeMode = Literal["shortest", "longest", "squash", "tiles"]
"""Open_clip's own, and `tiles`, which no model was trained with."""

_MODES: dict[Fit, ResizeMode] = {
    "crop": "shortest",
    "pad": "longest",
    "squash": "squash",
    "tiles": "tiles",
}

# Which bring the shorter side to size.
_OF_SHORTEST = ("shortest", "tiles")

MOST_TILES = 64
"""Of one picture; its longer side is then 51 times the shorter."""

# Neighbouring tiles have this part of a side in common at least, a fifth: what lies on the edge of
# one is seen by the other with something around it.
_COMMON = 5

# OpenAI's own data set, as in the preprocessing of openai/CLIP.
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)

# What open_clip's transform knows; `random` is for training and means bicubic otherwise.
_RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "random": Image.Resampling.BICUBIC,
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
            up the aspect ratio, `tiles` cuts out as many parts as cover the whole.
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
        mode: ResizeMode = fields.get("resize_mode") or "shortest"
        if mode == "tiles":
            raise ModelError(f"the model asks for an unknown resize mode: {mode!r}")
        return cls(
            size=(height, width),
            mean=_per_channel(fields.get("mean") or OPENAI_MEAN),
            std=_per_channel(fields.get("std") or OPENAI_STD),
            interpolation=fields.get("interpolation") or "bicubic",
            resize_mode=mode,
            fill_color=fields.get("fill_color") or 0,
        )

    @property
    def fit(self) -> Fit:
        """What `resize_mode` is called in `ImageOptions`."""
        return next(fit for fit, mode in _MODES.items() if mode == self.resize_mode)

    def fitted(self, fit: Fit | None) -> PreprocessConfig:
        """The same model's wishes, with pictures fitted in another way; None leaves its own."""
        return self if fit is None else replace(self, resize_mode=_MODES[fit])


def _per_channel(value: float | Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = value if isinstance(value, Sequence) else (value, value, value)
    return red, green, blue


def fit(
    image: Image.Image, config: PreprocessConfig, max_pixels: int, colours: Colours = None
) -> list[Image.Image]:
    """Resize and crop to the model's size, rounding as torchvision and open_clip do.

    Args:
        image: in any mode.
        config: of the model.
        max_pixels: of the resized image.
        colours: from which it is converted to sRGB, resized; None leaves it as it is.

    Returns:
        One image, or the tiles of one, from the left or from the top.

    Raises:
        InputError: resized, the image would have more than `max_pixels` pixels, or take more than
            `MOST_TILES` tiles.
    """
    if 0 in image.size:
        raise damaged("it has no pixels")
    width, height = resized_size(image.size, config)
    _check_resized((width, height), config, max_pixels)
    if (width, height) != image.size:
        image = image.resize((width, height), resampling(config))
    # Before the border, whose colour is the model's.
    image = in_srgb(image, colours)
    return _tiles(image, config) if config.resize_mode == "tiles" else [_centre(image, config)]


def check_shape(size: tuple[int, int], config: PreprocessConfig, max_pixels: int) -> None:
    """Refuse what `fit` would, before there are pixels.

    Args:
        size: width and height in the file; which side is up may not be known yet.
        config: how the model wants its pixels.
        max_pixels: of the resized image.

    Raises:
        InputError: resized, the image would have more, whichever side is up.
    """
    if 0 not in size:
        ways = (resized_size(one, config) for one in (size, size[::-1]))
        _check_resized(min(ways, key=prod), config, max_pixels)


def _check_resized(size: tuple[int, int], config: PreprocessConfig, max_pixels: int) -> None:
    width, height = size
    count = prod(1 + _steps(*sides) for sides in zip(size, config.size[::-1], strict=True))
    if config.resize_mode == "tiles" and count > MOST_TILES:
        message = (
            f"too elongated: it would take {count:,} tiles, and {MOST_TILES} are the most: --fit"
            " squash or --fit pad takes all of it at once, --fit crop its middle"
        )
        raise InputError(FailureCode.TOO_ELONGATED, message)
    if width * height > max_pixels:
        message = (
            f"too elongated: resized for the model it would be {width:,} x {height:,} pixels "
            f"(--max-pixels is {max_pixels:,})"
        )
        raise InputError(FailureCode.TOO_ELONGATED, message)


def resampling(config: PreprocessConfig) -> Image.Resampling:
    """The filter that a model's images are resized with."""
    # open_clip's transform for targets that are not square is bicubic, whatever was asked for.
    if config.resize_mode in _OF_SHORTEST and config.size[0] != config.size[1]:
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
    if config.resize_mode in _OF_SHORTEST and target_height == target_width:
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


def _tiles(image: Image.Image, config: PreprocessConfig) -> list[Image.Image]:
    """The parts of the target size that cover a resized image; one, where that is all of it."""
    height, width = config.size
    corners = _corners(image.size, config)
    return [image.crop((left, top, left + width, top + height)) for top, left in corners]


def _corners(size: tuple[int, int], config: PreprocessConfig) -> list[tuple[int, int]]:
    """The top and left of each tile of a resized image of some width and height."""
    height, width = config.size
    return [*product(tile_starts(size[1], height), tile_starts(size[0], width))]


def tile_starts(length: int, target: int) -> list[int]:
    """Where tiles begin that cover a side: as few as may be, evenly spread, from end to end.

    Args:
        length: of the side.
        target: of each tile, no longer than the side.
    """
    steps = _steps(length, target)
    return [0, *((length - target) * step // steps for step in range(1, steps + 1))]


def _steps(length: int, target: int) -> int:
    """How many tiles there are behind the first."""
    return -(-(length - target) // (target - target // _COMMON))


def normalised(image: Image.Image | UInt8, config: PreprocessConfig) -> Float32:
    """(value / 255 - mean) / std of an RGB image, of shape (3, height, width).

    Step by step in float32, as torch does it, so that every rounding is the same.
    """
    pixels = np.asarray(image).transpose(2, 0, 1).astype(np.float32, order="C")
    pixels /= np.float32(255)
    pixels -= np.asarray(config.mean, np.float32)[:, None, None]
    pixels /= np.asarray(config.std, np.float32)[:, None, None]
    return pixels
