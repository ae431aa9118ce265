"""What a terminal can show: its size, and how it shows pictures."""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

from clipcli.outputs.terminal.pictures import CELL, Graphics

# Terminals answer within a few milliseconds, over a slow line within some hundred; a later answer
# would be read by the shell. Those that never answer cost this much, once.
_ANSWER_SECONDS = 0.5
_LONGEST_ANSWER = 256

# Primary Device Attributes, which every terminal since the VT100 knows (ECMA-48, 8.3.24). Among
# the answer's numbers a 4 means sixel (xterm's ctlseqs). What fewer know is not asked: it would
# be printed by the others.
_QUESTION = b"\x1b[c"
_ANSWER = re.compile(rb"\x1b\[\?([0-9;]*)c")
_SIXEL = b"4"

_BY_TERM = {"xterm-kitty": Graphics.KITTY, "xterm-ghostty": Graphics.KITTY}
_BY_PROGRAM = {
    "iTerm.app": Graphics.ITERM2,
    "WezTerm": Graphics.ITERM2,
    "mintty": Graphics.ITERM2,
}


@dataclass(frozen=True)
class Screen:
    """A terminal that shows pictures.

    Attributes:
        graphics: how it shows them.
        columns: of cells.
        cell: width and height of one, in pixels.
    """

    graphics: Graphics
    columns: int
    cell: tuple[int, int] = CELL


def find_screen(stream: TextIO) -> Screen | None:
    """The terminal behind a stream; None where there is none that shows colours.

    A terminal that does not say by its name what it can is asked, and given half a second.
    """
    environment = os.environ
    # https://no-color.org: set and not empty. A picture of no colours says little.
    if environment.get("NO_COLOR") or environment.get("TERM", "dumb") == "dumb":
        return None
    try:
        if not stream.isatty():
            return None
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return None
    # Some terminals, and all that hide their size, say 0.
    return Screen(_way(stream, environment), columns or 80, _cell(stream.fileno()))


def _way(stream: TextIO, environment: Mapping[str, str]) -> Graphics:
    is_true = environment.get("COLORTERM") in ("truecolor", "24bit")
    blocks = Graphics.TRUE_COLOR if is_true else Graphics.COLORS_256
    term = environment["TERM"]
    # tmux and screen keep other terminals' pictures for themselves or show them as text, and what
    # they pass on of the environment is of a terminal that may be long gone.
    if environment.get("TMUX") or term.startswith(("screen", "tmux")):
        return blocks
    program = environment.get("TERM_PROGRAM") or environment.get("LC_TERMINAL", "")
    named = _BY_TERM.get(term) or _BY_PROGRAM.get(program.replace("iTerm2", "iTerm.app"))
    if named is not None:
        return named
    # The console of Linux and of its kin has no pictures.
    return Graphics.SIXEL if term != "linux" and _has_sixel(stream) else blocks


def _has_sixel(stream: TextIO) -> bool:
    """Ask a terminal; one that does not answer, or must not be asked now, has none."""
    try:
        import termios
        import tty
    except ImportError:  # Windows
        return False
    try:
        # Not by standard input, which may be a list of images.
        file = os.open(os.ttyname(stream.fileno()), os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return False
    try:
        # A job in the background would be stopped; what was typed ahead is the shell's.
        if os.tcgetpgrp(file) != os.getpgrp() or _readable(file, 0):
            return False
        before = termios.tcgetattr(file)
        try:
            tty.setcbreak(file, termios.TCSANOW)
            stream.flush()
            os.write(file, _QUESTION)
            return _SIXEL in _answer(file).split(b";")
        finally:
            termios.tcsetattr(file, termios.TCSANOW, before)
    except (OSError, termios.error):
        return False
    finally:
        os.close(file)


def _answer(file: int) -> bytes:
    """The numbers of a terminal's answer; empty where none comes."""
    said = b""
    end = time.monotonic() + _ANSWER_SECONDS
    while len(said) < _LONGEST_ANSWER and _readable(file, end - time.monotonic()):
        more = os.read(file, _LONGEST_ANSWER)
        if not more:  # the terminal is closed
            break
        said += more
        found = _ANSWER.search(said)
        if found:
            return found[1]
    return b""


def _readable(file: int, seconds: float) -> bool:
    return bool(select.select([file], [], [], max(0, seconds))[0])


def _cell(file: int) -> tuple[int, int]:
    """The pixels of a cell, where the terminal tells its size in pixels."""
    try:
        import fcntl
        import struct
        import termios

        size = fcntl.ioctl(file, termios.TIOCGWINSZ, bytes(8))
    except (ImportError, OSError):
        return CELL
    rows, columns, width, height = struct.unpack("HHHH", size)
    if not (rows and columns and width >= columns and height >= rows):
        return CELL
    return width // columns, height // rows
