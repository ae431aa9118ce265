"""Pillow's warnings: no picture fails of them, whatever a program makes of warnings."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest
from picture_files import (
    PICTURE,
    encoded,
    jpeg_with,
    picture_tags,
    png_chunk,
    png_with,
    segment,
    tiff,
)
from PIL import Image

from clipcli import Classifier, Prediction
from clipcli.images.decoding import decode, open_image, plain, preprocess
from clipcli.images.options import ImageOptions
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.images.thumbnails import thumbnail

OPTIONS = ImageOptions(extra_formats=["tiff", "avif"])
REFERENCE = ImageOptions(extra_formats=["tiff", "avif"], reference=True)
CONFIG = PreprocessConfig.from_open_clip({}, 32)
FAR = 0x7FFFFFF0


def exif(*entries: bytes) -> bytes:
    count = len(entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", count) + b"".join(entries) + bytes(4)


TURNED = struct.pack("<HHIHH", 0x112, 3, 1, 6, 0)
OUT_OF_REACH = struct.pack("<HHII", 0x10F, 2, 99, FAR)
ENDLESS = struct.pack("<HHII", 0x11A, 5, FAR, 8)
# Whose other tags Pillow warns of, and which turn a picture all the same.
BROKEN_EXIF = exif(OUT_OF_REACH, TURNED, ENDLESS)


def palette_with_alphas() -> bytes:
    return encoded(PICTURE.quantize(9), "PNG", transparency=bytes(range(0, 90, 10)))


WARNED_OF = {
    "JPEG with broken EXIF": jpeg_with(segment(0xE1, BROKEN_EXIF)),
    "PNG with broken EXIF": png_with(png_chunk(b"eXIf", BROKEN_EXIF[6:])),
    "WebP with broken EXIF": encoded(PICTURE, "WEBP", exif=BROKEN_EXIF),
    "PNG with a broken animation": png_with(png_chunk(b"acTL", bytes(8))),
    "JPEG that says it is several": jpeg_with(segment(0xE2, b"MPF\0II*\0\x08\0\0\0\x63")),
    "palette with alphas": palette_with_alphas(),
    "TIFF with broken tags": tiff(
        picture_tags() | {305: (4, [FAR]), 34665: (4, [FAR]), 282: (4, [1, 2, 3])}
    ),
}


@pytest.fixture(params=["error", "always"])
def filters(request: pytest.FixtureRequest) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter(request.param)
        yield


@pytest.mark.usefixtures("filters")
@pytest.mark.parametrize("data", WARNED_OF.values(), ids=list(WARNED_OF))
def test_nothing_is_warned_of(data, recwarn):
    before = list(warnings.filters)
    pixels = decode(data, CONFIG, OPTIONS)
    assert np.isfinite(pixels).all()
    assert decode(data, CONFIG, REFERENCE).shape == (3, 32, 32)
    assert thumbnail(data, OPTIONS) is not None
    assert warnings.filters == before
    assert [str(one.message) for one in recwarn] == []


@pytest.mark.usefixtures("filters")
@pytest.mark.parametrize("name", [name for name in WARNED_OF if "broken EXIF" in name])
def test_what_is_not_broken_in_a_block_is_heeded(name):
    assert plain(open_image(WARNED_OF[name], OPTIONS)).size == PICTURE.size[::-1]


def test_an_opened_image_is_turned_alike_whatever_warnings_are_made():
    sizes = []
    for action in ("error", "ignore"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.new("RGB", (40, 30))
            image.info["exif"] = BROKEN_EXIF
            warnings.simplefilter(action)
            sizes.append(plain(image).size)
    assert sizes == [(30, 40), (30, 40)]


def test_a_palettes_alphas_do_not_matter_to_the_reference():
    image = Image.open(io.BytesIO(palette_with_alphas()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = image.resize((32, 32)).crop((0, 0, 32, 32)).convert("RGB")
    config = PreprocessConfig.from_open_clip({"resize_mode": "squash"}, 32)
    found = preprocess(image, config, REFERENCE)
    assert np.array_equal(found, preprocess(theirs, config, REFERENCE))
    assert isinstance(image.info["transparency"], bytes)


def test_many_pixels_are_warned_of_by_nobody(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", PICTURE.width * PICTURE.height - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF"):
            assert open_image(encoded(PICTURE, kind), OPTIONS).size == PICTURE.size


def test_a_program_with_errors_for_warnings_gets_its_predictions(tmp_path):
    for index, data in enumerate(WARNED_OF.values()):
        (tmp_path / str(index)).write_bytes(data)
    code = """
import sys, warnings
from clipcli import Classifier, ImageOptions, PipelineOptions, Prediction
before = list(warnings.filters)
options = PipelineOptions(images=ImageOptions(extra_formats=["tiff", "avif"]))
results = Classifier("tiny").classify(sys.argv[1:], ["a cat", "a dog"], options=options)
assert all(isinstance(one, Prediction) for one in results), results
assert warnings.filters == before
"""
    names = [str(tmp_path / str(index)) for index in range(len(WARNED_OF))]
    done = subprocess.run(
        [
            sys.executable,
            *("-W", "error::UserWarning", "-W", "error::RuntimeWarning"),
            "-c",
            code,
            *names,
        ],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_scores_do_not_depend_on_what_warnings_are():
    classifier = Classifier("tiny")
    given = [data for name, data in WARNED_OF.items() if not name.startswith(("TIFF", "AVIF"))]
    scores = []
    for action in ("error", "ignore"):
        with warnings.catch_warnings():
            warnings.simplefilter(action)
            results = classifier.classify(given, ["a cat", "a dog"])
        assert all(isinstance(one, Prediction) for one in results)
        scores.append([one.scores for one in results])
    assert scores[0] == scores[1]
