"""Pixels: equal to open_clip's own, better where it is wrong, and safe with any bytes."""

from __future__ import annotations

import io
import random
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import ROOT
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image, ImageFile

from clipcli.errors import FailureCode, InputError, UsageError
from clipcli.images.decoding import decode, lift_pillow_limit, open_image, plain, preprocess
from clipcli.images.options import ImageOptions
from clipcli.images.preprocessing import PreprocessConfig

PHOTOS = ROOT / "examples" / "photos"

DEFAULT = ImageOptions()
REFERENCE = ImageOptions(reference=True)
OPENAI = PreprocessConfig.from_open_clip({}, 224)


def noise(mode: str, size: tuple[int, int], seed: int = 0) -> Image.Image:
    """An image of a mode with random pixels, hidden colours and transparency included."""
    width, height = size
    rng = np.random.default_rng([seed, width, height])
    match mode:
        case "I;16":
            return Image.fromarray(rng.integers(0, 65536, (height, width), dtype=np.uint16))
        case "I":
            return Image.fromarray(rng.integers(-300, 70000, (height, width), dtype=np.int32))
        case "F":
            return Image.fromarray(rng.normal(128, 99, (height, width)).astype(np.float32))
        case "1":
            return Image.fromarray(rng.random((height, width)) < 0.5)
    kind = "PA" if mode == "PA" else mode[0] if mode[0] == "P" else mode
    shape = (height, width, len(Image.new(kind, (1, 1)).getbands()))
    image = Image.frombytes(kind, size, rng.bytes(int(np.prod(shape))))
    if mode[0] == "P":
        image.putpalette(rng.bytes(768))
    if mode == "P, one clear":
        image.info["transparency"] = 7
    if mode == "P, alphas":
        image.info["transparency"] = rng.bytes(256)
    return image


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(size: tuple[int, int], depth: int, colour: int, body: bytes, trns: bytes = b"") -> bytes:
    """A PNG file by hand: Pillow writes neither impossible headers nor every colour key."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    key = chunk(b"tRNS", trns) if trns else b""
    pixels = chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + key + pixels


def failure(data: bytes, options: ImageOptions = DEFAULT) -> InputError | None:
    """Why these bytes cannot be used, in words that read well; None where they can."""
    try:
        preprocess(open_image(data, options), OPENAI, options)
    except InputError as error:
        caught = error
    else:
        return None
    assert re.fullmatch(r"[a-z].{8,200}", caught.message)
    assert not re.search(r"BytesIO|at 0x|\(.*\(|\(\)", caught.message)
    return caught


# Parity with open_clip


@pytest.fixture(autouse=True, scope="module")
def one_torch_thread() -> Iterator[None]:
    """On images this small torch's threads mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sizes() -> list[tuple[int, int]]:
    """300 image sizes and more: around the model's, odd and even, tiny, thin, camera-like."""
    near = (1, 2, 3, 100, 111, 223, 224, 225, 226, 335, 447, 448, 449)
    drawn = random.Random(0)
    result = {
        (width, height)
        for width in near
        for height in near
        if max(width, height) < 40 * min(width, height)
    }
    result |= {(4000, 3), (3, 1200), (640, 480), (480, 640), (1001, 667), (1600, 1200)}
    while len(result) < 320:
        short = round(2 ** drawn.uniform(2, 9))
        long = round(short * drawn.uniform(1, 3))
        result.add(drawn.choice(((short, long), (long, short))))
    return sorted(result)


def open_clip_pixels(image: Image.Image, config: PreprocessCfg) -> np.ndarray:
    return image_transform_v2(config, is_train=False)(image).numpy()


def differences(
    images: Iterator[Image.Image], config: PreprocessCfg, options: ImageOptions
) -> list[str]:
    """The images, of some, whose pixels are not open_clip's to the last bit."""
    ours = PreprocessConfig.from_open_clip(asdict(config), config.size)
    return [
        f"{image.mode} {image.size}"
        for image in images
        if not np.array_equal(preprocess(image, ours, options), open_clip_pixels(image, config))
    ]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_pixels_are_open_clips_to_the_bit_at_every_size(mode):
    assert len(sizes()) >= 300
    assert differences((noise(mode, size) for size in sizes()), PreprocessCfg(), DEFAULT) == []


