"""Groups of images whose rows are nearly equal: every row is compared with every other."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO

import numpy as np
from numpy.typing import NDArray

from clipcli.arrays import Float32
from clipcli.embeddings.search import Hit, Sources

USUAL_SIMILARITY = 0.97
"""Copies of a photo in another size or quality are above it with the models that were tried."""

_ROWS_AT_ONCE = 1024
# Single precision finds the candidates, double precision judges them.
_MARGIN = 1e-4


def duplicates(sources: Sources, embed_dim: int, similarity: float) -> list[list[Hit]]:
    """Groups of images each of which is as near to another of its group.

    The rows wait in a file without a name: memory holds the names, and some blocks of rows. The
    time grows with the square of the number of images.

    Args:
        sources: all that is searched.
        embed_dim: width of the rows.
        similarity: the least cosine of near-equal images.

    Returns:
        Groups of two or more, in the order of their first images, and so are the images in them;
        a hit's rank is its group's number, its similarity the cosine with the group's first.
    """
    with TemporaryFile() as spool:
        images = list(_kept(sources, spool))
        if not images:
            return []
        spool.flush()
        rows: Float32 = np.memmap(spool, np.float32, "r", shape=(len(images), embed_dim))
        groups = _groups(rows, similarity)
        found = []
        for number, places in enumerate(groups, 1):
            # With itself an image is 1, whatever its last digits are.
            near = [1.0, *(_cosine(rows, places[0], place) for place in places[1:])]
            members = [images[place] for place in places]
            pairs = zip(members, near, strict=True)
            found.append(
                [Hit(number, one.name, value, one.file, one.index) for one, value in pairs]
            )
        return found


@dataclass(frozen=True)
class _Image:
    name: str
    file: str
    index: int


def _kept(sources: Sources, spool: IO[bytes]) -> Iterator[_Image]:
    """Write all rows one behind the other; an image named by several sources counts once."""
    seen = set[str]()
    for file, blocks in sources:
        for block in blocks:
            for place, ref in enumerate(block.refs):
                # Where it is a file, its place tells more than its name.
                name = os.path.realpath(ref.name) if os.path.lexists(ref.name) else ""
                is_new = not name or name not in seen
                if block.embeddings is not None and place not in block.failures and is_new:
                    seen.add(name)
                    spool.write(block.embeddings[place].astype(np.float32).tobytes())
                    yield _Image(ref.name, file, ref.index)


def _groups(rows: Float32, similarity: float) -> list[list[int]]:
    parents = np.arange(len(rows))

    def root(place: int) -> int:
        while parents[place] != place:
            parents[place] = place = int(parents[parents[place]])
        return place

    for first, second in _near(rows, similarity):
        one, other = sorted((root(first), root(second)))
        parents[other] = one
    members = defaultdict[int, list[int]](list)
    for place in range(len(rows)):
        members[root(place)].append(place)
    return [places for places in members.values() if len(places) > 1]


def _near(rows: Float32, similarity: float) -> Iterator[tuple[int, int]]:
    """Pairs of rows whose cosine is as high."""
    starts = range(0, len(rows), _ROWS_AT_ONCE)
    for start in starts:
        block = rows[start : start + _ROWS_AT_ONCE]
        for other in starts[start // _ROWS_AT_ONCE :]:
            products = block @ rows[other : other + _ROWS_AT_ONCE].T
            pairs = np.argwhere(products >= similarity - _MARGIN) + np.array([start, other])
            yield from _judged(rows, pairs[pairs[:, 0] < pairs[:, 1]], similarity)


def _judged(rows: Float32, pairs: NDArray[np.intp], similarity: float) -> Iterator[tuple[int, int]]:
    for first, second in pairs.tolist():
        if _cosine(rows, first, second) >= similarity:
            yield first, second


def _cosine(rows: Float32, first: int, second: int) -> float:
    return float(rows[first].astype(np.float64) @ rows[second].astype(np.float64))
