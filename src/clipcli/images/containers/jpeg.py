"""JPEG files (ITU-T T.81): the first image, and what says how to show it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from clipcli.images.containers.base import Bare

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_APP0, _APP1, _APP2, _APP14, _APP15, _COMMENT = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE
# Markers without a segment behind them: TEM, and those that restart.
_ALONE = {0x01, *range(0xD0, 0xD8)}
# So much of their segments libjpeg wants to see before it takes a file's word for its colours.
_SPEAKING = {(_APP0, b"JFIF\0"): 14, (_APP14, b"Adobe"): 12}

_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_PROFILE = b"ICC_PROFILE\0"

# Start of frame (T.81, table B.1) -> what its kind is called, where not every decoder has it.
_FRAMES = {
    **dict.fromkeys((0xC0, 0xC1, 0xC2), ""),
    **dict.fromkeys((0xC3, 0xCB), "lossless "),
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical "),
    **dict.fromkeys((0xC9, 0xCA), "arithmetic-coded "),
    0xDE: "hierarchical ",
}
_JPEG_LS = 0xF7

END = b"\xff\xd9"
# A marker within the data of scans: neither a byte 0xFF, nor a restart.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_PROGRESSIVE = (0xC2, 0xCA)
_COEFFICIENTS = 64


@dataclass
class _Parts:
    """What has been found on the way to the first scan."""

    kept: list[bytes] = field(default_factory=lambda: [b"\xff\xd8"])
    exif: bytes = b""
    xmp: bytes = b""
    profile: dict[int, bytes] = field(default_factory=dict)
    profile_parts: int = 0
    unusual: str = ""

    def take(self, marker: int, segment: bytes) -> None:
        """Keep a segment that a decoder needs, or what it says; `segment` is without its length."""
        if marker == _APP1 and segment.startswith(_EXIF):
            self.exif += segment if not self.exif else segment[len(_EXIF) :]
        elif marker == _APP1 and segment.startswith(_XMP):
            self.xmp = self.xmp or segment[len(_XMP) :]
        elif marker == _APP2 and segment.startswith(_PROFILE) and len(segment) > 14:
            number, self.profile_parts = segment[12], segment[13]
            self.profile.setdefault(number, segment[14:])
        if _APP0 <= marker <= _APP15 or marker == _COMMENT:
            least = (n for (m, name), n in _SPEAKING.items() if (m, name) == (marker, segment[:5]))
            if len(segment) < next(least, len(segment) + 1):
                return
        if marker in _FRAMES or marker == _JPEG_LS:
            self.unusual = self.unusual or _unusual_frame(marker, segment)
        self.kept.append(
            bytes((0xFF, marker)) + (len(segment) + 2).to_bytes(2) + segment,
        )

    def bare(self) -> Bare:
        """The file without the rest."""
        info = {"exif": self.exif, "xmp": self.xmp, "icc_profile": self._whole_profile()}
        told = {name: data for name, data in info.items() if data}
        return Bare(b"".join(self.kept), told, self.unusual, self.unusual)

    def _whole_profile(self) -> bytes:
        parts = [self.profile.get(number) for number in range(1, self.profile_parts + 1)]
        return b"".join(part for part in parts if part) if all(parts) else b""


def bare_jpeg(data: bytes) -> Bare:
    """The first image, with its EXIF, XMP and profile beside it.

    Of an MPO file that is everything but the first image's own.
    """
    parts = _Parts()
    place = 2
    for marker, start, end in _segments(data):
        place = start - 2
        if marker in (_SOI, _EOI, _SOS):
            break
        length_bytes = data[start : start + 2]
        segment = data[start + 2 : end]
        if len(length_bytes) < 2 or end > len(data):
            break
        parts.take(marker, segment)
        place = end
    parts.kept.append(data[place:])
    return parts.bare()


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment from the second on, lengths included.

    A length that is none at all (0 or 1) counts as 2; what is between segments is passed over.
    """
    place = 2
    while (place := data.find(b"\xff", place)) >= 0 and place + 1 < len(data):
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
        elif marker == 0 or marker in _ALONE:
            place += 2
        else:
            start = place + 2
            place = start + max(2, int.from_bytes(data[start : start + 2]))
            yield marker, start, place


def _unusual_frame(marker: int, segment: bytes) -> str:
    """What kind of JPEG a frame makes it; empty for the kinds that everybody has."""
    if marker == _JPEG_LS:
        return "a JPEG-LS image"
    if len(segment) < 6:
        return ""
    bits, height, components = segment[0], int.from_bytes(segment[1:3]), segment[5]
    kind = _FRAMES[marker]
    if bits != 8:
        kind = f"{bits}-bit {kind}"
    elif not kind and components not in (1, 3, 4):
        return f"a JPEG image of {components} components"
    elif not kind and height == 0:
        return "a JPEG image that tells its height behind its pixels"
    return f"{'an' if kind[:1] in 'a8' else 'a'} {kind}JPEG image" if kind else ""


def without_torn_segment(data: bytes) -> bytes:
    """A file that ends early, without the segment in which it may end."""
    for _, start, end in _marked(data):
        if end > len(data):
            return data[: start - 2]
    return data


def scans_are_complete(data: bytes) -> bool:
    """Whether a file has begun with each scan that its image needs, to the last bit of each number.

    A progressive image is whole in little detail after its first scan (T.81, annex G).
    """
    is_progressive, wanted = False, set[tuple[int, int]]()
    for marker, start, end in _marked(data):
        body = data[start + 2 : end]
        if marker in _FRAMES and len(body) > 5:
            is_progressive = marker in _PROGRESSIVE
            numbers = range(_COEFFICIENTS if is_progressive else 1)
            components = [body[at] for at in range(6, min(len(body), 6 + 3 * body[5]), 3)]
            wanted = {(component, number) for component in components for number in numbers}
        elif marker == _SOS and body:
            wanted -= set(_final(body, is_progressive=is_progressive))
    return not wanted


def _marked(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment up to the image's end, those between scans included."""
    place = 2
    while (match := _MARKER.search(data, place)) and match[1][0] != _EOI:
        start = match.end()
        place = start + max(2, int.from_bytes(data[start : start + 2]))
        yield match[1][0], start, place


def _final(scan: bytes, *, is_progressive: bool) -> Iterator[tuple[int, int]]:
    """Components and numbers of their coefficients that nothing is to be added to any more."""
    components = [scan[at] for at in range(1, min(len(scan), 1 + 2 * scan[0]), 2)]
    first, last, precision = (*scan[1 + 2 * scan[0] :][:3], 0, 0, 0)[:3]
    if not is_progressive:
        yield from ((component, 0) for component in components)
    elif precision & 15 == 0:  # the point transform: bits that are left for later
        yield from (
            (component, number) for component in components for number in range(first, last + 1)
        )
