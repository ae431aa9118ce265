"""Pictures that are like none of an adapter's: which ways there are to tell them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipcli.heads.densities import Density

DENSITIES = {
    "knn": "clipcli.heads.densities:NearestNeighbours",
    "mahalanobis": "clipcli.heads.densities:Mahalanobis",
}
"""Name -> the class of it, as `module:class`, imported when it is asked for; the default first.

A new one is a class that is made of `(pictures, truth)` and is a `Density`, and a line here.
"""


def density(name: str) -> type[Density]:
    """One of `DENSITIES`."""
    from importlib import import_module

    module, _, kind = DENSITIES[name].partition(":")
    found: type[Density] = getattr(import_module(module), kind)
    return found
