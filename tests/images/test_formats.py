"""Which formats are opened, and what is said of everything else."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from clipcli.errors import FailureCode, InputError
from clipcli.images import formats
from clipcli.images.decoding import open_image
from clipcli.images.formats import EXTRA_FORMATS, allowed_formats, explain_unreadable, is_heif
from clipcli.images.options import ImageOptions

EVERYTHING = ImageOptions(extra_formats=list(EXTRA_FORMATS))


def encoded(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((40, 30)).convert("RGB").save(file, kind, **options)
    return file.getvalue()


def refusal(data: bytes, options: ImageOptions = EVERYTHING) -> tuple[FailureCode, str]:
    with pytest.raises(InputError) as caught:
        open_image(data, options)
    return caught.value.code, caught.value.message


@pytest.mark.parametrize("kind", ["JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP"])
def test_the_usual_formats_are_known_by_their_bytes(kind):
    assert open_image(encoded(kind), ImageOptions()).size == (40, 30)


@pytest.mark.parametrize(("name", "kind"), EXTRA_FORMATS.items())
def test_formats_off_the_list_name_the_option_that_opens_them(name, kind):
    code, message = refusal(encoded(kind), ImageOptions())
    assert code is FailureCode.UNSUPPORTED_FORMAT
    assert f"--allow-format {name}" in message
    assert open_image(encoded(kind), ImageOptions(extra_formats=[name])).size == (40, 30)


def test_a_bare_jpeg2000_codestream_is_known():
    data = encoded("JPEG2000", no_jp2=True)
    assert "--allow-format jpeg2000" in refusal(data, ImageOptions())[1]
    assert open_image(data, EVERYTHING).size == (40, 30)


FITS = b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800)
PSD = b"8BPS\0\1" + b"\0" * 6 + b"\0\3\0\0\0\x10\0\0\0\x10\0\x08\0\3" + b"\0" * 64


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (encoded("EPS"), "PostScript"),
        (b"\xc5\xd0\xd3\xc6" + b"\0" * 40, "PostScript"),
        (PSD, "Photoshop"),
        (FITS, "FITS"),
        (encoded("ICO"), "icon"),
        (encoded("PPM"), "Netpbm"),
        (b"\xff\x0a" + b"\x10" * 40, "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 40, "JPEG XL"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- by\nhand -->\n<!DOCTYPE svg>\n<svg/>", "SVG"),
    ],
)
def test_other_image_formats_never_open_and_are_named(data, kind):
    code, message = refusal(data)
    assert code is FailureCode.UNSUPPORTED_FORMAT
    assert kind in message
    assert "convert it to PNG or JPEG" in message


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"hello world\n", "text"),
        (b'{"error": "no such picture"}', "text"),
        ("é".encode() * 2, "text"),
        (("x" + "é" * 3000).encode(), "text"),
        (b"<!DOCTYPE html><html></html>", "an HTML page"),
        (b"\xef\xbb\xbf \n<!-- hi -->\n<HTML lang='en'><svg></svg>", "an HTML page"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF document"),
        (b"PK\x03\x04\x14\0\0\0", "a ZIP archive"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "a gzip archive"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0", "a video"),
        (b"\0\0\0\x20ftypmp42\0\0\x02\0", "a video"),
        (b"RIFF\0\0\1\0AVI LIST", "a video"),
        (b"\x1aE\xdf\xa3\x01\0\0\0", "a video"),
        (b"\x8c\x1f\xfe\x03\x99" * 40, "unknown binary data"),
        (b"abc\0def", "unknown binary data"),
        (b"caf\xe9 au lait", "unknown binary data"),
    ],
)
def test_what_is_not_an_image_is_named(data, kind):
    code, message = refusal(data)
    assert code is FailureCode.NOT_AN_IMAGE
    assert message in (f"not an image ({kind})", f"not an image (it looks like {kind})")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\xff\xd8\xff\xe0\0\x10JF", "JPEG"),
        (b"\x89PNG\r\n\x1a\n\0\0", "PNG"),
        (b"GIF89a\1", "GIF"),
        (b"RIFF\0\1\0\0WEBPVP8 ", "WEBP"),
        (b"BM\x36\0\0\0\0\0\0\0\x36\0", "BMP"),
        (b"II*\0\xff\xff", "TIFF"),
    ],
)
def test_a_known_header_without_a_readable_image_is_damage(data, name):
    error = explain_unreadable(data, list(EXTRA_FORMATS))
    assert error.code is FailureCode.DAMAGED
    assert error.message.startswith("a damaged image (")
    assert name in error.message
    assert refusal(data)[0] is FailureCode.DAMAGED


@pytest.mark.parametrize("data", [b"<!---->" * 300, b"<" * 3000, b" " * 3000, b"<!--" * 700])
def test_text_made_to_confuse_the_patterns_is_recognised_at_once(data):
    # A pattern with two ways to read each comment would take 2**300 steps.
    assert explain_unreadable(data, ()).code is FailureCode.NOT_AN_IMAGE


# HEIC


HEADER = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.fixture
def without_pillow_heif(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    formats._register_heif.cache_clear()
    yield
    formats._register_heif.cache_clear()


@pytest.fixture(scope="module")
def heic() -> bytes:
    pytest.importorskip("pillow_heif").register_heif_opener()
    return encoded("HEIF")


def test_a_heic_photo_opens_where_its_plug_in_is_installed(heic):
    assert is_heif(heic)
    assert open_image(heic, ImageOptions()).size == (40, 30)


def test_a_cut_heic_photo_is_damaged(heic):
    code, message = refusal(heic[: len(heic) // 2])
    assert code is FailureCode.DAMAGED
    assert message.startswith("a damaged image (")


@pytest.mark.usefixtures("without_pillow_heif")
def test_a_heic_photo_without_the_plug_in_names_the_extra(heic):
    for data in (heic, HEADER):
        code, message = refusal(data)
        assert code is FailureCode.UNSUPPORTED_FORMAT
        assert "pip install 'clipcli[heif]'" in message


def test_an_avif_image_under_the_general_brand_is_not_taken_for_heic():
    data = encoded("AVIF").replace(b"ftypavif", b"ftypmif1", 1)
    assert not is_heif(data)
    assert "--allow-format avif" in refusal(data, ImageOptions())[1]
    assert open_image(data, EVERYTHING).size == (40, 30)


def test_the_plug_in_is_left_alone_by_other_images():
    assert "HEIF" not in allowed_formats(encoded("PNG"), ())


# One list of formats and endings


@pytest.mark.parametrize("ending", sorted(formats._EVERY_ENDING))
def test_whatever_folders_give_is_opened(ending, heic):
    """Under each ending Pillow writes what it is for, and it opens."""
    kinds = {".mpo": "MPO", ".dib": "DIB"}
    (kind,) = (kind for kind, endings in formats._ENDINGS.items() if ending in endings)
    if ending in (".j2k", ".j2c", ".jpc"):
        data = encoded(kind, no_jp2=True)
    else:
        data = heic if kind == "HEIF" else encoded(kinds.get(ending, kind))
    assert formats.has_image_ending(f"a{ending.upper()}")
    assert open_image(data, EVERYTHING).size == (40, 30)


def test_pillows_endings_of_the_formats_are_all_known():
    """Save those of containers of something else: films of JPEG 2000, PNG's and AVIF's cousins."""
    Image.init()
    known = set(formats.USUAL_FORMATS) | set(EXTRA_FORMATS.values()) | {"MPO", "DIB"}
    theirs = {ending for ending, kind in Image.registered_extensions().items() if kind in known}
    assert theirs - formats._EVERY_ENDING - {".mj2", ".avifs"} == set()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_a_bitmap_without_its_files_header_is_the_same_picture(mode):
    image = Image.linear_gradient("L").resize((40, 30)).convert(mode)
    files = {}
    for kind in ("BMP", "DIB"):
        file = io.BytesIO()
        image.save(file, kind)
        files[kind] = file.getvalue()
    found, expected = (open_image(data, ImageOptions()) for data in (files["DIB"], files["BMP"]))
    assert (found.mode, found.tobytes()) == (expected.mode, expected.tobytes())
    assert refusal(files["DIB"][:60])[0] is FailureCode.DAMAGED


@pytest.mark.parametrize("start", [40, 12, 124])
def test_numbers_that_look_like_a_bitmaps_start_are_no_image(start):
    data = start.to_bytes(4, "little") + bytes(range(9, 200))
    assert refusal(data)[0] is FailureCode.NOT_AN_IMAGE
