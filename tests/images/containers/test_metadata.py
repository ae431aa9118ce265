"""What pixels do not need fails no picture, and what they need fails it."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from picture_files import (
    GIF,
    JPEG,
    PICTURE,
    PNG,
    WEBP,
    encoded,
    gif_with,
    jpeg_with,
    picture_tags,
    png_chunk,
    png_chunks,
    png_file,
    png_with,
    segment,
    tiff,
    webp_chunks,
    webp_file,
    webp_with,
)
from PIL import Image
from profiles import in_srgb, rgb_profile

from clipcli.errors import FailureCode, InputError
from clipcli.images.colours import CICP
from clipcli.images.decoding import as_seen, decode, open_image, plain
from clipcli.images.options import ImageOptions
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.images.thumbnails import thumbnail

EVERYTHING = ImageOptions(extra_formats=["tiff", "avif", "jpeg2000"])
CONFIG = PreprocessConfig.from_open_clip({}, 32)
MANY = bytes(range(256)) * 20_000  # 5 MB, of which little is left when it is deflated
P3 = rgb_profile("Display P3")
IDAT = next(body for kind, body in png_chunks(PNG) if kind == b"IDAT")


def profile_chunk(data: bytes) -> bytes:
    return b"x\0\0" + zlib.compress(data)


def exif(orientation: int) -> bytes:
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHHI", 0x112, 3, 1, orientation, 0, 0)


PNGS = {
    "iTXt of 5 MB": png_with(png_chunk(b"iTXt", b"prompt\0\0\0\0\0" + MANY)),
    "packed iTXt of 5 MB": png_with(
        png_chunk(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(MANY))
    ),
    "zTXt of 5 MB": png_with(png_chunk(b"zTXt", b"a\0\0" + zlib.compress(MANY))),
    "tEXt of 5 MB": png_with(png_chunk(b"tEXt", b"parameters\0" + MANY)),
    "100 texts of 1 MB": png_with(*[png_chunk(b"tEXt", b"a\0" + bytes(1 << 20))] * 100),
    "zTXt of an unknown kind": png_with(png_chunk(b"zTXt", b"a\0\7abc")),
    "zTXt that ends early": png_with(png_chunk(b"zTXt", b"a\0")),
    "zTXt that does not inflate": png_with(png_chunk(b"zTXt", b"a\0\0abcdef")),
    "iTXt that ends early": png_with(png_chunk(b"iTXt", b"XML:com.adobe.xmp")),
    "XMP that does not inflate": png_with(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0abc")),
    "EXIF in a text that is none": png_with(png_chunk(b"tEXt", b"Raw profile type exif\0xyz")),
    "texts behind the pixels": png_with(png_chunk(b"zTXt", b"a\0\7x"), before=b"IEND"),
    "iCCP of 5 MB": png_with(png_chunk(b"iCCP", profile_chunk(MANY))),
    "iCCP of an unknown kind": png_with(png_chunk(b"iCCP", b"x\0\7abc")),
    "iCCP that does not inflate": png_with(png_chunk(b"iCCP", b"x\0\0abc")),
    "iCCP without a name": png_with(png_chunk(b"iCCP", b"")),
    "iCCP with a long name": png_with(png_chunk(b"iCCP", b"x" * 300)),
    **{
        f"{kind.decode()} of {length} bytes": png_with(png_chunk(kind, b"\1" * length))
        for kind in (b"gAMA", b"tRNS", b"pHYs", b"cHRM", b"sRGB", b"eXIf", b"cICP", b"tIME")
        for length in (0, 1, 3)
        if (kind, length) != (b"sRGB", 1)
    },
    **{
        f"wrong checksum of {kind.decode()}": png_with(png_chunk(kind, bytes(length), wrong=1))
        for kind, length in {
            b"gAMA": 4,
            b"tRNS": 6,
            b"pHYs": 9,
            b"cHRM": 32,
            b"sRGB": 1,
            b"iCCP": 9,
            b"eXIf": 9,
            b"tEXt": 9,
            b"bKGD": 6,
            b"tIME": 7,
            b"prVt": 3,
            b"sBIT": 3,
            b"PLTE": 3,
            b"acTL": 8,
        }.items()
    },
    "wrong checksum behind the pixels": png_with(png_chunk(b"tEXt", b"a\0b", 1), before=b"IEND"),
    "a palette of a colour image": png_with(png_chunk(b"PLTE", b"\1\2\3" * 7)),
    "a palette that is none": png_with(png_chunk(b"PLTE", b"\1\2")),
    "acTL that ends early": png_with(png_chunk(b"acTL", b"\0\0")),
    "acTL of no frames": png_with(png_chunk(b"acTL", bytes(8))),
    "acTL twice": png_with(png_chunk(b"acTL", b"\0\0\0\1\0\0\0\0") * 2),
    "fcTL that ends early": png_with(png_chunk(b"fcTL", bytes(5))),
    "fcTL out of order": png_with(png_chunk(b"fcTL", struct.pack(">I", 9) + bytes(22))),
    "fcTL out of the image": png_with(
        png_chunk(b"acTL", b"\0\0\0\1\0\0\0\0")
        + png_chunk(b"fcTL", struct.pack(">IIIII", 0, 99, 99, 5, 5) + bytes(6))
    ),
    "fdAT that ends early": png_with(png_chunk(b"fdAT", b"\0"), before=b"IEND"),
    "noise behind the end": PNG + b"\xff" * 99,
    "noise in place of the end": png_with()[:-12] + b"\xff\x00" * 20,
    "pixels in empty and tiny parts": png_file(
        (kind, part)
        for kind, body in png_chunks(PNG)
        for part in (
            [body[i : i + 7] for i in range(0, len(body), 7)] if kind == b"IDAT" else [body]
        )
    ),
    "something between the pixels' parts": png_file(
        (
            next(png_chunks(PNG)),
            *((b"IDAT", IDAT[:50]), (b"tEXt", b"a\0b"), (b"IDAT", IDAT[50:]), (b"IEND", b"")),
        )
    ),
}
JPEGS = {
    "a short JFIF": jpeg_with(segment(0xE0, b"JFIF\0")),
    "an empty APP0": jpeg_with(segment(0xE0, b"")),
    "a short Adobe segment": jpeg_with(segment(0xEE, b"Adobe")),
    "a bare Photoshop segment": jpeg_with(segment(0xED, b"Photoshop 3.0\x008BIM")),
    "a Photoshop block that ends early": jpeg_with(
        segment(0xED, b"Photoshop 3.0\x008BIM\3\xed\0\0\0\0\0\2ab")
    ),
    "a Photoshop block without a name": jpeg_with(segment(0xED, b"Photoshop 3.0\x008BIM\3\xed")),
    "a bare profile": jpeg_with(segment(0xE2, b"ICC_PROFILE\0")),
    "a profile with a number alone": jpeg_with(segment(0xE2, b"ICC_PROFILE\0\1")),
    "a profile of part 2 of 3": jpeg_with(segment(0xE2, b"ICC_PROFILE\0\2\3abc")),
    "a profile of part 0 of 0": jpeg_with(segment(0xE2, b"ICC_PROFILE\0\0\0abc")),
    "EXIF that is noise": jpeg_with(segment(0xE1, b"Exif\0\0" + bytes(range(256)))),
    "EXIF that is empty": jpeg_with(segment(0xE1, b"Exif\0\0")),
    "EXIF out of reach": jpeg_with(segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\x7f")),
    "EXIF that turns in circles": jpeg_with(
        segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0\x08\0\0\0")
    ),
    "EXIF of 40 segments": jpeg_with(*[segment(0xE1, b"Exif\0\0" + bytes(60_000))] * 40),
    "resolution of nothing": jpeg_with(
        segment(
            0xE1,
            b"Exif\0\0II*\0\x08\0\0\0\2\0"
            + struct.pack("<HHII", 0x11A, 5, 1, 38)
            + struct.pack("<HHII", 0x128, 3, 1, 2)
            + bytes(12),
        )
    ),
    "XMP that is noise": jpeg_with(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0\xff\xfe<x")),
    "MPF that is noise": jpeg_with(segment(0xE2, b"MPF\0II*\0\x08\0\0\0\x63")),
    "MPF of frames that are not there": jpeg_with(
        segment(
            0xE2,
            b"MPF\0II*\0\x08\0\0\0\2\0"
            + struct.pack("<HHII", 0xB001, 4, 1, 5)
            + struct.pack("<HHII", 0xB002, 7, 16, 9999),
        )
    ),
    "a FlashPix segment": jpeg_with(segment(0xE2, b"FPXR\0")),
    "an empty comment": jpeg_with(segment(0xFE, b"")),
    "a comment of 65,533 bytes": jpeg_with(segment(0xFE, b"x" * 65_533)),
    "a comment that looks like a picture": jpeg_with(segment(0xFE, JPEG)),
    "lengths of 0 and 1": jpeg_with(b"\xff\xe5\0\0", b"\xff\xfe\0\1"),
    "filling bytes": jpeg_with(b"\xff" * 9),
    "noise between segments": jpeg_with(b"abc\0def"),
    "every application": jpeg_with(*(segment(marker, b"\0") for marker in range(0xE0, 0xF0))),
    "noise behind the end": JPEG + b"\xff\xd8\xff" * 9,
}
FLAGS = 0x20 | 0x08 | 0x04  # a profile, EXIF and XMP
WEBPS = {
    "flags for what is not there": webp_with(FLAGS),
    "chunks without their flags": webp_with(
        0, [(b"ICCP", b"x")], [(b"EXIF", b"y"), (b"XMP ", b"")]
    ),
    "noise in all of them": webp_with(
        FLAGS, [(b"ICCP", b"\xff" * 99)], [(b"EXIF", b"\xff" * 99), (b"XMP ", b"\xff" * 99)]
    ),
    "EXIF out of reach": webp_with(8, [], [(b"EXIF", b"II*\0\xff\xff\xff\x7f")]),
    "EXIF before the pixels": webp_with(8, [(b"EXIF", b"x")]),
    "EXIF twice": webp_with(8, [], [(b"EXIF", b"x")] * 2),
    "an unknown chunk": webp_with(0, [(b"abcd", b"x")], [(b"efgh", b"xyz")]),
    "a last chunk that ends early": webp_with(8, [], [(b"EXIF", b"x" * 40)])[:-20],
    "a last chunk of 4 GB": webp_with(8, [], [(b"EXIF", b"")])[:-4] + b"\xff" * 4,
    "noise behind the end": WEBP + b"\xff" * 33,
    "a wrong size of the file": WEBP[:4] + b"\1\0\0\0" + WEBP[8:],
}
GIFS = {
    "a comment": gif_with(b"!\xfe\5hello\0"),
    "an empty comment": gif_with(b"!\xfe\0"),
    "an application without a name": gif_with(b"!\xff\0"),
    "a loop without its number": gif_with(b"!\xff\x0bNETSCAPE2.0\0"),
    "a loop of one byte": gif_with(b"!\xff\x0bNETSCAPE2.0\1\1\0"),
    "an application of noise": gif_with(b"!\xff\3\xff\xff\xff\2\0\0\0"),
    "an empty graphic control": gif_with(b"!\xf9\0"),
    "a short graphic control": gif_with(b"!\xf9\1\0\0"),
    "a long graphic control": gif_with(b"!\xf9\5\0\0\0\0\0\0"),
    "an unknown extension": gif_with(b"!\x55\2ab\0"),
    "a text": gif_with(b"!\1\x0c" + bytes(12) + b"\1a\0"),
    "noise between blocks": gif_with(b"abc\0"),
    "noise behind the end": GIF + b"\x2c\xff\xff" * 9,
}


def grey_tiff(*more: dict[int, tuple[int, list[int]]], order: str = "<", **tags: int) -> bytes:
    pixels = bytes(range(256)) * 16
    return tiff({**picture_tags(), **picture_tags(**tags)}, *more, order=order, pixels=pixels)


def spoilt(data: bytes, tag: int, entry: bytes) -> bytes:
    """A little-endian TIFF file with other bytes behind a tag's number."""
    place = data.rindex(struct.pack("<HHI", tag, 4, 1))
    return data[: place + 2] + entry + data[place + 2 + len(entry) :]


