"""Embeddings as .parquet, for data frames and databases: a row an image.

Columns: `index` (int64, place in the input order), `name` (string), `name_b64` (the name's bytes
in base64 where they are not UTF-8, else null), `embedding` (a list of embed_dim float32). The
description is the schema's metadata `clipcli`.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipcli.arrays import Float32
from clipcli.disk.atomic import open_own
from clipcli.disk.outputs import OutputFile
from clipcli.embeddings.base import (
    reading,
)
from clipcli.embeddings.description import Description
from clipcli.embeddings.rows import Block, check_rows
from clipcli.images.sources import ImageRef
from clipcli.printable import valid_unicode

if TYPE_CHECKING:
    from types import TracebackType

_METADATA = b"clipcli"
# A row group is in memory as a whole when it is written.
_GROUP_BYTES = 16 << 20
_GROUP_BATCHES = 4096  # each takes some memory of its own: rows may come one by one
_BUFFER_BYTES = 1 << 20


class ParquetWriter:
    """Writes embeddings to FILE.parquet, a row group whenever enough rows have come.

    Args:
        path: of the file.
        description: of what comes.

    Raises:
        OSError: the folder cannot be written to.
    """

    def __init__(self, path: Path, description: Description) -> None:
        self._part = OutputFile(path, in_part=True)
        self._width = description.embed_dim
        self._schema = _schema(description)
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0
        self._is_finished = False
        with ExitStack() as stack:
            stack.callback(self._part.discard)
            # Not by its name, which might lead elsewhere by now.
            self._sink = stack.enter_context(pa.PythonFile(open_own(self._part.path, "wb"), "w"))
            self._writer = self._begin()
            stack.pop_all()

    def write(self, refs: Sequence[ImageRef], rows: Float32) -> None:
        """Add n images and their unit embeddings, shape (n, embed_dim)."""
        batch = self._batch(refs, rows.reshape(len(refs), self._width))
        self._waiting.append(batch)
        self._waiting_bytes += batch.nbytes
        if self._waiting_bytes >= _GROUP_BYTES or len(self._waiting) >= _GROUP_BATCHES:
            self._write_group()

    def finish(self) -> None:
        """Write what waits and put the file in its place."""
        self._write_group()
        self._writer.close()
        self._sink.close()
        self._part.publish()
        self._is_finished = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove whatever is not finished."""
        if self._is_finished:
            return
        # Its footer goes to a file that nobody will see, or to a full disk.
        with suppress(OSError, pa.ArrowException):
            self._writer.close()
        with suppress(OSError, pa.ArrowException):
            self._sink.close()
        self._part.discard()

    def _begin(self) -> pq.ParquetWriter:
        # Unit rows are noise to a compressor and to a dictionary: both would only cost time.
        compression = dict.fromkeys(self._schema.names[:-1], "zstd")
        compression["embedding.list.element"] = "none"
        return pq.ParquetWriter(
            self._sink,
            self._schema,
            compression=compression,
            use_dictionary=False,
            write_page_checksum=True,
        )

    def _batch(self, refs: Sequence[ImageRef], rows: Float32) -> pa.RecordBatch:
        names = [valid_unicode(ref.name) for ref in refs]
        as_bytes = [
            None if name == ref.name else base64.b64encode(os.fsencode(ref.name)).decode()
            for ref, name in zip(refs, names, strict=True)
        ]
        # A copy: rows wait here while the caller may reuse its array.
        values = pa.array(np.array(rows, np.float32).ravel())
        columns = [
            pa.array([ref.index for ref in refs], pa.int64()),
            pa.array(names, pa.string()),
            pa.array(as_bytes, pa.string()),
            pa.FixedSizeListArray.from_arrays(values, type=self._schema.field("embedding").type),
        ]
        return pa.record_batch(columns, schema=self._schema)

    def _write_group(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting, self._schema))
        self._waiting, self._waiting_bytes = [], 0


def _schema(description: Description) -> pa.Schema:
    columns = {
        "index": pa.int64(),
        "name": pa.string(),
        "name_b64": pa.string(),
        "embedding": pa.list_(pa.float32(), description.embed_dim),
    }
    return pa.schema(list(columns.items()), {_METADATA: description.to_json()})


class ParquetFile:
    """A file of embeddings in the parquet format; nothing is open between reads.

    Raises:
        UsageError: it cannot be read, or is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _opened(path) as file:
            self.description = _description(file.schema_arrow)
            self._count = int(file.metadata.num_rows)
            if self._count < 0:
                raise ValueError("it says that it has fewer than no rows")

    def __len__(self) -> int:
        """How many embeddings it holds."""
        return self._count

    def blocks(self, size: int) -> Iterator[Block]:
        """The images and their embeddings, in the file's order."""
        names = _schema(self.description).names
        count = 0
        with _opened(self.path) as file:
            # Threads would decode ahead of whoever takes the rows.
            for batch in file.iter_batches(size, columns=names, use_threads=False):
                yield _block(batch, self.description.embed_dim)
                count += len(batch)
            if count != self._count:
                raise ValueError(f"it holds {count} rows, and says {self._count}")


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    # Buffered: a column is read in pieces, however large its row group is. Its pages carry
    # checksums only where their writer put some.
    with (
        reading(path),
        path.open("rb") as source,
        pq.ParquetFile(
            source,
            buffer_size=_BUFFER_BYTES,
            pre_buffer=False,
            page_checksum_verification=True,
        ) as file,
    ):
        yield file


def _description(schema: pa.Schema) -> Description:
    metadata = (schema.metadata or {}).get(_METADATA)
    if metadata is None:
        raise ValueError("it has no description")
    description = Description.from_json(metadata)
    for wanted in _schema(description):
        position = schema.get_field_index(wanted.name)  # -1 for none, and for two of a name
        if position < 0:
            raise ValueError(f"it has no column {wanted.name!r}, or several")
        if not schema.field(position).type.equals(wanted.type):
            raise ValueError(f"its column {wanted.name!r} is not of the type {wanted.type}")
    return description


def _block(batch: pa.RecordBatch, width: int) -> Block:
    columns: dict[str, Any] = dict(zip(batch.schema.names, batch.columns, strict=True))
    embedding = columns["embedding"]
    values = embedding.flatten()
    if any(part.null_count for part in (columns["index"], columns["name"], embedding, values)):
        raise ValueError("it has empty cells")
    cells = (columns[name].to_pylist() for name in ("index", "name", "name_b64"))
    refs = [_ref(*row) for row in zip(*cells, strict=True)]
    rows: Float32 = values.to_numpy().reshape(len(refs), width)
    check_rows(refs, rows)
    return Block(refs, rows)


def _ref(index: int, name: str, name_b64: str | None) -> ImageRef:
    if index < 0:
        raise ValueError("it has an index below zero")
    if name_b64 is not None:
        name = os.fsdecode(base64.b64decode(name_b64, validate=True))
    return ImageRef(index, name, b"")
