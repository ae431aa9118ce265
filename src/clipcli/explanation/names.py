"""What the pictures of an explanation are called."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

FIGURE_FILE = "explanation.png"

_LONGEST_NAME = 40


def file_name(rank: int, label: str) -> str:
    """A name for a label's file: its rank, and of its text what every file system takes.

    Labels may hold slashes, dots and control characters; the rank tells apart what is left.
    """
    plain = unicodedata.normalize("NFKC", label)
    words = re.sub(r"[\W_]+", "-", plain).strip("-").lower()
    return f"{rank:02}-{words[:_LONGEST_NAME].strip('-') or 'label'}.png"


def file_names(labels: Iterable[str], top_k: int) -> list[str]:
    """All names that pictures may have, whichever of the labels are the best.

    Args:
        labels: to choose from.
        top_k: how many have a picture.
    """
    labels = tuple(labels)
    return [FIGURE_FILE, *(file_name(1 + k, label) for k in range(top_k) for label in labels)]
