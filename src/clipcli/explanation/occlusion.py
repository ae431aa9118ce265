"""What a score loses where a part of the image is covered; works with every engine."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from clipcli.arrays import Float32, Float64

if TYPE_CHECKING:
    from clipcli.engines.base import Engine


# A patch must hide a thing, not a part of it, or the model still knows it by the rest. Of patches
# of a tenth, 0.3 and half of a side, on pictures made of two photos, 0.3 missed no half.
_PATCH_SHARE = 0.3


def occlusion_maps(
    engine: Engine, pixels: Float32, directions: Float64, grid: int, batch_size: int
) -> Float64:
    """Cover the image place by place, and see what its scores lose (Zeiler & Fergus, ECCV 2014).

    A patch of the data set's mean colour, which is 0 in the model's input, is moved over a grid;
    neighbouring patches overlap. A blurred copy in its place told less: a cup stays a cup.

    Args:
        engine: the model.
        pixels: one preprocessed image, shape (3, height, width).
        directions: whose product with the unit embedding is a score, shape (n, embed_dim).
        grid: places a side; the model runs grid * grid + 1 times.
        batch_size: images in one run of the engine.

    Returns:
        How much each score falls, negative where it rises, shape (n, grid, grid).
    """
    whole = engine.encode_images(pixels[None])
    covered = _covered(pixels, grid)
    rows = []
    while batch := list(islice(covered, batch_size)):
        rows.append(engine.encode_images(np.stack(batch)))
    # In double precision: the differences are small beside the scores.
    lost = whole.astype(np.float64) - np.concatenate(rows)
    return (directions @ lost.T).reshape(-1, grid, grid)


def _covered(pixels: Float32, grid: int) -> Iterator[Float32]:
    """The image with each place covered, row by row."""
    down, across = _patches(pixels.shape[1], grid), _patches(pixels.shape[2], grid)
    for rows in down:
        for columns in across:
            covered = pixels.copy()
            covered[:, rows, columns] = 0
            yield covered


def _patches(length: int, grid: int) -> list[slice]:
    """For each place of a side, the pixels that its patch covers; cut off at the borders."""
    # An odd number of places has one in its middle.
    around = round((_PATCH_SHARE * grid - 1) / 2)
    edges = np.linspace(0, length, grid + 1).round().astype(int).tolist()
    return [
        slice(edges[max(0, place - around)], edges[min(grid, place + around + 1)])
        for place in range(grid)
    ]
