"""Pictures made to hurt: each gets its one record, and nobody else's numbers change."""

from __future__ import annotations

import io
import json
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command import ROOT
from decoders import ABORT, HANG, obey
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipcli import Classifier, Failure, Prediction
from clipcli.errors import FailureCode
from clipcli.images.options import ImageOptions
from clipcli.runs.options import PipelineOptions

# In a run these are warnings that nobody is shown; as errors they would be other failures.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

PHOTOS = ROOT / "examples" / "photos"
LABELS = ("a cat", "a cup of coffee", "a rocket")
MISSING = Path("no such file")
MAX_PIXELS = 20_000_000
OPTIONS = PipelineOptions(batch_size=8, images=ImageOptions(max_pixels=MAX_PIXELS))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


PHOTO = Image.open(PHOTOS / "chelsea.png").convert("RGB").resize((48, 36))
SANE = tuple(
    encoded(Image.open(PHOTOS / name).convert("RGB").resize((90, 70)), kind)
    for name, kind in (("chelsea.png", "PNG"), ("coffee.png", "JPEG"), ("rocket.jpg", "WEBP"))
)
FILES = {kind: encoded(PHOTO, kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP")}


# The corpus


def truncations() -> dict[str, bytes]:
    return {
        f"{kind} cut at {length}": data[:length]
        for kind, data in FILES.items()
        for length in range(0, len(data), 64)
    }


def flips() -> dict[str, bytes]:
    """A bit of a header's every fifth byte, and some of the rest."""
    result = {}
    for kind, data in FILES.items():
        bits = [*range(0, 100 * 8, 5 * 8 + 1), *range(100 * 8, len(data) * 8, 1999)]
        for bit in bits:
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            result[f"{kind} with bit {bit} flipped"] = bytes(flipped)
    return result


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join((chunk(b"IHDR", header), *chunks, chunk(b"IEND", b"")))


def zeros(count: int) -> bytes:
    return zlib.compress(bytes(count))


def gif(screen: tuple[int, int], frame: tuple[int, int]) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x44\x01\0;"


def patched(kind: str, at: bytes, offset: int, value: bytes) -> bytes:
    """A file with other bytes somewhere behind a marker."""
    data = bytearray(FILES[kind])
    place = data.index(at) + offset
    data[place : place + len(value)] = value
    return bytes(data)


TOO_LARGE, DAMAGED = FailureCode.TOO_MANY_PIXELS, FailureCode.DAMAGED
BOMBS = {
    "PNG of 60,000 x 60,000": (png(60_000, 60_000), TOO_LARGE),
    "PNG that inflates to 150 MB": (
        png(15_000, 10_000, chunk(b"IDAT", zeros(15_001 * 10_000))),
        TOO_LARGE,
    ),
    "PNG that inflates to 16 MB": (png(4000, 4000, chunk(b"IDAT", zeros(4001 * 4000))), None),
    "PNG that inflates to more than it says": (
        png(40, 40, chunk(b"IDAT", zeros(50_000_000))),
        None,
    ),
    "PNG with a text that inflates": (
        png(40, 40, chunk(b"zTXt", b"a\0\0" + zeros(50_000_000)), chunk(b"IDAT", zeros(41 * 40))),
        None,
    ),
    "PNG with a profile that inflates": (
        png(40, 40, chunk(b"iCCP", b"a\0\0" + zeros(50_000_000)), chunk(b"IDAT", zeros(41 * 40))),
        None,
    ),
    "GIF of 65,535 x 65,535": (gif((65_535, 65_535), (1, 1)), TOO_LARGE),
    "GIF with such a frame": (gif((1, 1), (65_535, 65_535)), TOO_LARGE),
    "GIF with 3,000 frames": (
        encoded(
            PHOTO.resize((9, 9)),
            "GIF",
            save_all=True,
            append_images=[Image.new("P", (9, 9), i % 251) for i in range(3000)],
        ),
        None,
    ),
    "JPEG of 65,500 x 65,500": (
        patched("JPEG", b"\xff\xc0", 5, struct.pack(">HH", 65_500, 65_500)),
        TOO_LARGE,
    ),
    "BMP of 2,000,000,000 x 1": (
        patched("BMP", b"BM", 18, struct.pack("<i", 2**31 - 9)),
        TOO_LARGE,
    ),
    "BMP of 4,000 x 4,000": (patched("BMP", b"BM", 18, struct.pack("<ii", 4000, 4000)), DAMAGED),
    "50,000 x 1": (encoded(Image.new("L", (50_000, 1)), "PNG"), FailureCode.TOO_ELONGATED),
    "1 x 50,000": (encoded(Image.new("RGB", (1, 50_000)), "JPEG"), FailureCode.TOO_ELONGATED),
}


def with_orientation(value: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = value
    return encoded(PHOTO, "JPEG", exif=tags.tobytes())


ANIMATION = {"save_all": True, "append_images": [Image.new("RGB", (48, 36), "blue")] * 2}
ODD = {
    "no bytes": (b"", FailureCode.EMPTY),
    "zero bytes": (bytes(1000), FailureCode.NOT_AN_IMAGE),
    "text": (b"hello", FailureCode.NOT_AN_IMAGE),
    "HTML": (b"<!DOCTYPE html><html></html>", FailureCode.NOT_AN_IMAGE),
    "a video": (b"\0\0\0\x20ftypisom\0\0\x02\0" + bytes(99), FailureCode.NOT_AN_IMAGE),
    "TIFF": (encoded(PHOTO, "TIFF"), FailureCode.UNSUPPORTED_FORMAT),
    "EPS": (encoded(PHOTO, "EPS"), FailureCode.UNSUPPORTED_FORMAT),
    **{f"1 x 1 {kind}": (encoded(Image.new("RGB", (1, 1), "red"), kind), None) for kind in FILES},
    "CMYK": (encoded(PHOTO.convert("CMYK"), "JPEG"), None),
    "16 bits": (encoded(PHOTO.convert("I;16"), "PNG"), None),
    "palette": (encoded(PHOTO.convert("P"), "PNG", transparency=3), None),
    "transparent": (encoded(PHOTO.convert("RGBA"), "WEBP"), None),
    "animated GIF": (encoded(PHOTO, "GIF", **ANIMATION), None),
    "animated WebP": (encoded(PHOTO, "WEBP", lossless=True, **ANIMATION), None),
    "animated PNG": (encoded(PHOTO, "PNG", **ANIMATION), None),
    **{f"orientation {value}": (with_orientation(value), None) for value in range(10)},
    "EXIF that is noise": (encoded(PHOTO, "JPEG", exif=b"Exif\0\0" + bytes(range(256))), None),
    "EXIF that ends early": (encoded(PHOTO, "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\x63"), None),
    "EXIF out of reach": (encoded(PHOTO, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f"), None),
    "two images in a row": (FILES["JPEG"] + FILES["PNG"], None),
    "ZIP behind an image": (FILES["PNG"] + b"PK\x03\x04" + bytes(99), None),
}
NAMED = BOMBS | ODD
CODES = {DAMAGED, FailureCode.NOT_AN_IMAGE, FailureCode.UNSUPPORTED_FORMAT, FailureCode.EMPTY}
CODES |= {TOO_LARGE, FailureCode.TOO_ELONGATED}


def corpus() -> dict[str, bytes]:
    return truncations() | flips() | {name: data for name, (data, _) in NAMED.items()}


# One process


@pytest.fixture(scope="module")
def classify() -> Callable[..., list[Prediction | Failure]]:
    classifier = Classifier("tiny")
    return lambda images, options=OPTIONS: classifier.classify(images, LABELS, options=options)


def numbers(result: Prediction | Failure) -> list[tuple[str, float, float]]:
    """All of a prediction, to the last bit."""
    assert isinstance(result, Prediction)
    return [(one.label, one.probability, one.similarity) for one in result.scores]


def among_sane(images: list[bytes | Path]) -> list[bytes | Path]:
    """Before every two images a sane one: in a block of 8 at each place in turn."""
    mixed: list[bytes | Path] = []
    for start in range(0, len(images), 2):
        mixed += [SANE[start // 2 % len(SANE)], *images[start : start + 2]]
    return mixed


def is_sound(result: Prediction | Failure) -> bool:
    """A prediction, or a failure of a code that images have and with a line that can be read."""
    if isinstance(result, Prediction):
        return True
    return result.code in CODES and re.fullmatch(r"[^\n\r]{8,200}", result.message) is not None


def test_one_record_each_and_the_neighbours_numbers_are_unchanged(classify):
    hostile = corpus()
    results = classify(among_sane(list(hostile.values())))
    quiet = classify(among_sane([MISSING] * len(hostile)))
    assert [result.index for result in results] == list(range(len(quiet)))
    assert [numbers(one) for one in results[::3]] == [numbers(one) for one in quiet[::3]]
    del results[::3]
    unsound = [name for name, one in zip(hostile, results, strict=True) if not is_sound(one)]
    assert unsound == []
    assert {one.code for one in results if isinstance(one, Failure)} == CODES


def test_each_kind_of_trap_fails_as_what_it_is(classify):
    results = classify([data for data, _ in NAMED.values()])
    found = [getattr(result, "code", None) for result in results]
    expected = {name: code for name, (_, code) in NAMED.items()}
    assert dict(zip(NAMED, found, strict=True)) == expected


def test_a_cut_image_is_damaged_or_was_whole_already(classify):
    cut = {name: data for name, data in truncations().items() if data}
    results = dict(zip(cut, classify(list(cut.values())), strict=True))
    failures = [one for one in results.values() if isinstance(one, Failure)]
    assert {one.code for one in failures} == {DAMAGED}
    # A decoder may do without a file's last bytes, not without more.
    whole = [name for name, one in results.items() if isinstance(one, Prediction)]
    assert [name for name in whole if len(cut[name]) < 0.9 * len(FILES[name.split()[0]])] == []


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_its_first_frame(classify, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    still, moving = classify(
        [encoded(PHOTO, kind, **options), encoded(PHOTO, kind, **options, **ANIMATION)]
    )
    assert numbers(still) == numbers(moving)


def flip(data: bytes, where: int, how: int) -> bytes:
    place = where % len(data)
    return data[:place] + bytes([data[place] ^ (1 << how % 8)]) + data[place + 1 :]


def cut_out(data: bytes, where: int, how: int) -> bytes:
    place = where % len(data)
    return data[:place] + data[place + how :]


def splice(data: bytes, where: int, how: int) -> bytes:
    other = list(FILES.values())[how % len(FILES)]
    return data[: where % len(data)] + other[where % len(other) :]


def repeat(data: bytes, where: int, how: int) -> bytes:
    place = where % len(data)
    return data[:place] + data[place : place + how] * 3 + data[place + how :]


def overwrite(data: bytes, where: int, how: int) -> bytes:
    place = where % len(data)
    return data[:place] + how.to_bytes(4) + data[place + 4 :]


# Half of the places lie in the header, where most of the decisions are made.
PLACES = st.one_of(st.integers(0, 64), st.integers(0, 1 << 16))
STEPS = st.tuples(
    st.sampled_from([flip, cut_out, splice, repeat, overwrite]),
    PLACES,
    st.integers(0, 255) | st.sampled_from([0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 65_535]),
)


@pytest.fixture(scope="module")
def undisturbed(classify) -> list[Prediction | Failure]:
    return classify([SANE[0], MISSING, SANE[1]])


@settings(deadline=None, max_examples=120)
@given(st.sampled_from(list(FILES.values())), st.lists(STEPS, min_size=1, max_size=5))
def test_no_mutation_reaches_its_neighbours(classify, undisturbed, data, steps):
    for step, where, how in steps:
        data = step(data or b"\0", where, how)
    before, result, after = classify([SANE[0], data, SANE[1]])
    assert is_sound(result)
    assert numbers(before) == numbers(undisturbed[0])
    assert numbers(after) == numbers(undisturbed[2])


def test_a_decoder_that_hangs_or_dies_does_not_take_the_run_with_it(classify, monkeypatch):
    obey(monkeypatch)
    isolated = replace(OPTIONS, isolate_seconds=2)
    results = classify([SANE[0], ABORT, SANE[1], HANG, SANE[2]], isolated)
    quiet = classify([SANE[0], MISSING, SANE[1], MISSING, SANE[2]])
    codes = [one.code for one in results[1::2]]
    assert codes == [FailureCode.DECODER_DIED, FailureCode.DECODER_TIMEOUT]
    assert [numbers(one) for one in results[::2]] == [numbers(one) for one in quiet[::2]]


# The installed command


EXTENSIONS = (".jpg", ".png", ".webp", ".gif", ".bmp")


@pytest.mark.parametrize("options", [[], ["--isolate", "--fast-decode"]], ids=["plain", "isolated"])
def test_the_command_writes_a_line_for_each_and_no_traceback(clipcli, tmp_path, options):
    """Under extensions that are mostly wrong: what a file is, its bytes say."""
    hostile = truncations() | {name: data for name, (data, _) in NAMED.items()}
    names = [f"{i}{EXTENSIONS[i % 5]}" for i in range(len(hostile))]
    for name, data in zip(names, hostile.values(), strict=True):
        (tmp_path / name).write_bytes(data)
    labels = [argument for label in LABELS for argument in ("-l", label)]
    command = ["--model", "tiny", "--max-pixels", str(MAX_PIXELS), "--jsonl", *labels, *options]
    done = clipcli(*command, "--files-from", "-", cwd=tmp_path, input="\n".join(names).encode())
    assert done.returncode == 3
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["input"] for record in records] == names
    found = [record["error"]["code"] if "error" in record else None for record in records]
    assert found[-len(NAMED) :] == [code for _, code in NAMED.values()]
    told = done.stderr.decode().splitlines()
    assert [line for line in told if not line.startswith("clipcli: ")] == []
    assert len(told) >= len([code for code in found if code])
