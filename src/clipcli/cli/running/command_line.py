"""The line that a command was called by, as a shell takes it and others may read it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence

from clipcli.images.sources import public_name
from clipcli.printable import escaped, printable

# Of thousands of names that a shell has put in the place of `photos/*`, these tell enough.
_FIRST, _LAST = 60, 20

# What an address begins with wherever it stands, behind `--proxy=`, too.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:[/\\]*", re.IGNORECASE)
_HIDDEN = "***@"
_UNDECODABLE = re.compile("[\udc80-\udcff]")


def command_line(words: Sequence[str]) -> str:
    """A command line for a shell to take, without passwords, and shortened where it is long.

    Args:
        words: as the program was given them, without its own name.
    """
    shown = [_quoted(_without_passwords(word)) for word in words]
    left_out = len(shown) - _FIRST - _LAST
    if left_out > 1:
        shown[_FIRST:-_LAST] = [f"[… {left_out:,} more …]"]
    return " ".join(["clipcli", *shown])


def _without_passwords(word: str) -> str:
    """A word whose addresses have `***` in the place of user name and password."""
    found = _SCHEME.search(word)
    if found is None or "@" not in word or os.path.lexists(word):
        return word
    address = word[found.start() :]
    public = public_name(address)
    rest = public[len(found[0]) :]
    mark = "" if public == address else _HIDDEN
    return word[: found.end()] + mark + _without_passwords(rest)


def _quoted(word: str) -> str:
    if printable(word) == word:
        return shlex.quote(word)
    # What cannot be seen is written as Bash, Zsh and, from 2024 on, POSIX read it: $'\x1b'.
    visible = escaped(word.replace("\\", r"\\").replace("'", r"\'"))
    as_bytes = _UNDECODABLE.sub(lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", visible)
    return f"$'{printable(as_bytes)}'"
