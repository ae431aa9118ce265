"""Standard output of a command: how results are written to it."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO


def results_stream() -> TextIO:
    """Standard output, in UTF-8 whatever the locale, able to give back any file's name."""
    stream: Any = sys.stdout
    stream.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")
    result: TextIO = stream
    return result


def wants_color(*, no_color: bool) -> bool:
    """Whether results may have colours: on a terminal that has them, for who does not mind."""
    # https://no-color.org: set and not empty.
    refused = no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not refused
