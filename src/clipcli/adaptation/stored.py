"""Embeddings of a data set's pictures out of a file, found by the pictures' paths."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from clipcli.errors import FailureCode, InputError, UsageError
from clipcli.evaluation.encoding import Encoded
from clipcli.images.sources import is_url

if TYPE_CHECKING:
    from clipcli.embeddings.base import EmbeddingsFile
    from clipcli.images.dataset import Dataset
    from clipcli.images.sources import ImageRef

_ROWS_AT_ONCE = 1024


def stored_embeddings(
    file: EmbeddingsFile,
    data: Dataset,
    tell: Callable[[ImageRef, InputError | None], None] = lambda _ref, _error: None,
) -> Encoded:
    """The embeddings of a data set's pictures.

    A picture's path and the one in the file may be written differently, but must lead to one place.

    Args:
        file: of the model.
        data: n pictures, their indexes from 0 on.
        tell: is called for each of them, with its failure if it is not in the file.

    Raises:
        UsageError: the file has none of them, or is damaged.
    """
    wanted = {_key(ref.name): ref.index for ref in data.refs}
    embeddings = np.zeros((len(data.refs), file.description.embed_dim), np.float32)
    found: set[int] = set()
    for block in file.blocks(_ROWS_AT_ONCE):
        assert block.embeddings is not None
        for ref, row in zip(block.refs, block.embeddings, strict=True):
            place = wanted.get(_key(ref.name))
            if place is not None:
                embeddings[place] = row
                found.add(place)
    if not found:
        raise UsageError(
            f"--embeddings {file.path} has none of these pictures, by their paths: it names"
            f" {_first_name(file)}, the data {data.refs[0].name}; embed the same folder, from here"
        )
    failures = {
        ref.index: InputError(FailureCode.NOT_FOUND, f"not in {file.path}")
        for ref in data.refs
        if ref.index not in found
    }
    for ref in data.refs:
        tell(ref, failures.get(ref.index))
    return Encoded(embeddings, failures, {})


def _key(name: str) -> str:
    return name if is_url(name) else os.path.realpath(name)


def _first_name(file: EmbeddingsFile) -> str:
    block = next(file.blocks(1), None)
    return "none at all" if block is None else block.refs[0].name
