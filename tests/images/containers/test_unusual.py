"""Files that are in order and that nothing here decodes: named, and never taken for damaged."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from picture_files import (
    JPEG,
    PICTURE,
    bmp,
    encoded,
    jpeg_of_frame,
    picture_tags,
    png_chunks,
    png_file,
    tiff,
)

from clipcli.errors import FailureCode, InputError
from clipcli.images.decoding import decode, open_image
from clipcli.images.options import ImageOptions
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.images.thumbnails import thumbnail

USUAL = ImageOptions()
EVERYTHING = ImageOptions(extra_formats=["tiff", "avif", "jpeg2000"])
CONFIG = PreprocessConfig.from_open_clip({}, 32)

MASKS = struct.pack("<III", 0x3FF00000, 0x000FFC00, 0x000003FF)
FEW_MASKS = struct.pack("<III", 0xF00, 0xF0, 0xF)
UNUSUAL = {
    "12-bit JPEG": (jpeg_of_frame(0xC1, bits=12), "a 12-bit JPEG image"),
    "12-bit progressive JPEG": (jpeg_of_frame(0xC2, bits=12), "a 12-bit JPEG image"),
    "16-bit lossless JPEG": (jpeg_of_frame(0xC3, bits=16), "a 16-bit lossless JPEG image"),
    "14-bit lossless JPEG": (jpeg_of_frame(0xC3, bits=14), "a 14-bit lossless JPEG image"),
    "lossless JPEG": (jpeg_of_frame(0xC3), "a lossless JPEG image"),
    "hierarchical JPEG": (jpeg_of_frame(0xC5), "a hierarchical JPEG image"),
    "lossless arithmetic JPEG": (jpeg_of_frame(0xCB), "a lossless JPEG image"),
    "JPEG-LS": (JPEG[:2] + b"\xff\xf7\0\x0b\x08\0\x1e\0\x28\1\1\x11\0" + JPEG[20:], "JPEG-LS"),
    "JPEG of 2 components": (jpeg_of_frame(components=2), "a JPEG image of 2 components"),
    "JPEG that tells its height late": (jpeg_of_frame(height=0), "its height behind its pixels"),
    "PNG of Xcode": (
        png_file(
            (
                (b"CgBI", b"\x50\0\x20\2"),
                *(
                    (kind, body[2:] if kind == b"IDAT" else body)
                    for kind, body in png_chunks(encoded(PICTURE, "PNG"))
                ),
            )
        ),
        "a PNG image as Xcode rewrites them",
    ),
    "BMP with JPEG inside": (bmp(0, 4), "a BMP image of 0 bits a pixel with JPEG inside"),
    "BMP with PNG inside": (bmp(0, 5), "with PNG inside"),
    "BMP of 2 bits": (bmp(2, 0), "a BMP image of 2 bits a pixel"),
    "BMP of 64 bits": (bmp(64, 0), "a BMP image of 64 bits a pixel"),
    "BMP of 10 bits a colour": (bmp(32, 3, 56, MASKS), "32 bits a pixel with bit fields"),
    "BMP of 4 bits a colour": (bmp(16, 3, 40, FEW_MASKS), "16 bits a pixel with bit fields"),
    "BMP with alpha fields": (bmp(32, 6, 56, MASKS), "bit fields with alpha"),
    "BMP of inks": (bmp(32, 11), "with CMYK"),
    "BMP of OS/2": (bmp(24, 4, 64), "with RLE24"),
    "short BMP of OS/2": (bmp(24, 0, 24), "a BMP image of"),
    "array of bitmaps": (b"BA" + struct.pack("<IIHH", 40, 0, 0, 0) + b"BM" + bytes(60), "OS/2"),
}


THUMB = {**picture_tags(2), 258: (3, [8, 8, 8]), 277: (3, [3]), 279: (4, [768])}
SENSOR = {**picture_tags(32803), 258: (3, [14])}
UNUSUAL_TIFFS = {
    "TIFF of 64-bit floats": (
        tiff({**picture_tags(), 258: (3, [64]), 339: (3, [3])}),
        "1 x 64 bits",
    ),
    "TIFF of two layers": (
        tiff({**picture_tags(2), 258: (3, [8, 8]), 277: (3, [2])}),
        "2 x 8 bits, photometric 2",
    ),
    "TIFF of 24 bits": (tiff({**picture_tags(), 258: (3, [24])}), "1 x 24 bits"),
    "TIFF of logarithms": (tiff(picture_tags(32844, 34676)), "compression 34676"),
    "TIFF of JBIG": (tiff(picture_tags(1, 34661)), "compression 34661"),
    "TIFF of JPEG 2000": (tiff(picture_tags(1, 34712)), "compression 34712"),
}
RAWS = {
    "DNG": tiff(THUMB | {50706: (4, [0x00000401])}, {**SENSOR, 262: (3, [34892])}, below=(1,)),
    "DNG of one image": tiff(picture_tags(34892)),
    "NEF": tiff(THUMB, picture_tags(6, 6), {**SENSOR, 259: (3, [34713])}, below=(1, 2)),
    "big-endian NEF": tiff(THUMB, SENSOR, order=">", below=(1,)),
    "ARW": tiff(THUMB, {**SENSOR, 259: (3, [32767])}, below=(1,)),
    "ARW, packed by a number alone": tiff(THUMB, picture_tags(1, 32767), below=(1,)),
    "PEF": tiff(picture_tags(32803, 65535)),
    "SRW": tiff(THUMB, picture_tags(32803, 32770), below=(1,)),
    "3FR": tiff(THUMB, THUMB, SENSOR),
    "CR2": tiff(THUMB, picture_tags(6, 6), magic=b"CR\2\0"),
    "CR3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(99),
    "CRW": b"II\x1a\0\0\0HEAPCCDR" + bytes(99),
    "RAF": b"FUJIFILMCCD-RAW 0201FF129502" + JPEG,
    "ORF": b"IIRO\x08\0\0\0" + tiff(THUMB)[8:],
    "another ORF": b"IIRS\x08\0\0\0" + bytes(99),
    "big-endian ORF": b"MMOR\0\0\0\x08" + bytes(99),
    "RW2": b"IIU\0\x18\0\0\0" + bytes(99),
    "X3F": b"FOVb\0\0\3\0" + bytes(99),
    "MRW": b"\0MRM\0\0\0\x08" + bytes(99),
}
OTHERS = {
    "JPEG XR": b"II\xbc\1\x20\0\0\0" + bytes(99),
    "OpenEXR": b"v/1\1\2\0\0\0" + bytes(99),
    "Radiance": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 4 +X 4\n" + bytes(99),
    "QOI": b"qoif\0\0\0\4\0\0\0\4\3\0" + bytes(99),
    "DirectDraw": b"DDS \x7c\0\0\0" + bytes(124),
    "GIMP": b"gimp xcf v011\0" + bytes(99),
    "Apple icon": b"icns\0\0\0\x99" + bytes(99),
    "DjVu": b"AT&TFORM\0\0\1\0DJVM" + bytes(99),
    "MNG": b"\x8aMNG\r\n\x1a\n" + bytes(99),
    "DICOM": bytes(128) + b"DICM" + bytes(99),
    "Netpbm": b"P7\nWIDTH 4\nHEIGHT 4\nDEPTH 3\nMAXVAL 255\nENDHDR\n" + bytes(99),
    "cursor": b"\0\0\2\0\1\0\x20\x20" + bytes(99),
    "HEIF": b"\0\0\0\x18ftypavci\0\0\0\0mif1avci" + bytes(99),
}


def refusal(data: bytes, options: ImageOptions) -> tuple[FailureCode, str]:
    with pytest.raises(InputError) as caught:
        open_image(data, options)
    with pytest.raises(InputError) as again:
        decode(data, CONFIG, options)
    assert again.value.message == caught.value.message
    assert thumbnail(data, options) is None
    return caught.value.code, caught.value.message


@pytest.mark.parametrize("options", [USUAL, EVERYTHING], ids=["usual", "everything"])
@pytest.mark.parametrize(("data", "name"), UNUSUAL.values(), ids=list(UNUSUAL))
def test_an_unusual_file_of_a_usual_format_is_named(data, name, options):
    code, message = refusal(data, options)
    assert code is FailureCode.UNSUPPORTED_FORMAT
    assert name in message
    assert message.endswith("this format is not supported, convert it to PNG or JPEG")


@pytest.mark.parametrize(("data", "name"), UNUSUAL_TIFFS.values(), ids=list(UNUSUAL_TIFFS))
def test_an_unusual_tiff_is_named(data, name):
    code, message = refusal(data, EVERYTHING)
    assert code is FailureCode.UNSUPPORTED_FORMAT
    assert name in message


@pytest.mark.parametrize("options", [USUAL, EVERYTHING], ids=["usual", "everything"])
@pytest.mark.parametrize("data", RAWS.values(), ids=list(RAWS))
def test_raw_photos_are_named_and_their_thumbnails_left_alone(data, options):
    code, message = refusal(data, options)
    assert code is FailureCode.UNSUPPORTED_FORMAT
    assert message.startswith("a RAW photo (")


@pytest.mark.parametrize(("name", "data"), OTHERS.items(), ids=list(OTHERS))
def test_other_formats_are_named(name, data):
    code, message = refusal(data, EVERYTHING)
    assert code is FailureCode.UNSUPPORTED_FORMAT
    assert name in message


@pytest.mark.parametrize("where", ["header", "pixels"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "AVIF", "JPEG2000"])
def test_a_usual_file_that_is_cut_is_damaged(kind, where):
    data = encoded(PICTURE, kind)
    if kind == "TIFF":  # its directory stands at the end, or before its pixels
        data = tiff(picture_tags())[:100] if where == "pixels" else data[:60]
    else:
        data = data[: 24 if where == "header" else len(data) // 2]
    assert refusal(data, EVERYTHING)[0] is FailureCode.DAMAGED


def test_bit_fields_that_are_cut_are_damaged():
    masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    whole = bmp(16, 3, 40, masks)
    assert open_image(whole, USUAL).size == (4, 4)
    assert refusal(whole[:-110], USUAL)[0] is FailureCode.DAMAGED


@pytest.mark.parametrize("seed", range(30))
def test_tags_of_noise_end_somewhere(seed):
    rng = np.random.default_rng(seed)
    data = bytearray(RAWS["NEF"])
    for place in rng.integers(4096, len(data), 40):
        data[place] = rng.integers(256)
    for head in (b"II*\0", b"MM\0*", b"II+\0"):
        with pytest.raises(InputError):
            open_image(head + bytes(data[4:]), USUAL)


def test_a_directory_that_leads_to_itself_ends():
    data = bytearray(tiff(THUMB))
    (first,) = struct.unpack_from("<I", data, 4)
    end = first + 2 + 12 * len(THUMB)
    data[end : end + 4] = struct.pack("<I", first)
    assert open_image(bytes(data), EVERYTHING).size == (16, 16)


def test_pngs_of_every_depth_and_colour_open():
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        assert open_image(encoded(PICTURE.convert(mode), "PNG"), USUAL).size == PICTURE.size
