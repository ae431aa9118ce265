"""Which image formats are opened, and what to say of bytes that are of none of them."""

from __future__ import annotations

import os
import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Sequence
from functools import cache

from clipcli.errors import FailureCode, InputError

# JPEG stands for MPO, too. Never EPS, PSD, FITS and the like: their decoders run programs, or
# hardly anyone looks at them.
USUAL_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
EXTRA_FORMATS = {"tiff": "TIFF", "avif": "AVIF", "jpeg2000": "JPEG2000"}

# Pillow's name -> how names of such files end; folders are searched for these.
_ENDINGS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".pjpeg", ".pjp", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "HEIF": (".heic", ".heif", ".hif"),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"),
}
_EVERY_ENDING = frozenset(ending for endings in _ENDINGS.values() for ending in endings)

START_BYTES = 2048
"""So many of a file's first bytes say what it is."""

StartCheck = Callable[[bytes], None]
"""What is given the first bytes of something, and raises an `InputError` to have it left there."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF = re.compile(rb"....ftyp(....){0,16}?avi[fs]", re.DOTALL)
# Markup may begin with a byte order mark, a declaration and comments.
_MARKUP = rb"(?is)(\xef\xbb\xbf)?\s*(?=<).*?<"
_USUAL_SIGNATURES = (
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"\x89PNG"), "PNG"),
    (re.compile(rb"GIF8[79]a"), "GIF"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WEBP"),
    (re.compile(rb"BM....\0\0\0\0", re.DOTALL), "BMP"),
    (
        re.compile(
            rb"[\x28\x34\x38\x6c\x7c]\0\0\0.{8}\x01\0[\x01\x02\x04\x08\x10\x18\x20]\0", re.S
        ),
        "BMP",
    ),
)
_OPTIONAL_SIGNATURES = (
    (re.compile(rb"(II|MM)(\*\0|\0\*|\+\0|\0\+)"), "tiff"),
    (_AVIF, "avif"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "jpeg2000"),
)
# Other containers than TIFF's of what a sensor saw.
_RAW_PHOTOS = (
    (re.compile(rb"....ftypcrx ", re.DOTALL), "Canon CR3"),
    (re.compile(rb"II....HEAPCCDR", re.DOTALL), "Canon CRW"),
    (re.compile(rb"FUJIFILMCCD-RAW"), "Fujifilm RAF"),
    (re.compile(rb"IIRO|IIRS|MMOR"), "Olympus ORF"),
    (re.compile(rb"IIU\0"), "Panasonic RW2"),
    (re.compile(rb"FOVb"), "Sigma X3F"),
    (re.compile(rb"\0MRM"), "Minolta MRW"),
    (re.compile(rb"IIII.{4}Raw|MMMM.{0,4}Raw", re.DOTALL), "Phase One IIQ"),
)
_TIFF = _OPTIONAL_SIGNATURES[0][0]
# HTML may hold a drawing, so it is looked for first.
_OTHER_FILES = (
    (re.compile(_MARKUP + rb"(!doctype\s+html|html|head|body)\b"), "an HTML page"),
    (re.compile(rb"%PDF-"), "a PDF document"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive"),
    (re.compile(rb"\x1f\x8b"), "a gzip archive"),
    (re.compile(rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI ", re.DOTALL), "a video"),
)
_OTHER_IMAGES = (
    (re.compile(_MARKUP + rb"svg\b"), "an SVG drawing"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL \r\n"), "a JPEG XL image"),
    (re.compile(rb"8BPS"), "a Photoshop document"),
    (re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"), "a PostScript document"),
    (re.compile(rb"SIMPLE  = "), "a FITS image"),
    (re.compile(rb"\x00\x00\x01\x00.\x00", re.DOTALL), "a Windows icon"),
    (re.compile(rb"\x00\x00\x02\x00.\x00", re.DOTALL), "a Windows cursor"),
    (re.compile(rb"P[1-6]\s+(#[^\n]*\n\s*)*\d+\s+\d+\s"), "a Netpbm image"),
    (re.compile(rb"P7\nWIDTH|P[fF]\s+\d+\s+\d+\s"), "a Netpbm image"),
    (re.compile(rb"....ftyp(avci|avcs|j2ki|j2is|jpeg|vvic)", re.DOTALL), "a HEIF image"),
    (re.compile(rb"II\xbc"), "a JPEG XR image"),
    (re.compile(rb"v/1\x01"), "an OpenEXR image"),
    (re.compile(rb"#\?(RADIANCE|RGBE)\n"), "a Radiance HDR image"),
    (re.compile(rb"qoif"), "a QOI image"),
    (re.compile(rb"DDS "), "a DirectDraw surface"),
    (re.compile(rb"gimp xcf"), "a GIMP document"),
    (re.compile(rb"icns"), "an Apple icon"),
    (re.compile(rb"AT&TFORM"), "a DjVu document"),
    (re.compile(rb"\x8a[MJ]NG|\x8b[MJ]NG"), "an MNG or JNG image"),
    (re.compile(rb".{128}DICM", re.DOTALL), "a DICOM image"),
    (re.compile(rb"BPG\xfb"), "a BPG image"),
    (re.compile(rb"FLIF"), "a FLIF image"),
    (re.compile(rb"BA.{12}BM", re.DOTALL), "an OS/2 bitmap array"),
    (re.compile(rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF", re.DOTALL), "a Windows metafile"),
)


def has_image_ending(name: str) -> bool:
    """Whether a file's name ends as those of images do, of formats that need an option too."""
    return os.path.splitext(name)[1].lower() in _EVERY_ENDING


