"""Numbers to sRGB's: by an image's ICC profile, or by the primaries and the curve it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from clipcli.arrays import Float64

CICP = "cicp"
"""In an image's `info`: the numbers of primaries and curve as in ITU-T H.273, a pair."""

# A header alone has 128 bytes; the largest profiles of printers have some 4 MiB.
_SIZES = range(128, 16 << 20)
# Bytes 16 to 19 of a profile (ICC.1:2022, 7.2.6) -> Pillow's mode of the numbers it is for.
_SPACES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
_GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
_COLOUR_MODES = ("RGB", "RGBA", "RGBa", "RGBX", "P", "PA")

# What rounding, and curves given by few points, make of profiles that say sRGB, in steps of 255.
_SAME = 2
_CACHED = 64
# Of a gamma that is written for sRGB's curve, which is no power: as libpng has it.
_GAMMA_TOLERANCE = 0.05

# A power a v + b, and a line c v below d, as ICC.1 has them (10.18, type 3): g, a, b, c, d.
_Curve = tuple[float, float, float, float, float]
_SRGB_CURVE: _Curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_BT709_CURVE: _Curve = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
# x and y of white, red, green and blue.
_Primaries = tuple[float, ...]
_D65 = (0.3127, 0.3290)
_SRGB_PRIMARIES: _Primaries = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
# ITU-T H.273, tables 2 and 3. The curves of HDR are left out: they want more than a conversion.
_H273_PRIMARIES: dict[int, _Primaries] = {
    1: _SRGB_PRIMARIES,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    7: (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    12: (*_D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    22: (*_D65, 0.63, 0.34, 0.295, 0.605, 0.155, 0.077),
}
_H273_CURVES: dict[int, _Curve] = {
    **dict.fromkeys((1, 6, 14, 15), _BT709_CURVE),
    4: (2.2, 1, 0, 0, 0),
    5: (2.8, 1, 0, 0, 0),
    8: (1, 1, 0, 0, 0),
    13: _SRGB_CURVE,
}
# Bradford's cone responses, for a white that is not sRGB's (as in ICC.1, annex E).
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)

_Conversion = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class Profile:
    """An ICC profile, and the mode that an image must have for it."""

    data: bytes
    mode: str


@dataclass(frozen=True)
class Encoding:
    """Colours as numbers: the primaries that they mix, and the curve from numbers to light."""

    primaries: _Primaries
    curve: _Curve


Colours = Profile | Encoding | None
"""What an image's numbers mean; None for sRGB's, which whatever says nothing has."""


def colours_of(image: Image.Image) -> Colours:
    """What an image says of its numbers, in the order of the PNG specification (edition 3, 4.3).

    What makes no sense counts as nothing.
    """
    info = image.info
    if (known := _of_h273(info.get(CICP))) is not None:
        return known
    if (profile := _profile(info.get("icc_profile"), image.mode)) is not None:
        return profile
    return None if "srgb" in info else _of_gamma(info.get("gamma"), info.get("chromaticity"))


def in_srgb(image: Image.Image, colours: Colours) -> Image.Image:
    """An 8-bit image in sRGB: RGB where anything changes, else the image itself.

    Args:
        image: of mode RGB, L or CMYK; any other is returned as it is.
        colours: of its numbers.
    """
    if colours is None or image.mode not in _SPACES.values():
        return image
    conversion = _conversion(colours)
    if conversion is None:
        return image
    mode = colours.mode if isinstance(colours, Profile) else "RGB"
    if mode == "L" and image.mode == "RGB" and not _is_grey(image):
        return image  # a profile of another picture
    if "CMYK" in (mode, image.mode) and mode != image.mode:
        return image
    try:
        return conversion(image.convert(mode))
    except Exception:  # noqa: BLE001  a profile that breaks only now says no more than none
        return image


def _profile(data: Any, mode: str) -> Profile | None:  # noqa: ANN401
    if not isinstance(data, bytes) or len(data) not in _SIZES:
        return None
    wanted = _SPACES.get(data[16:20])
    fits = mode in _GREY_MODES + _COLOUR_MODES if wanted in ("RGB", "L") else mode == wanted
    return Profile(data, wanted) if wanted is not None and fits else None


def _is_grey(image: Image.Image) -> bool:
    red, green, blue = (band.tobytes() for band in image.split())
    return red == green == blue


def _of_h273(numbers: Any) -> Encoding | None:  # noqa: ANN401
    if not isinstance(numbers, tuple) or len(numbers) != 2:
        return None
    primaries, curve = _H273_PRIMARIES.get(numbers[0]), _H273_CURVES.get(numbers[1])
    return None if primaries is None or curve is None else Encoding(primaries, curve)


def _of_gamma(gamma: Any, primaries: Any) -> Encoding | None:  # noqa: ANN401
    """What PNG's gAMA and cHRM say, each of which may be missing."""
    if not (isinstance(gamma, float) and 0.05 < gamma < 20):
        gamma = 1 / 2.2
    is_srgb = abs(gamma * 2.2 - 1) < _GAMMA_TOLERANCE
    curve = _SRGB_CURVE if is_srgb else (1 / gamma, 1, 0, 0, 0)
    sound = isinstance(primaries, tuple) and len(primaries) == 8 and all(primaries[1::2])
    found = Encoding(primaries if sound else _SRGB_PRIMARIES, curve)
    return None if found == Encoding(_SRGB_PRIMARIES, _SRGB_CURVE) else found


@lru_cache(_CACHED)
def _conversion(colours: Profile | Encoding) -> _Conversion | None:
    """What makes sRGB of an image; None where nothing would change, or nothing can be made."""
    try:
        if isinstance(colours, Profile):
            conversion, probe = _by_profile(colours), _probe(colours.mode)
        else:
            conversion, probe = _by_primaries(colours), _probe("RGB")
        changed = np.asarray(conversion(probe), int) - np.asarray(probe.convert("RGB"), int)
    except Exception:  # noqa: BLE001  whatever a broken profile raises, the picture is there
        return None
    return conversion if np.abs(changed).max() > _SAME else None


def _probe(mode: str) -> Image.Image:
    """Numbers from all over a mode's space, in an image."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    steps = np.linspace(0, 255, 256 if bands == 1 else 18 - 3 * bands).astype(np.uint8)
    grid = np.stack(np.meshgrid(*[steps] * bands), -1).reshape(-1, bands)
    return Image.frombytes(mode, (len(grid), 1), grid.tobytes())


def _by_profile(profile: Profile) -> _Conversion:
    # Imported here: only pictures with a profile need it.
    from PIL import ImageCms

    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    if profile.mode == "L":
        flags |= ImageCms.Flags.NOOPTIMIZE  # whose table of greys is too coarse in the dark
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(BytesIO(profile.data)),
        ImageCms.createProfile("sRGB"),
        profile.mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags,
    )

    def convert(image: Image.Image) -> Image.Image:
        return transform.apply(image)

    return convert


def _by_primaries(encoding: Encoding) -> _Conversion:
    light = _light(encoding.curve)
    matrix = np.linalg.inv(_to_xyz(_SRGB_PRIMARIES)) @ _to_xyz(encoding.primaries)
    # So fine that no 8-bit step of sRGB is passed over, even in the dark.
    steps = np.arange(1 << 16) / ((1 << 16) - 1)
    values = np.where(steps <= 0.0031308, 12.92 * steps, 1.055 * steps ** (1 / 2.4) - 0.055)
    table = np.rint(values * 255).astype(np.uint8)

    def convert(image: Image.Image) -> Image.Image:
        numbers = np.array(image)
        for row in numbers:  # row by row: of a whole photo, floats would take gigabytes
            mixed = (light[row] @ matrix.T).clip(0, 1)
            row[:] = table[np.rint(mixed * (len(table) - 1)).astype(int)]
        return Image.fromarray(numbers)

    return convert


def _light(curve: _Curve) -> Float64:
    """The light of each 8-bit number, in 0..1."""
    power, factor, offset, slope, border = curve
    values = np.arange(256) / 255
    found: Float64 = np.where(values >= border, (factor * values + offset) ** power, slope * values)
    return found


def _to_xyz(primaries: _Primaries) -> Float64:
    """The matrix from linear red, green and blue to XYZ under D65 (SMPTE RP 177, Bradford)."""
    white, *colours = (
        np.array([x / y, 1, (1 - x - y) / y])
        for x, y in zip(primaries[::2], primaries[1::2], strict=True)
    )
    mixture = np.stack(colours, 1)
    matrix = mixture * np.linalg.solve(mixture, white)
    x, y = _D65
    wanted, given = (_BRADFORD @ each for each in (np.array([x / y, 1, (1 - x - y) / y]), white))
    adapted: Float64 = np.linalg.solve(_BRADFORD, np.diag(wanted / given) @ _BRADFORD) @ matrix
    return adapted
