"""Images of which only names are left: what a file of embeddings knows of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from clipcli.images.sources import ImageRef


@dataclass(frozen=True)
class StoredRefs(Sequence[ImageRef]):
    """Images without a source, each made when it is asked for.

    Attributes:
        names: as they were given.
        indices: their places in the input order.
    """

    names: Sequence[str]
    indices: Sequence[int]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.names)

    @overload
    def __getitem__(self, place: int) -> ImageRef: ...

    @overload
    def __getitem__(self, place: slice) -> StoredRefs: ...

    def __getitem__(self, place: int | slice) -> ImageRef | StoredRefs:
        """One of them, or several."""
        if isinstance(place, slice):
            return StoredRefs(self.names[place], self.indices[place])
        return ImageRef(self.indices[place], self.names[place], b"")


def names_of(refs: Sequence[ImageRef]) -> Sequence[str]:
    """The names of images."""
    return refs.names if isinstance(refs, StoredRefs) else [ref.name for ref in refs]


def indices_of(refs: Sequence[ImageRef]) -> Sequence[int]:
    """The places of images in the input order."""
    return refs.indices if isinstance(refs, StoredRefs) else [ref.index for ref in refs]
