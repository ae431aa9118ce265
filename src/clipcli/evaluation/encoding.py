"""Embeddings of a data set's images, whole in memory: each image is read once for a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clipcli.arrays import Float32
from clipcli.errors import InputError
from clipcli.runs.pipeline import encode

if TYPE_CHECKING:
    from clipcli.engines.base import Engine
    from clipcli.images.sources import ImageRef
    from clipcli.images.views import Sight
    from clipcli.runs.options import PipelineOptions


@dataclass(frozen=True, eq=False)
class Encoded:
    """Images that have gone through a model.

    Attributes:
        embeddings: unit rows of shape (n, embed_dim); a failure's row means nothing.
        failures: why an image has no embedding, by its place among the n.
        sights: how an image was seen, by its place, where that is worth telling.
    """

    embeddings: Float32
    failures: Mapping[int, InputError]
    sights: Mapping[int, Sight]


def encode_images(
    refs: Sequence[ImageRef],
    engine: Engine,
    options: PipelineOptions,
    tell: Callable[[ImageRef, InputError | None], None] = lambda _ref, _error: None,
) -> Encoded:
    """Read and embed images.

    Args:
        refs: n images, with an index of their own each.
        engine: the model.
        options: how images are read; results come in input order.
        tell: is called for each image when it is done, with its failure if it has one.
    """
    # All in memory, unlike a run's: a bootstrap and every set of prompts go over them again.
    embeddings = np.zeros((len(refs), engine.info.embed_dim), np.float32)
    failures: dict[int, InputError] = {}
    sights: dict[int, Sight] = {}
    start = 0
    for block in encode(refs, engine, options):
        end = start + len(block.refs)
        # Blocks count from their own beginning, whoever evaluates from the data set's.
        failures |= {start + place: error for place, error in block.failures.items()}
        sights |= {start + place: sight for place, sight in block.sights.items()}
        if block.embeddings is not None:
            embeddings[start:end] = block.embeddings
        for place, ref in enumerate(block.refs, start):
            tell(ref, failures.get(place))
        start = end
    return Encoded(embeddings, failures, sights)
