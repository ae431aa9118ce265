"""Text files as people's programs write them."""

from __future__ import annotations

import codecs
import re

# Longest first: UTF-32's mark begins with UTF-16's.
MARKS: dict[bytes, str] = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
"""Byte order marks, and the encodings that they say."""

# Tabs and line ends aside, no text that somebody typed holds them.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

LONGEST_MARK = 4
"""Bytes of the longest mark that says how a text is encoded."""


def marked_encoding(data: bytes) -> str | None:
    """The encoding that a text's first bytes say (a byte order mark), if they say one."""
    return next((name for mark, name in MARKS.items() if data.startswith(mark)), None)


def decode_text(data: bytes) -> str:
    """Text of a file: UTF-8, or what its byte order mark says.

    Raises:
        ValueError: it is neither.
    """
    encoding = marked_encoding(data) or "utf-8"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.removesuffix("-sig").upper()
        raise ValueError(f"not {name} text") from error


def decode_typed(data: bytes) -> str:
    """Text that somebody may have typed, without control characters but tabs and line ends.

    Raises:
        ValueError: it is no text; the message says why, and at which line.
    """
    text = decode_text(data)
    found = _CONTROLS.search(text)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        hint = ": UTF-16 without its mark?" if found[0] == "\0" else ""
        raise ValueError(f"no text: line {line} holds the byte {ord(found[0]):#04x}{hint}")
    return text
