"""Exact search among stored rows, block by block: what fits a query best, in flat memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from clipcli.arrays import Float32, Float64
from clipcli.embeddings.rows import Block
from clipcli.errors import UsageError
from clipcli.heads.cosines import Cosines
from clipcli.heads.zero_shot import normalise

# Shorter ones are the rounding of vectors that cancel each other.
_SHORTEST_QUERY = 1e-3


@dataclass(frozen=True)
class Hit:
    """A picture that was found.

    Attributes:
        rank: 1 for the best.
        name: as it was embedded.
        similarity: its cosine with the query, in -1..1.
        file: of embeddings that it is from, or the folder that was searched.
        index: its position in the input order of that.
    """

    rank: int
    name: str
    similarity: float
    file: str
    index: int


@dataclass(frozen=True)
class SearchOptions:
    """What counts as found.

    Attributes:
        top_k: hits at most.
        min_similarity: the cosine that a hit has at least.
    """

    top_k: int = 20
    min_similarity: float = -1.0


Sources = Iterable[tuple[str, Iterator[Block]]]
"""Files or folders, each by its name, with its images' rows."""


def query(texts: Float32, images: Float32, unwanted: Float32) -> Float32:
    """The direction that is searched for: what is wanted, less what is not.

    Texts, images and what is unwanted are averaged, each kind for itself, and all averages weigh
    the same, however many there are of a kind.

    Args:
        texts: unit rows of shape (n, embed_dim), where n may be 0.
        images: the same; of both there is at least one row.
        unwanted: the same.

    Returns:
        A unit row, shape (1, embed_dim).

    Raises:
        UsageError: nothing is left of it.
    """
    wanted = [_average(rows) for rows in (texts, images) if len(rows)]
    unwanted_average = [_average(unwanted)] if len(unwanted) else []
    row = np.sum(wanted, axis=0) - np.sum([np.zeros_like(wanted[0]), *unwanted_average], axis=0)
    if np.linalg.norm(row) < _SHORTEST_QUERY:
        raise UsageError("--not takes away all that is searched for: name something else there")
    return normalise(row.astype(np.float32))


def _average(rows: Float32) -> Float32:
    return rows[:1] if len(rows) == 1 else normalise(rows.mean(axis=0, keepdims=True))


def search(sources: Sources, row: Float32, options: SearchOptions) -> list[Hit]:
    """The images whose rows fit a query best; of equal ones those that come first.

    Args:
        sources: all that is searched.
        row: the query, a unit row of shape (1, embed_dim).
        options: what counts as found.

    Raises:
        UsageError: a file is damaged.
    """
    cosines, found = Cosines(row), list[Hit]()
    for file, blocks in sources:
        for block in blocks:
            if block.embeddings is not None:
                values = cosines.of(block.embeddings)[:, 0]
                values[list(block.failures)] = -np.inf
                least = found[-1].similarity if len(found) == options.top_k else -np.inf
                # An equal one comes later, and there are enough already.
                is_better = (values >= options.min_similarity) & (values > least)
                places = np.flatnonzero(is_better)
                order = np.argsort(-values[places], kind="stable")[: options.top_k]
                found += [_hit(block, place, values, file) for place in places[order].tolist()]
                found = sorted(found, key=lambda hit: -hit.similarity)[: options.top_k]
    return [Hit(rank, h.name, h.similarity, h.file, h.index) for rank, h in enumerate(found, 1)]


def _hit(block: Block, place: int, values: Float64, file: str) -> Hit:
    ref = block.refs[place]
    return Hit(0, ref.name, float(values[place]), file, ref.index)
