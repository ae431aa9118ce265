"""An image that is ready for a model."""

from __future__ import annotations

from dataclasses import dataclass

from clipcli.arrays import Float32, UInt8
from clipcli.images.views import Sight


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image that is ready for a model.

    Attributes:
        pixels: normalised, of shape (3, height, width); of a picture in tiles, the first.
        others: the other tiles in RGB, shape (n, height, width, 3), not normalised yet: many wait
            at a time, and so they take a quarter of the memory.
        sight: how much of the picture there is in them.
    """

    pixels: Float32
    others: UInt8
    sight: Sight