FAR = b"\xff\xff\xff\x7f"
TIFFS = {
    f"{tag}: {name}": spoilt(grey_tiff(**{f"t{tag}": 0}), tag, entry)
    for tag in (270, 282, 315, 700, 33723, 34377, 34665, 34675, 65000)
    for name, entry in {
        "out of reach": b"\2\0\x63\0\0\0" + FAR,
        "endless": b"\2\0" + FAR,
        "of no type": b"\x63\0",
        "fractions of nothing": b"\5\0\1\0\0\0" + FAR,
        "a directory": b"\x0d\0\1\0\0\0" + FAR,
    }.items()
} | {
    "a next directory out of reach": grey_tiff()[:-4] + FAR,
    "a next directory of noise": grey_tiff({65000: (4, [9])}),
}


def seen(data: bytes) -> np.ndarray:
    return np.asarray(as_seen(open_image(data, EVERYTHING)))


SOUND = [
    *((f"PNG, {name}", data, PNG) for name, data in PNGS.items()),
    *((f"JPEG, {name}", data, JPEG) for name, data in JPEGS.items()),
    *((f"WebP, {name}", data, WEBP) for name, data in WEBPS.items()),
    *((f"GIF, {name}", data, GIF) for name, data in GIFS.items()),
    *((f"TIFF, {name}", data, grey_tiff()) for name, data in TIFFS.items()),
]


