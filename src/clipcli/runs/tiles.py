"""Embeddings of pictures that are cut into tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from clipcli.arrays import Float32
from clipcli.embeddings.rows import unit_rows
from clipcli.errors import InputError
from clipcli.images.prepared import Prepared
from clipcli.images.preprocessing import normalised

if TYPE_CHECKING:
    from clipcli.engines.base import Engine


def with_tiles(
    rows: Float32, images: Sequence[Prepared | InputError], engine: Engine, batch_size: int
) -> Float32:
    """Embeddings of the first tiles of n images, made those of all of their tiles.

    Each image's other tiles are run by themselves, so that its numbers do not depend on how many
    its neighbours have, and no run is larger than a batch. An image of one tile keeps its row as it
    is: that of the whole.

    Args:
        rows: of the first tiles, shape (n, embed_dim).
        images: with their other tiles, or why there are none.
        engine: the model.
        batch_size: most tiles in one run.

    Returns:
        A copy; rows that are no embeddings stay, or become, not finite.
    """
    rows = rows.copy()
    for place, image in enumerate(images):
        if isinstance(image, Prepared) and len(image.others):
            rows[place] = _averaged([rows[place, None], *_runs(image, engine, batch_size)])
    return rows


def _runs(image: Prepared, engine: Engine, batch_size: int) -> list[Float32]:
    config, others = engine.info.preprocess, image.others
    batches = (others[start : start + batch_size] for start in range(0, len(others), batch_size))
    return [
        engine.encode_images(np.stack([normalised(tile, config) for tile in batch]))
        for batch in batches
    ]


def _averaged(runs: Sequence[Float32]) -> Float32:
    """The mean of unit rows, of length 1 again; not finite where one of them is no embedding."""
    rows = np.concatenate(runs)
    if not unit_rows(rows).all():
        return np.full(rows.shape[1], np.nan, np.float32)
    mean = rows.mean(axis=0, dtype=np.float64)
    with np.errstate(all="ignore"):  # embeddings that cancel each other out are no embedding
        unit: Float32 = (mean / np.linalg.norm(mean)).astype(np.float32)
    return unit