def accept_any(_start: bytes) -> None:
    """A check of first bytes that refuses none."""


def allowed_formats(data: bytes, extra: Sequence[str]) -> list[str]:
    """Pillow's names of the formats that may open these bytes.

    Args:
        data: the encoded image; a HEIC photo needs a plug-in, registered at the first one.
        extra: names out of `EXTRA_FORMATS`.
    """
    formats = [*USUAL_FORMATS, *(EXTRA_FORMATS[name] for name in extra)]
    if is_heif(data) and _register_heif():
        formats.append("HEIF")
    return formats


def is_heif(data: bytes) -> bool:
    """Whether these bytes start as a HEIC or HEIF photo does (ISO/IEC 23008-12)."""
    # `mif1` is any image in such a container; one that says AVIF, too, is that.
    return data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS and not _AVIF.match(data)


def is_tiff(data: bytes) -> bool:
    """Whether these bytes start as a TIFF file does."""
    return _TIFF.match(data) is not None


def refuse_raw(data: bytes) -> None:
    """Refuse a RAW photo, which is its sensor's numbers; its thumbnail is not the photo.

    Raises:
        InputError: it is one.
    """
    for signature, kind in _RAW_PHOTOS:
        if signature.match(data[:64]):
            raise unsupported(f"a RAW photo ({kind})")
    if not is_tiff(data):
        return
    from clipcli.images.containers.tiff import is_raw  # a start is spared it

    if is_raw(data):
        raise unsupported("a RAW photo (DNG, NEF, ARW or another one in a TIFF file)")


def unsupported(kind: str) -> InputError:
    """The failure of an image that is in order and that nothing here decodes."""
    message = f"{kind}: this format is not supported, convert it to PNG or JPEG"
    return InputError(FailureCode.UNSUPPORTED_FORMAT, message)


def damaged(reason: str) -> InputError:
    """The failure of an image whose format is known and whose data is not in order."""
    plain = reason.replace(" (", ", ").replace(")", "")  # within parentheses of our own
    return InputError(FailureCode.DAMAGED, f"a damaged image ({plain})")


def explain_unreadable(data: bytes, extra: Sequence[str]) -> InputError:
    """What these bytes are, given that no allowed decoder knew them.

    Args:
        data: the encoded image.
        extra: the formats beyond the usual ones that were allowed.
    """
    if is_heif(data):
        return _unreadable_heif()
    start = data[:START_BYTES]
    for signature, name in _OPTIONAL_SIGNATURES:
        if signature.match(start) and name not in extra:
            message = f"{_an(name.upper())} image: add --allow-format {name} to read it"
            return InputError(FailureCode.UNSUPPORTED_FORMAT, message)
    for signature, name in (*_USUAL_SIGNATURES, *_OPTIONAL_SIGNATURES):
        if signature.match(start):
            return damaged(f"its {name.upper()} header cannot be read")
    return _unknown(start)


def _an(name: str) -> str:
    return f"an {name}" if name[0] in "AEIOU" else f"a {name}"


def _unreadable_heif() -> InputError:
    if _register_heif():
        return damaged("its HEIF header cannot be read")
    way_out = "install the extra 'heif' (pip install 'clipcli[heif]') to read it"
    return InputError(FailureCode.UNSUPPORTED_FORMAT, f"a HEIC photo: {way_out}")


def _unknown(start: bytes) -> InputError:
    page, *files = _OTHER_FILES
    for signature, kind in (page, *_OTHER_IMAGES, *files):
        if signature.match(start) and (signature, kind) in _OTHER_IMAGES:
            return unsupported(kind)
        if signature.match(start):
            return InputError(FailureCode.NOT_AN_IMAGE, f"not an image (it looks like {kind})")
    kind = "it looks like text" if _is_text(start) else "unknown binary data"
    return InputError(FailureCode.NOT_AN_IMAGE, f"not an image ({kind})")


def _is_text(start: bytes) -> bool:
    try:
        # Incrementally, since the start may end within a character.
        return "\0" not in getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False


@cache
def _register_heif() -> bool:
    """Make pillow-heif known to Pillow, where it is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True
