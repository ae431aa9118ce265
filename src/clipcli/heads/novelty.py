"""Pictures that are like none of an adapter's: which ways there are to tell them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from clipcli.arrays import Float32, Float64, Int64

DENSITIES = {
    "knn": "clipcli.heads.densities:NearestNeighbours",
    "mahalanobis": "clipcli.heads.densities:Mahalanobis",
}
"""Name -> the class of it, as `module:class`, imported when it is asked for; the default first.

A new one is a class that is made of `(pictures, truth)` and is a `Density`, and a line here.
"""


class Density(Protocol):
    """What an adapter's pictures say of how usual another one is."""

    def __init__(self, pictures: Float32, truth: Int64) -> None:
        """Learn what the classes look like.

        Args:
            pictures: unit rows, shape (n, d).
            truth: their classes, shape (n,).
        """
        ...

    def score(self, embeddings: Float32) -> Float64:
        """How usual pictures are, the higher the more: shape (m,), of unit rows of shape (m, d)."""
        ...


def density(name: str) -> type[Density]:
    """One of `DENSITIES`."""
    from importlib import import_module

    module, _, kind = DENSITIES[name].partition(":")
    found: type[Density] = getattr(import_module(module), kind)
    return found
