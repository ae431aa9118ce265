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
from clipcli.images.thumbnails import MAX_BYTES, SIDE, thumbnail

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
    jpeg = thumbnail(encoded(Image.effect_noise((256, 256), 200), "PNG"), OPTIONS)
    assert jpeg is not None
    assert len(jpeg) < MAX_BYTES


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


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(st.binary(max_size=200), st.integers(0, 5000))
def test_no_damage_is_an_error(noise, place):
    whole = (PHOTOS / "rocket.jpg").read_bytes()
    jpeg = thumbnail(whole[:place] + noise + whole[place + len(noise) :], OPTIONS)
    assert jpeg is None or jpeg.startswith(b"\xff\xd8")


# From a process of its own


def test_a_thumbnail_from_another_process_is_the_same():
    photo = (PHOTOS / "rocket.jpg").read_bytes()
    with DecoderPool(CONFIG, OPTIONS, 120, workers=1, thumbnails=True) as pool:
        for _ in range(2):  # nothing is left in the pipe for the next image
            found = pool.decoded(photo)
            assert np.array_equal(found.pixels, decode(photo, CONFIG, OPTIONS))
            assert found.thumbnail == thumbnail(photo, OPTIONS)
        with pytest.raises(InputError, match="not an image"):
            pool.decoded(b"hello")


def test_a_thumbnail_that_nobody_wants_is_not_made():
    with DecoderPool(CONFIG, OPTIONS, 120, workers=1) as pool:
        assert pool.decoded((PHOTOS / "rocket.jpg").read_bytes()).thumbnail == b""


@pytest.mark.parametrize(
    "part",
    [
        "b''",
        f"({MAX_BYTES + 1}).to_bytes(8) + bytes({MAX_BYTES + 1})",
        "(9).to_bytes(8) + bytes(8)",
    ],
    ids=["none", "too long", "cut"],
)
def test_a_thumbnail_that_makes_no_sense_is_a_decoder_gone_wrong(monkeypatch, part):
    rest = f"stdout.write(bytes({3 * 64 * 32 * 4})); stdout.write({part})"
    monkeypatch.setattr(isolation, "_START", TALKATIVE.format(b"P") + rest)
    with DecoderPool(CONFIG, OPTIONS, 120, workers=1, thumbnails=True) as pool:
        with pytest.raises(InputError) as caught:
            pool.decoded(b"an image")
        assert caught.value.code is FailureCode.DECODER_DIED
