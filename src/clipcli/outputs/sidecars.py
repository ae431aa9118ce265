"""XMP sidecars: the answer as a keyword beside each picture, for programs that show pictures.

A sidecar is `photo.jpg.xmp`, as darktable and digiKam name it; one that is there as `photo.xmp`, as
Lightroom names it, is used where no other file can be meant by it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli.disk.atomic import NewFile, cannot_write, open_own
from clipcli.errors import DISK_FULL
from clipcli.heads.results import Prediction, Result
from clipcli.outputs.xmp import HIERARCHY, SUBJECT, Keywords, merged, new_packet
from clipcli.printable import printable

if TYPE_CHECKING:
    from clipcli.outputs.telling import Teller

RIVAL = 0.1
"""The least probability of a label that is a keyword without being the answer."""

_ENDING = ".xmp"
# The parent of all keywords in Lightroom's tree: what a machine found is told from one's own words.
_PARENT = "clipcli"
_MOST_BYTES = 1 << 24

Naming = Callable[[str], str]
"""A sidecar's path, of its picture's."""


def own_sidecars(picture: str) -> list[tuple[str, Naming]]:
    """The sidecars that a picture has, and how each is named."""
    found: list[tuple[str, Naming]] = []
    if os.path.lexists(_full(picture)):
        found.append((_full(picture), _full))
    if os.path.lexists(_short(picture)) and _is_alone(picture):
        found.append((_short(picture), _short))
    return found


def keywords(result: Prediction, shown: int | None) -> Keywords:
    """The answer, and those of the shown labels that are nearly as probable; without one, none."""
    if result.answer is None:
        return {}
    labels = [
        score.label
        for score in result.scores[:shown]
        if score.label == result.answer or score.probability >= RIVAL
    ]
    words = [word for label in labels if (word := printable(label).strip())]
    # In a tree, a bar would begin a branch.
    branches = [f"{_PARENT}|{word.replace('|', '/')}" for word in words]
    return {SUBJECT: words, HIERARCHY: branches}


@dataclass
class SidecarWriter:
    """A writer of sidecars: their keywords are added to, and all else in them stays.

    Attributes:
        shown: most labels to be keywords; None for all.
        teller: is told of what could not be written.
        dry_run: what would happen is told, and nothing is touched.
    """

    shown: int | None
    teller: Teller
    dry_run: bool = False
    _count: int = field(default=0, init=False)

    def begin(self) -> None:
        """Do nothing: each sidecar is whole by itself."""

    def write(self, result: Result) -> None:
        """Write one picture's sidecar, or tell why it stays as it is.

        Raises:
            ClipcliError: the disk takes no more.
        """
        words = keywords(result, self.shown) if isinstance(result, Prediction) else {}
        if not words or result.path is None or not os.path.isfile(result.path):
            return
        picture = str(result.path)
        sidecar = next((path for path, _ in own_sidecars(picture)), _full(picture))
        try:
            self._write(Path(sidecar), words, result.name)
        except ValueError as error:
            self.teller.trouble(sidecar, f"stays as it is: {error}")
        except OSError as error:
            if error.errno in DISK_FULL:
                raise cannot_write(sidecar, error) from error
            self.teller.trouble(sidecar, f"cannot be written ({error.strerror})")

    def end(self) -> None:
        """Tell how many there are."""
        is_would = "would be " * self.dry_run
        self.teller.hint(f"{self._count:,} sidecars {is_would}written")

    def _write(self, sidecar: Path, words: Keywords, name: str) -> None:
        is_there = os.path.lexists(sidecar)
        old = _read(sidecar) if is_there else b""
        # An empty one is as good as none.
        new = merged(old, words) if old else new_packet(words)
        if new == old:
            return
        self._count += 1
        if self.dry_run:
            self.teller.told(name, f"keywords would be written to {sidecar}: {_listed(words)}")
            return
        with NewFile(sidecar) as beside, open_own(beside, "wb") as file:
            file.write(new)
            if is_there:
                shutil.copymode(sidecar, beside)


def _listed(words: Keywords) -> str:
    return ", ".join(words[SUBJECT])


def _read(sidecar: Path) -> bytes:
    """What a sidecar holds.

    Raises:
        ValueError: it is a link, whose target is not to be changed, no file, or too large.
        OSError: it cannot be read.
    """
    if sidecar.is_symlink() or not sidecar.is_file():
        raise ValueError("it is no file of its own")
    with sidecar.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
    return data


def _full(picture: str) -> str:
    return picture + _ENDING


def _short(picture: str) -> str:
    return os.path.splitext(picture)[0] + _ENDING


def _is_alone(picture: str) -> bool:
    """Whether no other file has a picture's name with another ending: a RAW photo, a second one."""
    folder, name = os.path.split(picture)
    stem = os.path.splitext(name)[0]
    try:
        with os.scandir(folder or os.curdir) as entries:
            return not any(
                entry.name not in (name, stem + _ENDING) and os.path.splitext(entry.name)[0] == stem
                for entry in entries
            )
    except OSError:
        return False
