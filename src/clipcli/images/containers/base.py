"""What is left of a file when it has been taken apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Bare:
    """A picture's file without what its pixels do not need.

    Attributes:
        data: for a decoder; the first frame alone.
        info: what of the rest matters (orientation, colours), under Pillow's names and `cicp`.
        unusual: what kind of file it is, where some decoders do not know it; said if it cannot be
            opened.
        coding: the same of its pixels; said if they cannot be decoded.
    """

    data: bytes
    info: Mapping[str, Any] = field(default_factory=dict)
    unusual: str = ""
    coding: str = ""
