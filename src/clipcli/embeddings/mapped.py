"""A file of embeddings as one array: mapped, not read, where its format allows that."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from numpy.lib import format as npy

from clipcli.embeddings.base import reading
from clipcli.embeddings.files import open_embeddings
from clipcli.images.stored import indices_of, names_of

if TYPE_CHECKING:
    from clipcli.arrays import Float32
    from clipcli.embeddings.base import EmbeddingsFile

_LOCAL_HEADER = struct.Struct("<26xHH")  # of a zip's member: lengths of name and extra field
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Embeddings:
    """What a file of embeddings holds.

    Attributes:
        rows: unit rows, shape (n, embed_dim), float32. Of `.npz` they are mapped from the file and
            cannot be written to: only what is looked at is read.
        names: of the images, or the texts; n of them.
        indices: their places in the input order.
        model: canonical name of the model that made them.
        fingerprint: of its weights, configuration and precision.
    """

    rows: Float32
    names: Sequence[str]
    indices: Sequence[int]
    model: str
    fingerprint: str

    def __len__(self) -> int:
        """How many there are."""
        return len(self.names)

    def __repr__(self) -> str:
        """How many, how wide and whose."""
        count, width = self.rows.shape
        return f"Embeddings({count:,} rows of width {width}, by {self.model})"

    def to_pandas(self) -> Any:  # noqa: ANN401  pandas may not be there
        """A `pandas.DataFrame` of the columns `index`, `name` and `embedding` (an array each).

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas as pd

        # As objects: pandas' own texts cannot hold names that are not UTF-8.
        names = pd.Series(list(self.names), dtype=object)
        columns = {"index": list(self.indices), "name": names}
        return pd.DataFrame({**columns, "embedding": list(self.rows)})


def read_embeddings(file: str | PathLike[str]) -> Embeddings:
    """Open a file that `clipcli embed` made.

    Names and checksums are read once; a row of `.npz` is read from the disk when it is used.

    Raises:
        UsageError: it cannot be read, or is no such file.
    """
    path = Path(file)
    stored = open_embeddings(path)
    names: list[str] = []
    indices: list[int] = []
    parts = []
    mapped = _mapped(path) if path.suffix.lower() == ".npz" else None
    for block in stored.blocks(_ROWS_AT_ONCE):
        names += names_of(block.refs)
        indices += indices_of(block.refs)
        if mapped is None and block.embeddings is not None:
            parts.append(block.embeddings)
    rows = mapped if mapped is not None else _together(parts, stored)
    made = stored.description
    return Embeddings(rows, names, indices, made.model, made.fingerprint)


def _together(parts: list[Float32], stored: EmbeddingsFile) -> Float32:
    return np.concatenate([np.empty((0, stored.description.embed_dim), np.float32), *parts])


def _mapped(path: Path) -> Float32 | None:
    """The rows of a .npz where they lie in it; None where they are compressed, or are none."""
    with reading(path), ZipFile(path) as archive, path.open("rb") as file:
        entry = archive.getinfo("embeddings.npy")
        if entry.compress_type != ZIP_STORED:
            return None
        file.seek(entry.header_offset)
        name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        file.seek(entry.header_offset + _LOCAL_HEADER.size + name + extra)
        npy.read_magic(file)
        shape, is_fortran, dtype = npy.read_array_header_1_0(file)
        if is_fortran or 0 in shape:
            return None
        return np.memmap(path, dtype, "r", file.tell(), shape)
