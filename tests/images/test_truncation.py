"""Pictures whose file ends early: taken where every pixel is there, else on demand, in grey."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import numpy as np
import pytest
from command import PHOTOS
from picture_files import encoded, picture_tags, tiff, webp_chunks, webp_file
from PIL import Image, ImageFile
from profiles import rgb_profile

from clipcli import Classifier, Failure, ImageOptions, PipelineOptions, Prediction
from clipcli.errors import FailureCode, InputError
from clipcli.images.containers.jpeg import scans_are_complete
from clipcli.images.decoding import decode, decode_marked, open_image, plain
from clipcli.images.isolation import DecoderPool
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.images.thumbnails import thumbnail, thumbnails
from clipcli.images.truncation import TRUNCATED

DEFAULT = ImageOptions(extra_formats=["tiff"])
TAKEN = ImageOptions(extra_formats=["tiff"], allow_truncated=True)
CONFIG = PreprocessConfig.from_open_clip({}, 32)
PHOTO = Image.open(PHOTOS / "coffee.png").convert("RGB").resize((96, 80))
GREY_TIFF = tiff(picture_tags(), pixels=bytes(range(256)))


def photo(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    return encoded(PHOTO.convert(mode), kind, **options)


def seen(data: bytes, options: ImageOptions) -> np.ndarray:
    return np.asarray(plain(open_image(data, options)).convert("RGB"))


JPEGS = {
    "JPEG": photo("JPEG", quality=90),
    "grey JPEG": photo("JPEG", "L"),
    "CMYK JPEG": photo("JPEG", "CMYK"),
    "progressive JPEG": photo("JPEG", progressive=True),
    "JPEG with restarts": photo("JPEG", restart_marker_blocks=3),
}
WHOLE = {
    **{f"{name} without its end": data[:-2] for name, data in JPEGS.items()},
    **{f"{name} with half its end": data[:-1] for name, data in JPEGS.items()},
    "PNG without its end": photo("PNG")[:-12],
    "PNG without its last checksum": photo("PNG")[:-4],
    "PNG without the checksum of its pixels": photo("PNG")[:-16],
    "PNG without the sum of its pixels": photo("PNG")[:-20],
    "interlaced-like PNG of a palette": photo("PNG", "P")[:-12],
    "GIF without its trailer": photo("GIF", "P")[:-1],
    "GIF without its last block's end": photo("GIF", "P")[:-2],
    "WebP without its padding": None,
    "BMP without its last padding": encoded(PHOTO.crop((0, 0, 95, 80)), "BMP")[:-3],
    "TIFF without what follows": GREY_TIFF,
}


def padded_webp() -> bytes:
    """A WebP file whose pixels have an odd length, which one byte fills up."""
    ((kind, body),) = webp_chunks(photo("WEBP", quality=90))
    return webp_file([(kind, body + bytes(1 - len(body) % 2))])


WHOLE["WebP without its padding"] = padded_webp()[:-1]


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_with_all_of_its_pixels_is_taken_anyway(name):
    data = WHOLE[name]
    assert data is not None
    for options in (DEFAULT, TAKEN):
        found = decode_marked(data, CONFIG, options)
        assert not found.sight.truncated
        assert TRUNCATED not in open_image(data, options).info
    kind = re.split(" without| with half", name)[0]
    if kind in JPEGS:
        assert np.array_equal(found.pixels, decode(JPEGS[kind], CONFIG, DEFAULT))
    assert thumbnail(data, DEFAULT) is not None


def test_taken_anyway_is_taken_whole():
    for kind, mode, cut in (("PNG", "RGB", 16), ("GIF", "P", 1), ("WEBP", "RGB", 0)):
        data = photo(kind, mode)
        assert np.array_equal(seen(data[: len(data) - cut], DEFAULT), seen(data, DEFAULT))
    bmp = encoded(PHOTO.crop((0, 0, 95, 80)), "BMP")
    assert np.array_equal(seen(bmp[:-3], DEFAULT), seen(bmp, DEFAULT))


CUT = {
    **{name: data for name, data in JPEGS.items() if "progressive" not in name},
    "PNG": photo("PNG"),
    "grey PNG": photo("PNG", "L"),
    "PNG with a palette": photo("PNG", "P"),
    "PNG with alpha": photo("PNG", "RGBA"),
    "PNG of 1 bit": photo("PNG", "1"),
    "PNG of 16 bits": encoded(
        Image.fromarray(np.asarray(PHOTO.convert("L")).astype(np.uint16) * 257), "PNG"
    ),
    "GIF": photo("GIF", "P", interlace=0),
    "GIF with transparency": encoded(PHOTO.convert("P"), "GIF", transparency=0, interlace=0),
    "BMP": photo("BMP"),
    "grey BMP": photo("BMP", "L"),
    "BMP with a palette": photo("BMP", "P"),
    "WebP": photo("WEBP", quality=90),
    "TIFF": encoded(PHOTO, "TIFF"),
}


def cut(name: str, share: float = 0.6) -> bytes:
    data = CUT[name]
    if name == "TIFF":  # whose directory Pillow writes in front
        assert int.from_bytes(data[4:8], "little") < len(data) // 3
    return data[: int(len(data) * share)]


@pytest.mark.parametrize("name", CUT)
def test_a_cut_picture_is_refused_with_the_way_out(name):
    with pytest.raises(InputError, match="it is cut short: --allow-truncated takes") as caught:
        decode(cut(name), CONFIG, DEFAULT)
    assert caught.value.code is FailureCode.DAMAGED
    assert thumbnail(cut(name), DEFAULT) is None


@pytest.mark.parametrize("name", CUT)
def test_a_cut_picture_is_taken_on_demand_with_a_grey_rest(name):
    whole, part = seen(CUT[name], TAKEN), seen(cut(name), TAKEN)
    upper, lower = slice(0, 24), slice(-8, None)
    if "BMP" in name:  # from below
        upper, lower = slice(-24, None), slice(0, 8)
    if "JPEG" not in name and "WebP" not in name:
        assert np.array_equal(part[upper], whole[upper])
    assert np.abs(part[upper].astype(int) - whole[upper]).mean() < 3
    grey = 64 if "CMYK" in name else 128  # half of each ink
    assert np.abs(part[lower].astype(int) - grey).max() <= 4
    found = decode_marked(cut(name), CONFIG, TAKEN)
    assert found.sight.truncated
    assert np.isfinite(found.pixels).all()
    assert thumbnail(cut(name), TAKEN) is not None


def test_the_rows_of_an_interlaced_gif_are_grey_where_they_are_missing():
    data = photo("GIF", "P", interlace=1)
    whole, part = seen(data, TAKEN), seen(data[: int(len(data) * 0.6)], TAKEN)
    assert np.array_equal(part[::8], whole[::8])
    assert (part[-1] == 128).all()


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9, 0.97])
def test_a_progressive_photo_that_is_cut_is_marked(share):
    data = JPEGS["progressive JPEG"]
    part = data[: int(len(data) * share)]
    with pytest.raises(InputError):
        open_image(part, DEFAULT)
    assert TRUNCATED in open_image(part, TAKEN).info
    assert np.abs(seen(part, TAKEN).astype(int) - seen(data, TAKEN)).mean() < 60


def test_a_progressive_photo_that_ends_between_two_scans_is_not_whole():
    data = JPEGS["progressive JPEG"]
    scans = [place for place in range(len(data)) if data[place : place + 2] == b"\xff\xda"]
    assert len(scans) > 3
    for end in scans[1:]:
        start = data.rindex(b"\xff\xc4", 0, end)  # the tables of the scan that is left out
        assert not scans_are_complete(data[:start])
        with pytest.raises(InputError, match="cut short"):
            open_image(data[:start], DEFAULT)
    assert scans_are_complete(data)
    for name, other in JPEGS.items():
        assert scans_are_complete(other), name


@pytest.mark.parametrize("name", CUT)
def test_a_file_of_which_nothing_is_there_stays_damaged(name):
    data = CUT[name]
    with pytest.raises(InputError) as caught:
        open_image(data[:60], TAKEN)
    assert caught.value.code is FailureCode.DAMAGED


def test_what_is_broken_is_not_taken_for_cut():
    data = bytearray(CUT["PNG"])
    data[len(data) // 2] ^= 1
    with pytest.raises(InputError, match="checksum"):
        open_image(bytes(data), TAKEN)
    data = bytearray(CUT["WebP"])
    data[20:30] = bytes(10)
    with pytest.raises(InputError) as caught:
        open_image(bytes(data), TAKEN)
    assert "truncated" not in caught.value.message


def test_orientation_and_colours_are_those_of_the_file():
    tags = Image.Exif()
    tags[0x0112] = 6
    profile = rgb_profile("Display P3")
    for kind in ("JPEG", "PNG"):
        data = photo(kind, exif=tags.tobytes(), icc_profile=profile)
        image = open_image(data[: int(len(data) * 0.8)], TAKEN)
        assert plain(image).size == (80, 96)
        assert image.info["icc_profile"] == profile


def test_the_caller_s_switch_is_left_alone():
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    states = []

    def watch() -> None:
        while not done.is_set():
            states.append(ImageFile.LOAD_TRUNCATED_IMAGES)
            done.wait(0.001)

    done = threading.Event()
    thread = threading.Thread(target=watch)
    thread.start()
    for name in CUT:
        open_image(cut(name), TAKEN)
    done.set()
    thread.join()
    assert set(states) == {False}


def test_pixels_beyond_the_limit_are_refused_before_they_are_made_up():
    options = ImageOptions(allow_truncated=True, max_pixels=96 * 80 - 1)
    with pytest.raises(InputError) as caught:
        open_image(cut("PNG"), options)
    assert caught.value.code is FailureCode.TOO_MANY_PIXELS


# The mark


def test_predictions_say_so():
    classifier = Classifier("tiny")
    given = [CUT["JPEG"], cut("JPEG"), CUT["JPEG"][:-2], b"x", cut("PNG")]
    for isolate in (None, 60.0):
        options = PipelineOptions(images=TAKEN, isolate_seconds=isolate)
        results = classifier.classify(given, ["a cup", "a cat"], options=options)
        marks = [isinstance(one, Prediction) and one.truncated for one in results]
        assert marks == [False, True, False, False, True]
    refused = classifier.classify(given, ["a cup", "a cat"])
    assert [type(one) for one in refused] == [Prediction, Failure, Prediction, Failure, Failure]


def test_another_process_says_the_same():
    with DecoderPool(CONFIG, TAKEN, 120, workers=1) as pool:
        for name in ("JPEG", "PNG"):
            found = pool.decoded(cut(name), thumbnails=1)
            assert found.image.sight.truncated
            assert found.thumbnails == thumbnails(cut(name), TAKEN, CONFIG)
            assert np.array_equal(found.image.pixels, decode(cut(name), CONFIG, TAKEN))
            assert not pool.decoded(CUT[name]).image.sight.truncated


def test_records_and_people_are_told(clipcli, tmp_path):
    (tmp_path / "cut.jpg").write_bytes(cut("JPEG"))
    (tmp_path / "whole.jpg").write_bytes(CUT["JPEG"])
    command = ["--model", "tiny", "-l", "a cup", "-l", "a cat", "cut.jpg", "whole.jpg"]
    done = clipcli(*command, "--jsonl", "--allow-truncated", cwd=tmp_path)
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["truncated"] is True
    assert "truncated" not in second
    people = clipcli(*command, "--format", "human", "--allow-truncated", cwd=tmp_path)
    assert "cut.jpg (cut short)\n" in people.stdout.decode()
    assert "whole.jpg\n" in people.stdout.decode()
    refused = clipcli(*command, "--jsonl", cwd=tmp_path)
    assert refused.returncode == 3
    assert b"--allow-truncated" in refused.stderr
    explained = clipcli(
        "explain", *command[:-1], "--json", "--allow-truncated", "--grid", "2", cwd=tmp_path
    )
    assert json.loads(explained.stdout)["truncated"] is True
