"""Which of a data set's pictures are taken: each once, so many of a class, no doubtful ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from clipcli.errors import UsageError
from clipcli.images.dataset import Dataset, file_sha256


@dataclass(frozen=True)
class Selection:
    """n pictures of a data set.

    Attributes:
        data: the pictures, their indexes from 0 on, and their labels.
        sha256: of their files; None where there is no file to read.
        repeated: how many were left out, being there already.
    """

    data: Dataset
    sha256: tuple[str | None, ...]
    repeated: int

    def notes(self) -> list[str]:
        """What whoever gave the pictures should know of them, a line each."""
        notes = []
        if self.repeated:
            what = "picture is" if self.repeated == 1 else "pictures are"
            notes.append(f"{self.repeated:,} {what} there twice or more: each is taken once")
        return notes


def select(data: Dataset, shots: int | None, seed: int) -> Selection:
    """Take each picture once, and of each class no more than are wanted.

    Args:
        data: all pictures.
        shots: of each class; None for all.
        seed: of the draw.

    Raises:
        UsageError: there is one class alone, or a picture is in two classes.
    """
    if len(data.classes) < 2:
        raise UsageError(
            f"there is one class alone, {data.classes[0]!r}: an adapter learns to tell classes"
            " apart; name pictures of two at least"
        )
    sha256 = [file_sha256(ref) for ref in data.refs]
    once = _each_once(data, sha256)
    places = once if shots is None else _drawn(data, once, shots, seed)
    chosen = data.subset(places)
    refs = tuple(replace(ref, index=index) for index, ref in enumerate(chosen.refs))
    kept = tuple(sha256[place] for place in places)
    return Selection(Dataset(refs, chosen.labels), kept, len(data.refs) - len(once))


def _each_once(data: Dataset, sha256: Sequence[str | None]) -> list[int]:
    """Places of the pictures that are not there before.

    Raises:
        UsageError: one is there as something else.
    """
    seen: dict[str, int] = {}
    once = []
    for place, (ref, label, known) in enumerate(zip(data.refs, data.labels, sha256, strict=True)):
        first = seen.setdefault(known or ref.name, place)
        if first == place:
            once.append(place)
        elif data.labels[first] != label:
            raise UsageError(
                f"{data.refs[first].name} and {ref.name} are the same picture, as"
                f" {data.labels[first]!r} and as {label!r}: take one of them away"
            )
    return once


def _drawn(data: Dataset, places: Sequence[int], shots: int, seed: int) -> list[int]:
    random = np.random.default_rng(seed)
    drawn: list[int] = []
    for name in data.classes:
        of_class = [place for place in places if data.labels[place] == name]
        drawn += random.permutation(of_class)[:shots].tolist()
    return sorted(drawn)
