"""Names of files and folders that every file system takes, made of whatever text there is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from unicodedata import normalize

LONGEST_NAME = 255
"""Bytes of a name, in UTF-8, which no usual file system exceeds."""

# What Windows refuses, what separates folders, controls, marks that turn text, lone surrogates.
_UNSAFE = re.compile(
    '[<>:"/\\\\|?*\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffe\uffff'
    "\ud800-\udfff]"
)
# Devices of Windows, whatever follows behind a dot; in any case of letters.
_DEVICES = re.compile(
    r"(?P<device>con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\u00b9\u00b2\u00b3])"
    r"(?P<rest> *(?:\.|$).*)",
    re.IGNORECASE | re.DOTALL,
)
# Dots and blanks at an end, which Windows leaves out.
_ENDS = " .\t\u00a0\u3000"
# Room for what tells a name from another: a hyphen and a number.
_ROOM = 8


def safe_name(text: str) -> str:
    """A name for a folder, made of a text: never empty, hidden, reserved or too long.

    Args:
        text: any text, lone surrogates of undecodable bytes included.
    """
    name = _UNSAFE.sub("_", normalize("NFC", text)).strip()
    name = _cut(name, LONGEST_NAME - _ROOM).rstrip(_ENDS)
    if name.startswith("."):
        name = "_" + name[1:]
    if device := _DEVICES.fullmatch(name):
        name = f"{device['device']}_{device['rest'].lstrip(' ')}"
    return name or "_"


def same_name(name: str) -> str:
    """What two names have in common that some file system takes for one.

    Case is folded and accents are composed, as APFS, NTFS and FAT compare names.
    """
    return normalize("NFC", normalize("NFD", name).casefold())


def folder_names(texts: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """A folder's name for each text, no two of which any file system takes for one.

    Args:
        texts: in an order; of those that would share a name, later ones get a number.
        taken: names that are somebody else's.
    """
    given = {same_name(name) for name in taken}
    names: dict[str, str] = {}
    for text in texts:
        plain, number = safe_name(text), 1
        name = plain
        while same_name(name) in given:
            number += 1
            name = f"{plain}-{number}"
        given.add(same_name(name))
        names[text] = name
    return names


def numbered(name: str, number: int) -> str:
    """A file's name with a number before its ending: `cat-2.jpg`; the first keeps its name.

    Where that is too long, the name loses characters before the number.
    """
    if number == 1:
        return name
    stem, ending = os.path.splitext(name)
    ending = _cut(ending, LONGEST_NAME // 2)
    told = f"-{number}{ending}"
    return _cut(stem, LONGEST_NAME - len(os.fsencode(told))) + told


def _cut(text: str, size: int) -> str:
    """The beginning of a text that takes so many bytes, cut between characters."""
    data = text.encode("utf-8", "surrogatepass" if os.name == "nt" else "surrogateescape")
    if len(data) <= size:
        return text
    # A character has three bytes behind its first, at most: more are no character's.
    for _ in range(3):
        size -= size > 0 and data[size] & 0xC0 == 0x80
    return data[:size].decode("utf-8", "surrogateescape")
