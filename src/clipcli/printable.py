"""Text that a terminal shows and does not obey."""

from __future__ import annotations

import re

# C0 and C1 controls, and the marks that turn the direction of text.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Text with its control characters escaped and its undecodable bytes replaced."""
    text = _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
    return valid_unicode(text)


def valid_unicode(text: str) -> str:
    """Text with U+FFFD in place of bytes that are no characters."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