@pytest.mark.parametrize(("data", "bare"), [each[1:] for each in SOUND], ids=[e[0] for e in SOUND])
def test_what_pixels_do_not_need_fails_no_picture(data, bare):
    # No warning either: whoever makes errors of them must not lose a picture.
    assert np.array_equal(seen(data), seen(bare))
    assert np.array_equal(decode(data, CONFIG, EVERYTHING), decode(bare, CONFIG, EVERYTHING))
    assert thumbnail(data, EVERYTHING) == thumbnail(bare, EVERYTHING)


@pytest.mark.parametrize("kind", ["AVIF", "HEIF", "JPEG2000"])
@pytest.mark.parametrize("info", ["exif", "xmp", "icc_profile"])
def test_noise_beside_the_pixels_of_other_formats_is_passed_over(kind, info):
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    sound = exif(1) if info == "exif" else b"<x>" * 60
    data = encoded(PICTURE, kind, **{info: sound})
    data = data.replace(sound[6:], (b"\xff\0\1" * 99)[: len(sound) - 6])
    assert np.array_equal(seen(data), seen(encoded(PICTURE, kind)))


# What pixels need


def png_of(body: bytes, wrong: int = 0) -> bytes:
    parts = [(kind, body if kind == b"IDAT" else data) for kind, data in png_chunks(PNG)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        png_chunk(kind, data, wrong if kind == b"IDAT" else 0) for kind, data in parts
    )


