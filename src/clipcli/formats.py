"""Which image formats are opened, and what to say of bytes that are of none of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from clipcli.errors import FailureCode, InputError

# JPEG stands for MPO, too. Never EPS, PSD, FITS and the like: their decoders run programs, or
# hardly anyone looks at them.
USUAL_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
EXTRA_FORMATS = {"tiff": "TIFF", "avif": "AVIF", "jpeg2000": "JPEG2000"}

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_SIGNATURES = (
    (re.compile(rb"\s*<(!doctype html|html|head|body)", re.IGNORECASE), "an HTML page"),
    (re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<svg", re.IGNORECASE), "an SVG drawing"),
    (re.compile(rb"%PDF-"), "a PDF document"),
    (re.compile(rb"PK\x03\x04"), "a ZIP archive"),
    (re.compile(rb"\x1f\x8b"), "a gzip archive"),
    (re.compile(rb"....ftyp(isom|mp4|M4V|qt)", re.DOTALL), "a video"),
    (re.compile(rb"\x1aE\xdf\xa3"), "a video"),
    (re.compile(rb"8BPS"), "a Photoshop document"),
    (re.compile(rb"%!PS"), "a PostScript document"),
)
_USUAL_SIGNATURES = (
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"\x89PNG"), "PNG"),
    (re.compile(rb"GIF8[79]a"), "GIF"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WEBP"),
)
_OPTIONAL_SIGNATURES = (
    (re.compile(rb"II\*\x00|MM\x00\*|II\+\x00|MM\x00\+"), "tiff"),
    (re.compile(rb"....ftyp(avif|avis)", re.DOTALL), "avif"),
    (re.compile(rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51"), "jpeg2000"),
)


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
    return data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS


def explain_unreadable(data: bytes, extra: Sequence[str]) -> InputError:
    """What these bytes are, given that no allowed decoder knew them.

    Args:
        data: the encoded image.
        extra: the formats beyond the usual ones that were allowed.
    """
    if is_heif(data):
        return _unreadable_heif()
    for signature, name in _OPTIONAL_SIGNATURES:
        if signature.match(data) and name not in extra:
            message = f"a {name.upper()} image: add --allow-format {name} to read it"
            return InputError(FailureCode.UNSUPPORTED_FORMAT, message)
    for signature, name in (*_USUAL_SIGNATURES, *_OPTIONAL_SIGNATURES):
        if signature.match(data):
            message = f"a damaged image (its {name.upper()} header cannot be read)"
            return InputError(FailureCode.DAMAGED, message)
    return InputError(FailureCode.NOT_AN_IMAGE, f"not an image ({_looks_like(data[:2048])})")


def _unreadable_heif() -> InputError:
    if _register_heif():
        return InputError(FailureCode.DAMAGED, "a damaged HEIC photo")
    way_out = "install the extra 'heif' (pip install 'clipcli[heif]') to read it"
    return InputError(FailureCode.UNSUPPORTED_FORMAT, f"a HEIC photo: {way_out}")


def _looks_like(start: bytes) -> str:
    for signature, kind in _SIGNATURES:
        if signature.match(start):
            return f"it looks like {kind}"
    if b"\0" in start:
        return "unknown binary data"
    try:
        start[:-3].decode() if len(start) > 3 else start.decode()
    except UnicodeDecodeError:
        return "unknown binary data"
    return "it looks like text"


@cache
def _register_heif() -> bool:
    """Make pillow-heif known to Pillow, where it is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True
