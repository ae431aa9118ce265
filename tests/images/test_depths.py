"""Numbers of more than 8 bits: scaled where their range is evident, else refused; never clipped."""

from __future__ import annotations

import io

import numpy as np
import pytest
from picture_files import picture_tags, tiff
from PIL import Image

from clipcli.errors import FailureCode, InputError
from clipcli.images.decoding import open_image, plain, preprocess
from clipcli.images.options import ImageOptions
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.images.thumbnails import thumbnail

TIFF = ImageOptions(extra_formats=["tiff"])
REFERENCE = ImageOptions(extra_formats=["tiff"], reference=True)
CONFIG = PreprocessConfig.from_open_clip({}, 32)
RAMP = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
EIGHT_BIT = np.arange(256).reshape(16, 16)


def encoded(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    return file.getvalue()


def deep_tiff(values: np.ndarray, bits: int, kind: int) -> bytes:
    """A TIFF file of a sample format: 1 unsigned, 2 signed, 3 floats."""
    tags = picture_tags() | {258: (3, [bits]), 339: (3, [kind]), 279: (4, [256 * bits // 8])}
    return tiff(tags, pixels=values.tobytes())


def seen(data: bytes) -> np.ndarray:
    image = plain(open_image(data, TIFF))
    assert image.mode == "L"
    return np.asarray(image)


SCALED = {
    "floats in 0..1": encoded(RAMP),
    "floats in 0..255": encoded(RAMP * 255),
    "floats that were rounded": encoded((RAMP * (1 + 1e-7)) - 1e-8),
    "32-bit integers of 8 bits": encoded(EIGHT_BIT.astype(np.int32)),
    "32-bit integers of 16 bits": encoded((EIGHT_BIT * 257).astype(np.int32)),
    "32-bit integers of 31 bits": encoded((EIGHT_BIT * ((2**31 - 1) // 255)).astype(np.int32)),
    "unsigned 32-bit integers": deep_tiff((EIGHT_BIT * 0x01010101).astype(np.uint32), 32, 1),
    "floats of 32 bits": deep_tiff(RAMP, 32, 3),
    "16-bit integers": encoded((EIGHT_BIT * 257).astype(np.uint16)),
}


@pytest.mark.parametrize("name", SCALED)
def test_an_evident_range_is_scaled(name):
    found = seen(SCALED[name])
    assert np.abs(found.astype(int) - EIGHT_BIT).max() <= 1
    assert found.min() == 0
    assert found.max() == 255
    assert thumbnail(SCALED[name], TIFF) is not None


def test_12_bits_of_a_tiff_are_12_bits():
    values = np.arange(256) * 16
    packed = bytearray()
    for first, second in values.reshape(-1, 2).tolist():
        packed += (first << 12 | second).to_bytes(3)
    tags = picture_tags() | {258: (3, [12]), 279: (4, [len(packed)])}
    found = seen(tiff(tags, pixels=bytes(packed)))
    assert np.abs(found.astype(int) - EIGHT_BIT).max() <= 1


REFUSED = {
    "floats beyond 255": (RAMP * 900, "from 0 to 900"),
    "floats below 0": (RAMP * 2 - 1, "from -1 to 1"),
    "floats that are none": (np.where(RAMP > 0.5, np.nan, RAMP), "not finite"),
    "floats without end": (np.where(RAMP > 0.5, np.inf, RAMP), "not finite"),
    "integers below 0": ((EIGHT_BIT - 5).astype(np.int32), "from -5 to 250"),
    "integers of 17 bits": ((EIGHT_BIT * 300).astype(np.int32), "from 0 to 76500"),
    "integers of 20 bits": ((EIGHT_BIT * 4000).astype(np.int32), "from 0 to 1.02e+06"),
}


@pytest.mark.parametrize(("values", "message"), REFUSED.values(), ids=list(REFUSED))
def test_another_range_is_refused_with_the_way_out(values, message):
    data = encoded(values.astype(np.float32) if values.dtype.kind == "f" else values)
    image = open_image(data, TIFF)
    with pytest.raises(InputError, match=r"scale them to 0\.\.1") as caught:
        preprocess(image, CONFIG, TIFF)
    assert message in caught.value.message
    assert caught.value.code is FailureCode.UNSUPPORTED_FORMAT
    assert preprocess(image, CONFIG, REFERENCE).shape == (3, 32, 32)
    assert thumbnail(data, TIFF) is None


def test_one_value_is_a_picture_of_its_range():
    for value, mode, expected in (
        (0.0, "F", 0), (0.5, "F", 128), (1.0, "F", 255), (200.0, "F", 200),
        (0, "I", 0), (200, "I", 200), (65535, "I", 255),
    ):  # fmt: skip
        assert np.asarray(plain(Image.new(mode, (2, 2), value))).tolist() == [[expected] * 2] * 2


def test_deep_pictures_are_turned_and_keep_their_range():
    image = Image.fromarray(RAMP[:4])
    image.getexif()[0x0112] = 6
    assert plain(image).size == (4, 16)
    assert np.asarray(plain(image)).max() > 60