BROKEN = {
    "wrong checksum of the pixels": png_of(IDAT, wrong=1),
    "wrong checksum of the last part": png_with(png_chunk(b"IDAT", b"", wrong=9), before=b"IEND"),
    "wrong checksum of the header": PNG[:29] + bytes((PNG[29] ^ 1,)) + PNG[30:],
    "no pixels": png_file(each for each in png_chunks(PNG) if each[0] != b"IDAT"),
    "pixels that do not inflate": png_of(b"abcdef" * 9),
    "pixels with another bit": png_of(IDAT[:60] + bytes((IDAT[60] ^ 4,)) + IDAT[61:]),
    "a sum that is not the pixels'": png_of(IDAT[:-1] + bytes((IDAT[-1] ^ 1,))),
    "half of the pixels": png_of(IDAT[: len(IDAT) // 2]),
    "a wrong palette": png_with(
        png_chunk(b"PLTE", bytes(9), wrong=1), data=encoded(PICTURE.convert("P"), "PNG")
    ),
    "a picture in a comment that runs out": JPEG[:20] + b"\xff\xfe\xff\xff" + JPEG,
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=list(BROKEN))
def test_what_pixels_need_fails_a_picture(data):
    with pytest.raises(InputError) as caught:
        open_image(data, EVERYTHING)
    assert caught.value.code is FailureCode.DAMAGED
    assert "damaged" in caught.value.message


def test_a_thumbnail_within_a_broken_segment_is_not_taken_for_the_picture():
    thumb = encoded(Image.new("RGB", (8, 8)), "JPEG")
    exif_with_thumb = jpeg_with(segment(0xE1, b"Exif\0\0II*\0" + thumb))
    assert open_image(exif_with_thumb, EVERYTHING).size == PICTURE.size
    place = exif_with_thumb.index(b"\xff\xe1")
    for length in (b"\0\0", b"\0\1"):
        data = exif_with_thumb[: place + 2] + length + exif_with_thumb[place + 4 :]
        with pytest.raises(InputError):
            open_image(data, EVERYTHING)


# What says how to show them is kept


def test_what_says_how_to_show_a_png_is_kept():
    grey = png_with(png_chunk(b"tRNS", b"\0\xc8\0\x1e\0\x3c"))
    assert plain(open_image(grey, EVERYTHING)).getpixel((3, 3)) == (255, 255, 255)
    for chunk in (
        png_chunk(b"iCCP", profile_chunk(P3)),
        png_chunk(b"cICP", b"\x0c\x0d\0\1"),
        png_chunk(b"iCCP", profile_chunk(rgb_profile("ProPhoto")))
        + png_chunk(b"cICP", b"\x0c\x0d\0\1"),
    ):
        expected = in_srgb(np.asarray(PICTURE), "Display P3")
        assert np.abs(seen(png_with(chunk)) - expected).max() < 1.6
    linear = seen(png_with(png_chunk(b"gAMA", struct.pack(">I", 100_000))))
    assert linear.mean() > seen(PNG).mean() + 20


def test_a_profile_of_a_megabyte_and_more_is_heeded():
    padded = P3 + bytes(3 << 20)
    large = struct.pack(">I", len(padded)) + padded[4:]
    data = png_with(png_chunk(b"iCCP", profile_chunk(large)))
    assert np.abs(seen(data) - in_srgb(np.asarray(PICTURE), "Display P3")).max() < 1.6


@pytest.mark.parametrize("numbers", [b"\x0c\x0d\0\0", b"\x0c\x0d\1\1", b"\x0c\x0d"], ids=repr)
def test_numbers_of_narrow_ranges_and_other_matrices_say_nothing(numbers):
    assert CICP not in open_image(png_with(png_chunk(b"cICP", numbers)), EVERYTHING).info


TURNED = {
    "PNG": png_with(png_chunk(b"eXIf", exif(6)[6:])),
    "PNG behind the pixels": png_with(png_chunk(b"eXIf", exif(6)[6:]), before=b"IEND"),
    "PNG in a text": png_with(
        png_chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  32\n" + exif(6).hex().encode())
    ),
    "PNG in a packed text": png_with(
        png_chunk(
            b"zTXt",
            b"Raw profile type exif\0\0"
            + zlib.compress(b"\nexif\n  32\n" + exif(6).hex().encode()),
        )
    ),
    "PNG in XMP": png_with(
        png_chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>')
    ),
    "JPEG": jpeg_with(segment(0xE1, exif(6))),
    "JPEG in two segments": jpeg_with(
        segment(0xE1, exif(6)[:20]), segment(0xE1, b"Exif\0\0" + exif(6)[20:])
    ),
    "JPEG in XMP": jpeg_with(
        segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6"/>')
    ),
    "WebP": webp_with(8, [], [(b"EXIF", exif(6)[6:])]),
    "WebP with JPEG's mark": webp_with(8, [], [(b"EXIF", exif(6))]),
    "WebP in XMP": webp_with(4, [], [(b"XMP ", b'<x tiff:Orientation="6"/>')]),
}


@pytest.mark.parametrize("data", TURNED.values(), ids=list(TURNED))
def test_pictures_are_turned_by_whatever_says_so(data):
    assert plain(open_image(data, EVERYTHING)).size == PICTURE.size[::-1]


def test_a_jpegs_profile_comes_in_parts_in_any_order():
    parts = [
        segment(0xE2, b"ICC_PROFILE\0" + bytes((number, 3)) + P3[place : place + 200])
        for number, place in ((1, 0), (2, 200), (3, 400))
    ]
    parts[2] = segment(0xE2, b"ICC_PROFILE\0\3\3" + P3[400:])
    expected = in_srgb(np.asarray(Image.open(io.BytesIO(JPEG))), "Display P3")
    for order in ((0, 1, 2), (2, 0, 1), (1, 1, 0, 2)):
        found = seen(jpeg_with(*(parts[number] for number in order)))
        assert np.abs(found - expected).max() < 1.6


def test_colours_of_jpegs_are_libjpegs_whatever_is_left_out():
    for mode, options in (("RGB", {"keep_rgb": True}), ("CMYK", {}), ("L", {}), ("RGB", {})):
        data = encoded(PICTURE.convert(mode), "JPEG", **options)
        theirs = Image.open(io.BytesIO(data)).convert("RGB")
        assert np.array_equal(seen(data), np.asarray(theirs))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_later_frames_may_be_broken_or_missing(kind):
    frames = {"save_all": True, "append_images": [Image.new("RGB", (40, 30), "blue")] * 3}
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(PICTURE, kind, **frames, **options)
    whole = seen(data)
    assert np.array_equal(seen(data[:-30]), whole)
    assert np.array_equal(seen(data[:-30] + b"\xff" * 30), whole)


def test_a_bitmaps_profile_is_heeded():
    pixels = np.asarray(PICTURE)[::-1, :, ::-1].tobytes()
    head = struct.pack("<IiiHHIIiiII", 124, 40, 30, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    head += bytes(16) + b"DEBM" + bytes(52) + struct.pack("<II", 124 + len(pixels), len(P3))
    head = head.ljust(124, b"\0")
    start = 14 + len(head)
    size = start + len(pixels) + len(P3)
    data = b"BM" + struct.pack("<IHHI", size, 0, 0, start) + head + pixels + P3
    assert np.abs(seen(data) - in_srgb(np.asarray(PICTURE), "Display P3")).max() < 1.6
    cut = data[: -len(P3) // 2]
    assert np.array_equal(seen(cut), np.asarray(PICTURE))


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiffs_first_image_is_as_it_was(order):
    data = grey_tiff(order=order)
    expected = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(seen(data)[..., 0], expected)


def test_nothing_is_taken_out_of_a_plain_webp():
    assert webp_file(webp_chunks(WEBP)) == WEBP
