"""Grey values of more than 8 bits, as 8 bits: by the range that they evidently have."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipcli.errors import FailureCode, InputError

# Tags of TIFF files: how many bits a value has, and of which kind it is.
_BITS, _SAMPLE_FORMAT = 258, 339
_UNSIGNED = 1
_WAY_OUT = "scale them to 0..1, or to 8 or 16 bits"

# Whole numbers above this are of the type's full range; below it they may be anything.
_LEAST_OF_FULL_RANGE = 1 << 24
_ROUNDING = 1e-6


def is_deep(mode: str) -> bool:
    """Whether an image of this mode has numbers of more than 8 bits."""
    return mode == "F" or mode.startswith("I")


def eight_bit(image: Image.Image, source: Image.Image) -> Image.Image:
    """A grey image of mode L.

    16-bit values are scaled from 0..65535, those of fewer bits from what their file says. Of
    other integers and of floats the range is taken that their values leave no doubt of.

    Args:
        image: of a mode that `is_deep`.
        source: as it was opened.

    Raises:
        InputError: what is black and what is white is not evident.
    """
    if image.mode.startswith("I;16"):
        return _sixteen_bit(image, _bits(source))
    values = np.asarray(image)
    if image.mode == "F":
        return _scaled(values, _range_of_floats(values))
    if _tag(source, _SAMPLE_FORMAT, 0) == _UNSIGNED:
        values = values.view(np.uint32)
    return _scaled(values, _range_of_integers(values))


def _sixteen_bit(image: Image.Image, bits: int) -> Image.Image:
    largest = (1 << bits) - 1
    # value / 257, rounded, where there are 16 bits
    table = np.minimum((np.arange(65536) * 255 + largest // 2) // largest, 255).tolist()
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        table[clear] = 255
    return image.convert("I").point(table, "L")


def _bits(source: Image.Image) -> int:
    """How many bits a 16-bit image's values have: 12 in some TIFF files."""
    bits = _tag(source, _BITS, 16)
    return bits if isinstance(bits, int) and 8 < bits < 16 else 16


def _tag(source: Image.Image, tag: int, otherwise: int) -> Any:  # noqa: ANN401
    values = getattr(source, "tag_v2", {}).get(tag, otherwise)
    return values[0] if isinstance(values, tuple) and values else values


def _range_of_floats(values: NDArray[Any]) -> float:
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        message = "an image of numbers, some of which are not finite"
        raise InputError(FailureCode.UNSUPPORTED_FORMAT, f"{message}: {_WAY_OUT}")
    for largest in (1.0, 255.0):
        if -_ROUNDING * largest <= low and high <= largest * (1 + _ROUNDING):
            return largest
    raise _not_evident(low, high)


def _range_of_integers(values: NDArray[Any]) -> float:
    low, high = int(values.min()), int(values.max())
    if low >= 0:
        for largest in (255, 65535):
            if high <= largest:
                return largest
        if high >= _LEAST_OF_FULL_RANGE:
            return float(np.iinfo(values.dtype).max)
    raise _not_evident(low, high)


def _not_evident(low: float, high: float) -> InputError:
    message = f"an image of numbers from {low:g} to {high:g}, whose black and white are not evident"
    return InputError(FailureCode.UNSUPPORTED_FORMAT, f"{message}: {_WAY_OUT}")


def _scaled(values: NDArray[Any], largest: float) -> Image.Image:
    shares = values.astype(np.float64).clip(0) * (255 / largest)
    return Image.fromarray(np.rint(shares).clip(0, 255).astype(np.uint8))
