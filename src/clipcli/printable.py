"""Text that a terminal shows and does not obey."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import accumulate

# C0 and C1 controls, and the marks that turn the direction of text.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_SURROGATES = re.compile("[\ud800-\udfff]")


def printable(text: str) -> str:
    """Text with its control characters escaped and its undecodable bytes replaced."""
    return valid_unicode(escaped(text))


def escaped(text: str, *, keep: str = "") -> str:
    r"""Text with its control characters escaped as in Python: `\t`, `\x1b`, `\u202e`.

    Args:
        text: as it is.
        keep: control characters that stay.
    """
    return _CONTROLS.sub(
        lambda match: match[0] if match[0] in keep else match[0].encode("unicode_escape").decode(),
        text,
    )


def valid_unicode(text: str) -> str:
    """Text with U+FFFD in place of bytes that are no characters."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:
        # No file system gives these, but a program's own text may hold any half of a pair.
        return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def width(text: str) -> int:
    """Columns that a terminal takes for text without control characters, as `wcwidth` counts them.

    Wide characters take two, combining ones none, and an emoji of several joined ones two in all.
    """
    # Most labels are ASCII, and spare a start the import.
    return len(text) if text.isascii() else sum(map(_columns, _characters(text)))


def shortened(text: str, columns: int) -> str:
    """Text of at most so many columns; where some is cut off, it ends with an ellipsis."""
    if width(text) <= columns:
        return text
    characters = list(_characters(text))
    fitting = sum(end < columns for end in accumulate(map(_columns, characters)))
    return "".join(characters[:fitting]) + "…"


def _characters(text: str) -> Iterable[str]:
    """What readers take for characters: a letter with its accents, a whole emoji."""
    if text.isascii():
        return text
    from wcwidth import iter_graphemes

    return iter_graphemes(text)


def _columns(character: str) -> int:
    if character.isascii():
        return len(character)
    from wcwidth import wcswidth

    return max(0, wcswidth(character))  # below 0 for control characters, which nobody prints
