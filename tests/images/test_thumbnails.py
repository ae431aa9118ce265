"""Small pictures: upright, on white, without what cameras write, and never an error."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from command import ROOT
from decoders import TALKATIVE
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clipcli.errors import FailureCode, InputError
from clipcli.images import isolation
from clipcli.images.decoding import as_seen, decode
from clipcli.images.isolation import DecoderPool
from clipcli.images.options import ImageOptions
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.images.thumbnails import (
    LARGE_MAX_BYTES,
    LARGE_SIDE,
    MAX_BYTES,
    SIDE,
    Thumbnails,
    thumbnail,
    thumbnails,
)
from clipcli.images.worker import HEAD

PHOTOS = ROOT / "examples" / "photos"
OPTIONS = ImageOptions()
CONFIG = PreprocessConfig.from_open_clip({}, (64, 32))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def small(data: bytes) -> Image.Image:
    jpeg = thumbnail(data, OPTIONS)
    assert jpeg is not None
    image = Image.open(io.BytesIO(jpeg))
    assert (image.format, image.mode) == ("JPEG", "RGB")
    return image


@pytest.mark.parametrize("file", sorted(PHOTOS.glob("*.*g")), ids=lambda file: file.name)
def test_a_photo_keeps_its_shape_and_its_looks(file):
    photo = as_seen(Image.open(file))
    found = small(file.read_bytes())

    assert max(found.size) == SIDE
    assert found.width / found.height == pytest.approx(photo.width / photo.height, rel=0.01)
    expected = np.asarray(photo.resize(found.size), float)
    assert np.abs(np.asarray(found) - expected).mean() < 5  # of 255


def test_a_large_photo_does_not_lose_its_place_by_being_decoded_at_a_fraction():
    photo = Image.open(PHOTOS / "rocket.jpg").resize((3000, 2003))
    profile = photo.info["icc_profile"]
    whole, fraction = (
        small(encoded(photo, kind, quality=95, icc_profile=profile)) for kind in ("PNG", "JPEG")
    )
    assert np.abs(np.asarray(whole, float) - np.asarray(fraction)).mean() < 1.5  # of 255


def test_a_small_image_is_not_enlarged():
    assert small(encoded(Image.new("RGB", (30, 20)), "PNG")).size == (30, 20)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((6000, 900), (1024, 154)),
        ((500, 2000), (256, 1024)),
        ((300, 200), (300, 200)),
        ((257, 1), (257, 1)),
        ((256, 256), None),
        ((30, 20), None),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_large_one_is_made_where_it_shows_more_than_the_small_one(size, expected, kind):
    data = encoded(Image.new("RGB", size, "red"), kind)
    made = thumbnails(data, OPTIONS, large=True)
    assert thumbnails(data, OPTIONS).large == b""
    assert max(Image.open(io.BytesIO(made.small)).size) == min(max(size), SIDE)
    assert (Image.open(io.BytesIO(made.large)).size if made.large else None) == expected


def test_the_large_one_and_the_small_one_beside_it_keep_their_looks():
    file = PHOTOS / "rocket.jpg"
    photo = as_seen(Image.open(file)).resize((1500, 1001))
    made = thumbnails(encoded(photo, "PNG"), OPTIONS, large=True)
    for jpeg, side in zip(made, (SIDE, LARGE_SIDE), strict=True):
        found = Image.open(io.BytesIO(jpeg))
        assert max(found.size) == side
        expected = np.asarray(photo.resize(found.size), float)
        assert np.abs(np.asarray(found) - expected).mean() < 5  # of 255


def test_a_line_of_pixels_stays_a_picture():
    assert small(encoded(Image.new("L", (5000, 1)), "PNG")).size == (SIDE, 1)


def test_a_photo_taken_sideways_stands_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert small(encoded(Image.new("RGB", (400, 200)), "JPEG", exif=exif)).size == (128, SIDE)


def test_transparent_pixels_are_white():
    assert small(encoded(Image.new("RGBA", (9, 9)), "PNG")).getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_a_picture(mode):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert small(encoded(Image.new(mode, (40, 30)), kind)).size == (40, 30)


def test_what_a_camera_writes_beside_the_pixels_is_left_out():
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    data = encoded(
        Image.new("RGB", (40, 30)), "JPEG", exif=exif, comment="my name", icc_profile=b"x" * 999
    )
    jpeg = thumbnail(data, OPTIONS)
    assert jpeg is not None
    assert len(jpeg) < 900
    assert {b"where", b"name", b"xxx"} == {
        word for word in (b"where", b"name", b"xxx") if word in data and word not in jpeg
    }


def test_the_noisiest_image_stays_below_the_limit():
    for side, most in ((SIDE, MAX_BYTES), (LARGE_SIDE, LARGE_MAX_BYTES)):
        noise = encoded(Image.effect_noise((side, side), 200), "PNG")
        made = thumbnails(noise, OPTIONS, large=side == LARGE_SIDE)
        assert most / 40 < max(map(len, made)) < most


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (b"", OPTIONS),
        (b"hello", OPTIONS),
        ((PHOTOS / "rocket.jpg").read_bytes()[:5000], OPTIONS),
        (encoded(Image.new("RGB", (30, 20)), "TIFF"), OPTIONS),
        (encoded(Image.new("RGB", (30, 20)), "PNG"), ImageOptions(max_pixels=599)),
    ],
    ids=["empty", "text", "cut", "format off", "too large"],
)
def test_what_the_run_would_not_decode_has_no_picture(data, options):
    assert thumbnail(data, options) is None
    assert thumbnails(data, options, large=True) == Thumbnails()


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(st.binary(max_size=200), st.integers(0, 5000))
def test_no_damage_is_an_error(noise, place):
    whole = (PHOTOS / "rocket.jpg").read_bytes()
    jpeg = thumbnail(whole[:place] + noise + whole[place + len(noise) :], OPTIONS)
    assert jpeg is None or jpeg.startswith(b"\xff\xd8")


# From a process of its own


def test_a_thumbnail_from_another_process_is_the_same():
    photo = (PHOTOS / "rocket.jpg").read_bytes()
    small = thumbnails(photo, OPTIONS, CONFIG)
    both = thumbnails(photo, OPTIONS, CONFIG, large=True)
    with DecoderPool(CONFIG, OPTIONS, 120, workers=1) as pool:
        # Nothing is left in the pipe for the next image, whatever it wants.
        for wanted, expected in ((2, both), (1, small), (0, Thumbnails()), (2, both)):
            found = pool.decoded(photo, wanted)
            assert np.array_equal(found.image.pixels, decode(photo, CONFIG, OPTIONS))
            assert found.thumbnails == expected
        with pytest.raises(InputError, match="not an image"):
            pool.decoded(b"hello", 2)


def test_a_thumbnail_that_nobody_wants_is_not_made():
    with DecoderPool(CONFIG, OPTIONS, 120, workers=1) as pool:
        assert pool.decoded((PHOTOS / "rocket.jpg").read_bytes()).thumbnails == Thumbnails()


@pytest.mark.parametrize(
    "part",
    [
        "b''",
        f"({MAX_BYTES + 1}).to_bytes(8) + bytes({MAX_BYTES + 1})",
        "(9).to_bytes(8) + bytes(8)",
        "bytes(8)",
        f"bytes(8) + ({LARGE_MAX_BYTES + 1}).to_bytes(8) + bytes({LARGE_MAX_BYTES + 1})",
        "bytes(8) + (9).to_bytes(8) + bytes(8)",
    ],
    ids=["none", "too long", "cut", "no large one", "large one too long", "large one cut"],
)
def test_a_thumbnail_that_makes_no_sense_is_a_decoder_gone_wrong(monkeypatch, part):
    rest = f"stdout.write(bytes({3 * 64 * 32 * 4})); stdout.write({part})"
    monkeypatch.setattr(isolation, "_START", TALKATIVE.format(b"P" + HEAD.pack(False, 1, 0)) + rest)
    with DecoderPool(CONFIG, OPTIONS, 120, workers=1) as pool:
        with pytest.raises(InputError) as caught:
            pool.decoded(b"an image", 2)
        assert caught.value.code is FailureCode.DECODER_DIED
