"""Text that a terminal shows and does not obey."""

from __future__ import annotations

import re
import unicodedata
from itertools import accumulate

# C0 and C1 controls, and the marks that turn the direction of text.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_SURROGATES = re.compile("[\ud800-\udfff]")


def printable(text: str) -> str:
    """Text with its control characters escaped and its undecodable bytes replaced."""
    text = _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
    return valid_unicode(text)


def valid_unicode(text: str) -> str:
    """Text with U+FFFD in place of bytes that are no characters."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:
        # No file system gives these, but a program's own text may hold any half of a pair.
        return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def width(text: str) -> int:
    """Columns that a terminal takes for text: two for wide characters, none for combining ones.

    Wide is what Unicode's Standard Annex 11 (East Asian Width) calls so. Joined emoji count as
    their parts, which is how most terminals draw them.
    """
    return sum(map(_columns, text))


def shortened(text: str, columns: int) -> str:
    """Text of at most so many columns; where some is cut off, it ends with an ellipsis."""
    if width(text) <= columns:
        return text
    fitting = sum(end < columns for end in accumulate(map(_columns, text)))
    return text[:fitting] + "…"


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
