"""Labels that are one and the same text to the model, however differently they are written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from clipcli.arrays import Float32
from clipcli.engines.prompts import tokenize

if TYPE_CHECKING:
    from clipcli.engines.base import Engine

# Equal texts that were encoded in other company differ in the seventh digit.
_EQUAL = 1e-5
# Of neighbours in the order below: unequal labels may come to lie between equal ones.
_NEIGHBOURS = 8


def labels_alike(
    engine: Engine, names: Sequence[str], prompts: Sequence[Sequence[str]], embeddings: Float32
) -> tuple[tuple[str, ...], ...]:
    """Groups of labels whose prompts are the same tokens: `Cat` and `cat`, `é` in two spellings.

    Args:
        engine: the model.
        names: of L labels.
        prompts: those of each label.
        embeddings: of the labels, unit rows of shape (L, embed_dim).

    Returns:
        Each group in the order of the labels; labels that are like no other are in none.
    """
    groups: dict[frozenset[bytes], list[str]] = defaultdict(list)
    # The embeddings are there, the tokens may not be: where labels come from the cache, a start is
    # spared the tokenizer.
    for place in _close_rows(embeddings):
        ids = tokenize(engine, prompts[place]).ids
        groups[frozenset(row.tobytes() for row in ids)].append(names[place])
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _close_rows(embeddings: Float32) -> list[int]:
    """Places of rows that are nearly equal to another, in order.

    Equal rows lie beside each other when all are sorted by their product with any one vector, which
    takes no time even for many thousands.
    """
    products = embeddings @ np.cos(np.arange(embeddings.shape[1], dtype=np.float32))
    order = np.argsort(products, kind="stable")
    found: set[int] = set()
    for distance in range(1, min(_NEIGHBOURS, len(order) - 1) + 1):
        left, right = order[:-distance], order[distance:]
        near = products[right] - products[left] < _EQUAL * embeddings.shape[1]
        left, right = left[near], right[near]
        equal = np.abs(embeddings[left] - embeddings[right]).max(axis=1, initial=0) < _EQUAL
        found.update(left[equal].tolist(), right[equal].tolist())
    return sorted(found)
