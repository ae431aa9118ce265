"""Rows of embeddings: images that have them, in blocks, and what a row must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clipcli.arrays import Float32
from clipcli.errors import InputError
from clipcli.images.sources import ImageRef
from clipcli.images.views import Sight

_UNIT_TOLERANCE = (
    1e-3  # of a squared length: an engine's own rounding and this sum's are below 1e-5
)


@dataclass(frozen=True, eq=False)
class Block:
    """Images that went through an engine together, or that a file of embeddings gives together.

    Attributes:
        refs: n images.
        embeddings: unit rows of shape (n, embed_dim); a failure's row means nothing. None where
            nothing could be read.
        failures: why an image has no embedding, by its place in the block.
        sights: how an image was seen, by its place, where that is worth telling.
    """

    refs: Sequence[ImageRef]
    embeddings: Float32 | None
    failures: Mapping[int, InputError] = field(default_factory=dict)
    sights: Mapping[int, Sight] = field(default_factory=dict)


def unit_rows(rows: Float32) -> NDArray[np.bool_]:
    """Which rows of an array, shape (n, embed_dim), are finite and of length 1."""
    with np.errstate(all="ignore"):  # what is not finite is found, not warned of
        squared = np.einsum("nd,nd->n", rows, rows)
        is_unit: NDArray[np.bool_] = np.abs(squared - 1) < _UNIT_TOLERANCE
        return is_unit


def check_rows(refs: Sequence[ImageRef], rows: Float32) -> None:
    """See that what was read can be embeddings.

    Raises:
        ValueError: a row is not of length 1, or not even finite.
    """
    wrong = np.flatnonzero(~unit_rows(rows))
    if len(wrong):
        ref = refs[wrong[0]]
        raise ValueError(f"the embedding of image {ref.index} ({ref.name}) is not of length 1")