MODES = (
    *("RGB", "L", "CMYK", "RGBA", "RGBX", "RGBa", "LA", "PA", "P", "P, one clear", "P, alphas"),
    *("1", "I;16", "I", "F", "YCbCr", "HSV", "LAB"),
)
FEW_SIZES = ((1, 1), (2, 5), (60, 31), (223, 225), (224, 224), (225, 224), (448, 224), (301, 500))


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize(
    "config",
    [PreprocessCfg(), PreprocessCfg(resize_mode="longest", fill_color=99)],
    ids=["shortest", "longest"],
)
@pytest.mark.parametrize("mode", MODES)
def test_the_reference_option_gives_open_clips_pixels_for_every_mode(mode, config):
    images = (noise(mode, size) for size in FEW_SIZES)
    assert differences(images, config, REFERENCE) == []


@pytest.mark.parametrize(
    "config",
    [
        PreprocessCfg(size=64),
        PreprocessCfg(size=336),
        PreprocessCfg(size=(224, 160)),
        PreprocessCfg(size=(160, 224), interpolation="bilinear"),
        PreprocessCfg(size=(97, 224), resize_mode="longest", fill_color=255),
        PreprocessCfg(size=225, resize_mode="longest", interpolation="bilinear"),
        PreprocessCfg(resize_mode="longest", fill_color=127),
        PreprocessCfg(resize_mode="squash"),
        PreprocessCfg(size=(100, 50), resize_mode="squash", interpolation="bilinear"),
        PreprocessCfg(interpolation="bilinear"),
        PreprocessCfg(interpolation="random"),
        PreprocessCfg(size=256, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bicubic"),
        PreprocessCfg(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    ],
    ids=str,
)
def test_pixels_are_open_clips_under_other_models_settings(config):
    images = (noise(mode, size) for size in FEW_SIZES for mode in ("RGB", "L", "CMYK"))
    assert differences(images, config, DEFAULT) == []


def test_real_photos_have_open_clips_pixels(photos: Path):
    # The rocket has a profile, of Adobe RGB.
    for name, options in (
        ("chelsea.png", DEFAULT),
        ("coffee.png", DEFAULT),
        ("rocket.jpg", REFERENCE),
    ):
        data = (photos / name).read_bytes()
        theirs = open_clip_pixels(Image.open(io.BytesIO(data)), PreprocessCfg())
        assert np.array_equal(preprocess(open_image(data, options), OPENAI, options), theirs)


def test_pixels_come_as_one_block_of_float32():
    pixels = preprocess(
        noise("RGB", (300, 200)), PreprocessConfig.from_open_clip({}, (64, 32)), DEFAULT
    )
    assert (pixels.shape, pixels.dtype) == ((3, 64, 32), np.float32)
    assert pixels.flags.c_contiguous


def test_a_long_side_that_shrinks_to_nothing_keeps_one_pixel():
    config = PreprocessConfig.from_open_clip({"resize_mode": "longest"}, 224)
    assert preprocess(noise("RGB", (4000, 3)), config, DEFAULT).shape == (3, 224, 224)


# Better than the reference

# Where the stored image's first row and first column lie in the upright one: Exif 2.32, table 4.
ORIENTATIONS = {
    1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right"), 4: ("bottom", "left"),
    5: ("left", "top"), 6: ("right", "top"), 7: ("right", "bottom"), 8: ("left", "bottom"),
}  # fmt: skip


def corners() -> np.ndarray:
    """48 x 32 pixels: red and green above, blue and white below."""
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    return colours.repeat(16, axis=0).repeat(24, axis=1)


def as_stored(upright: np.ndarray, orientation: int) -> Image.Image:
    row, column = ORIENTATIONS[orientation]
    stored = upright if row in ("top", "bottom") else upright.transpose(1, 0, 2)
    stored = stored[::-1] if row in ("bottom", "right") else stored
    stored = stored[:, ::-1] if column in ("bottom", "right") else stored
    return Image.fromarray(np.ascontiguousarray(stored))


def exif(orientation_entry: bytes) -> bytes:
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + orientation_entry + b"\0\0\0\0"


def short(value: int) -> bytes:
    return struct.pack("<HHIHH", 0x0112, 3, 1, value, 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_images_are_turned_upright(kind, orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    data = encoded(as_stored(corners(), orientation), kind, exif=tags.tobytes(), quality=100)
    image = plain(open_image(data, ImageOptions(extra_formats=["tiff"])))
    assert image.size == (48, 32)
    seen = np.asarray(image.convert("RGB")).astype(int)
    # Lossy formats blur where the colours meet.
    assert np.abs(seen - corners())[4:12, 4:20].max() < 30
    assert np.abs(seen - corners())[20:28, 28:44].max() < 30


ODD_EXIF = {
    "orientation 0": exif(short(0)),
    "orientation 9": exif(short(9)),
    "a text": exif(struct.pack("<HHI4s", 0x0112, 2, 2, b"x\0")),
    "bytes": exif(struct.pack("<HHI4s", 0x0112, 1, 1, b"\6")),
    "a float": exif(struct.pack("<HHIf", 0x0112, 11, 1, 6.0)),
    "a fraction out of reach": exif(struct.pack("<HHII", 0x0112, 5, 1, 9999)),
    "a type that is none": exif(struct.pack("<HHII", 0x0112, 99, 1, 6)),
    "a directory that ends early": exif(short(6))[:20],
    "a directory out of reach": b"Exif\0\0II*\0\xff\xff\xff\x7f",
    "no byte order": b"Exif\0\0garbage garbage",
    "nothing": b"Exif\0\0",
    **{f"noise {seed}": b"Exif\0\0II*\0" + random.Random(seed).randbytes(64) for seed in range(20)},
}


@pytest.mark.filterwarnings("ignore")  # Pillow's own, about the block
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("block", ODD_EXIF.values(), ids=list(ODD_EXIF))
def test_a_corrupt_exif_block_leaves_the_image_as_it_is(kind, block):
    image = Image.fromarray(corners())
    assert np.array_equal(
        plain(open_image(encoded(image, kind, exif=block), DEFAULT)),
        plain(open_image(encoded(image, kind), DEFAULT)),
    )


@pytest.mark.parametrize("value", [0, 9, -1, "x", b"\6", 6.0, (6,), (6, 8), None], ids=repr)
def test_an_orientation_that_is_none_is_ignored(value):
    image = Image.fromarray(corners())
    image.getexif()[0x0112] = value
    assert plain(image).size == (48, 32)


def with_alpha(mode: str) -> Image.Image:
    """Two pixels of a mode with alpha: a grey one, and a black one that is transparent."""
    if mode == "PA":
        image = Image.frombytes("PA", (2, 1), b"\0\xff\1\0")
        image.putpalette([100, 100, 100, 0, 0, 0])
        return image
    image = Image.new("LA", (2, 1), (100, 255))
    image.putpixel((1, 0), (0, 0))
    return image.convert("RGBA").convert(mode) if mode == "RGBa" else image.convert(mode)


def with_palette(transparency: int | bytes) -> Image.Image:
    image = Image.frombytes("P", (2, 1), b"\0\1")
    image.putpalette([100, 100, 100, 0, 0, 0])
    image.info["transparency"] = transparency
    return image


def from_png(depth: int, colour: int, body: bytes, trns: bytes) -> Image.Image:
    return open_image(png((2, 1), depth, colour, b"\0" + body, trns), DEFAULT)


GREY, GREY16 = b"\x64", b"\x64\x64"
TRANSPARENT: dict[str, Callable[[], Image.Image]] = {
    **{mode: lambda mode=mode: with_alpha(mode) for mode in ("RGBA", "LA", "PA", "La", "RGBa")},
    "palette, one clear": lambda: with_palette(1),
    "palette, alphas": lambda: with_palette(b"\xff\0"),
    "grey with a key": lambda: from_png(8, 0, GREY + b"\0", b"\0\0"),
    "RGB with a key": lambda: from_png(8, 2, GREY * 3 + b"\0\0\0", b"\0" * 6),
    "16 bits with a key": lambda: from_png(16, 0, GREY16 + b"\x20\0", b"\x20\0"),
}


@pytest.mark.parametrize("make", TRANSPARENT.values(), ids=list(TRANSPARENT))
def test_transparent_pixels_are_laid_on_white(make):
    image = plain(make()).convert("RGB")
    assert [image.getpixel((x, 0)) for x in range(2)] == [(100, 100, 100), (255, 255, 255)]


def test_a_clear_colour_of_a_1_bit_image_is_white():
    image = plain(from_png(1, 0, b"\x40", b"\0\0")).convert("RGB")
    assert [image.getpixel((x, 0)) for x in range(2)] == [(255, 255, 255), (255, 255, 255)]


def test_half_transparent_black_becomes_grey():
    image = plain(Image.new("RGBA", (1, 1), (0, 0, 0, 128)))
    assert image.getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize(("mode", "converted"), [("P", "RGB"), ("1", "L")])
def test_palette_and_1_bit_images_are_converted_before_they_are_resized(mode, converted):
    image = noise(mode, (301, 250))
    pixels = preprocess(image, OPENAI, DEFAULT)
    assert np.array_equal(pixels, preprocess(image.convert(converted), OPENAI, DEFAULT))
    assert not np.array_equal(pixels, preprocess(image, OPENAI, REFERENCE))


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_16_bit_images_are_scaled(mode):
    values = [0, 128, 129, 32767, 32768, 65406, 65407, 65535]
    image = Image.new(mode, (8, 1))
    for x, value in enumerate(values):
        image.putpixel((x, 0), value)
    assert np.asarray(plain(image)).tolist() == [[0, 0, 1, 127, 128, 254, 255, 255]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "MPO"])
def test_the_first_of_several_frames_is_taken(kind):
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    red, green, blue = plain(open_image(data, DEFAULT)).convert("RGB").getpixel((4, 4))
    assert min(red, 255 - green, 255 - blue) > 240


def test_a_cmyk_jpeg_has_its_colours():
    # Adobe's CMYK is stored inverted; Pillow writes and reads it so.
    data = encoded(Image.new("RGB", (9, 9), (200, 30, 60)).convert("CMYK"), "JPEG", quality=100)
    colour = plain(open_image(data, DEFAULT)).convert("RGB").getpixel((4, 4))
    assert np.abs(np.subtract(colour, (200, 30, 60))).max() < 8


# Safe with any bytes


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_a_file_cut_anywhere_gives_an_image_or_a_clear_failure(kind):
    data = encoded(noise("RGB", (60, 40)), kind)
    for length in range(64, len(data), 64):
        error = failure(data[:length])
        assert error is None or error.code is FailureCode.DAMAGED


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_an_image_whose_second_half_is_missing_is_damaged(kind):
    data = encoded(noise("RGB", (60, 40)), kind)
    error = failure(data[: len(data) // 2])
    assert error.code is FailureCode.DAMAGED
    assert error.message.startswith("a damaged image (")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000"])
@pytest.mark.filterwarnings("ignore")
def test_flipped_bits_raise_nothing_but_input_errors(kind):
    options = ImageOptions(max_pixels=1_000_000, extra_formats=["tiff", "avif", "jpeg2000"])
    image = noise("P", (30, 20)) if kind == "GIF" else noise("RGB", (30, 20))
    data = encoded(image, kind)
    drawn = random.Random(kind)
    for _ in range(80):
        damaged = bytearray(data)
        for _ in range(drawn.choice((1, 4))):
            # Half of the flips fall on the header, where most of the decisions are made.
            damaged[drawn.randrange(drawn.choice((100, len(data))))] ^= 1 << drawn.randrange(8)
        failure(bytes(damaged), options)


def test_no_bytes_are_an_empty_file():
    assert failure(b"").code is FailureCode.EMPTY


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: ImageFile.ImageFile) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", refuse)


@pytest.mark.usefixtures("no_decoding")
@pytest.mark.parametrize("pillow_limit", [Image.MAX_IMAGE_PIXELS, None])
def test_a_header_that_claims_too_many_pixels_is_refused_undecoded(monkeypatch, pillow_limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
    error = failure(png((60_000, 60_000), 8, 2, b""))
    assert error.code is FailureCode.TOO_MANY_PIXELS
    assert error.message.startswith("too large")
    assert ("--max-pixels" if pillow_limit is None else "MAX_IMAGE_PIXELS") in error.message


@pytest.mark.usefixtures("no_decoding")
def test_a_gif_whose_frame_is_larger_than_its_screen_is_refused_undecoded(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    screen = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x02\x44\x01\0;"
    assert failure(screen + frame).code is FailureCode.TOO_MANY_PIXELS


def test_pillows_own_limit_is_kept_where_it_refuses_and_not_where_it_warns(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert open_image(encoded(noise("L", (20, 10)), "PNG"), DEFAULT).size == (20, 10)
    error = failure(encoded(noise("L", (67, 3)), "PNG"))
    assert error.code is FailureCode.TOO_MANY_PIXELS
    assert "MAX_IMAGE_PIXELS" in error.message


def test_max_pixels_is_a_limit_that_may_be_reached():
    data = encoded(noise("L", (20, 10)), "PNG")
    assert open_image(data, ImageOptions(max_pixels=200)).size == (20, 10)
    error = failure(data, ImageOptions(max_pixels=199))
    assert error.message == "too large: 20 x 10 pixels (--max-pixels is 199)"


def test_an_image_that_would_be_too_large_when_resized_is_too_elongated():
    error = failure(encoded(Image.new("L", (50_000, 1)), "PNG"))
    assert error.code is FailureCode.TOO_ELONGATED
    assert "11,200,000 x 224" in error.message
    assert "--max-pixels" in error.message


def test_too_little_memory_is_not_called_damage(monkeypatch):
    def exhausted(self: ImageFile.ImageFile) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", exhausted)
    error = failure(encoded(noise("L", (20, 10)), "PNG"))
    assert error.code is FailureCode.TOO_MANY_PIXELS
    assert "memory" in error.message


def test_an_image_without_pixels_is_an_input_error():
    with pytest.raises(InputError, match="no pixels") as caught:
        preprocess(Image.new("RGB", (0, 5)), OPENAI, DEFAULT)
    assert caught.value.code is FailureCode.DAMAGED


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_a_lazily_opened_image_that_is_cut_short_fails_when_it_is_prepared(kind):
    data = encoded(noise("RGB", (60, 40)), kind)
    image = Image.open(io.BytesIO(data[: len(data) // 2]))
    with pytest.raises(InputError) as caught:
        preprocess(image, OPENAI, DEFAULT)
    assert caught.value.code is FailureCode.DAMAGED


def test_an_extra_format_that_does_not_exist_is_a_usage_error():
    with pytest.raises(UsageError, match=r"'psd'.*tiff"):
        ImageOptions(extra_formats=["psd"])


def test_lifting_pillows_limit_leaves_max_pixels(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    lift_pillow_limit()
    assert open_image(encoded(noise("L", (15, 10)), "PNG"), DEFAULT).size == (15, 10)


# Fast decoding

FAST = ImageOptions(fast_decode=True)
# Values of 0..255, so that differences are easy to judge.
PLAIN_VALUES = {"mean": 0.0, "std": 1 / 255}


@pytest.fixture(scope="module")
def large() -> Image.Image:
    """A photo whose sides are no multiples of 8, so that its last blocks are not whole ones."""
    return Image.open(PHOTOS / "coffee.png").convert("RGB").resize((1501, 1003))


def moved(data: bytes, fields: dict[str, Any], size: int | tuple[int, int] = 112) -> np.ndarray:
    """By how much fast decoding changes an image's values, of 255."""
    config = PreprocessConfig.from_open_clip(PLAIN_VALUES | fields, size)
    whole, fast = (decode(data, config, options) for options in (DEFAULT, FAST))
    assert whole.shape == fast.shape
    return np.abs(whole - fast)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", ["JPEG", "progressive", "MPO"])
def test_fast_decoding_moves_a_large_photos_values_a_little(large, mode, kind):
    options = {"progressive": True} if kind == "progressive" else {}
    data = encoded(large.convert(mode), "MPO" if kind == "MPO" else "JPEG", **options)
    assert 0 < moved(data, {}).mean() < 0.5
    assert moved(data, {}).max() < 12


@pytest.mark.parametrize("size", [112, (60, 112), (112, 60)], ids=str)
@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_fast_decoding_shifts_nothing(large, orientation, resize_mode, size):
    """Were the last block taken for a whole one, values would move by 0.7 to 2.1 on average."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    data = encoded(large, "JPEG", exif=tags.tobytes(), quality=95)
    fields = {"resize_mode": resize_mode, "fill_color": 99}
    assert 0 < moved(data, fields, size).mean() < 0.5


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_fast_decoding_changes_no_other_format(large, kind):
    options = {"compression": "jpeg"} if kind == "TIFF" else {}
    data = encoded(large, kind, **options)
    fast, whole = (
        decode(data, OPENAI, ImageOptions(extra_formats=["tiff"], fast_decode=fast))
        for fast in (True, False)
    )
    assert np.array_equal(fast, whole)


@pytest.mark.parametrize(
    ("size", "changes"),
    [((255, 300), False), ((300, 255), False), ((256, 256), True), ((256, 1000), True)],
)
def test_fast_decoding_keeps_twice_the_pixels_that_the_model_wants(large, size, changes):
    data = encoded(large.resize(size), "JPEG")
    assert bool(moved(data, {}, 64).max()) is changes


def test_fast_decoding_checks_the_photos_own_size(large):
    options = ImageOptions(max_pixels=1500 * 1003, fast_decode=True)
    with pytest.raises(InputError, match="1,501 x 1,003") as caught:
        decode(encoded(large, "JPEG"), OPENAI, options)
    assert caught.value.code is FailureCode.TOO_MANY_PIXELS


def test_a_large_photo_that_is_cut_short_is_damaged_when_it_is_decoded_fast(large):
    data = encoded(large, "JPEG")
    with pytest.raises(InputError) as caught:
        decode(data[: len(data) // 2], PreprocessConfig.from_open_clip({}, 64), FAST)
    assert caught.value.code is FailureCode.DAMAGED


def test_fast_decoding_and_the_references_preprocessing_exclude_each_other():
    with pytest.raises(UsageError, match="leave out one"):
        ImageOptions(reference=True, fast_decode=True)


def test_decoding_is_opening_and_preparing():
    data = encoded(noise("RGB", (300, 200)), "PNG")
    assert np.array_equal(
        decode(data, OPENAI, DEFAULT), preprocess(open_image(data, DEFAULT), OPENAI, DEFAULT)
    )


# Company


@pytest.mark.parametrize("mode", MODES)
def test_a_callers_image_is_not_changed(mode):
    def state() -> tuple[object, ...]:
        alphas = image.im.getpalette("RGBA") if mode[0] == "P" else None
        return image.mode, image.size, dict(image.info), image.tobytes(), alphas

    image = noise(mode, (40, 30))
    image.info["exif"] = exif(short(6))
    image.load()  # a palette that was put on takes effect
    before = state()
    # Numbers of no evident range are refused.
    with pytest.raises(InputError) if mode in ("I", "F") else nullcontext():
        preprocess(image, OPENAI, DEFAULT)
    assert state() == before


def test_threads_decode_the_same_pixels():
    files = [
        encoded(noise(mode, size), "WEBP" if mode == "RGBA" else "PNG")
        for mode in ("RGB", "P", "RGBA", "I;16")
        for size in ((301, 200), (64, 90))
    ]
    shared = noise("P, alphas", (200, 300))

    def pixels(data: bytes | None) -> np.ndarray:
        image = shared if data is None else open_image(data, DEFAULT)
        return preprocess(image, OPENAI, DEFAULT)

    jobs = [*files, None] * 6
    alone = [pixels(job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(pixels, jobs))
    assert all(map(np.array_equal, alone, together))
