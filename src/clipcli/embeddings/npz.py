"""Embeddings as .npz: a plain zip of .npy members, readable by `np.load` without pickle.

::

    embeddings.npy     float32 (n, embed_dim)   unit rows
    names.npy          uint8   (k,)             the images' names, one behind the other
    name_offsets.npy   int64   (n + 1,)         name i is names[name_offsets[i]:name_offsets[i+1]]
    index.npy          int64   (n,)             places in the input order
    description.npy    uint8   (m,)             JSON: see `Description`

Names are bytes as the file system has them: UTF-8 almost always, and any bytes else.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, Self
from zipfile import ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from clipcli.arrays import Float32
from clipcli.disk.atomic import open_own
from clipcli.disk.outputs import OutputFile, workspace
from clipcli.embeddings.base import (
    MAX_NAME_BYTES,
    reading,
)
from clipcli.embeddings.description import MAX_DESCRIPTION_BYTES, Description
from clipcli.embeddings.rows import Block, check_rows
from clipcli.images.stored import StoredRefs

if TYPE_CHECKING:
    from types import TracebackType

    from clipcli.images.sources import ImageRef

_COPIED_AT_ONCE = 1 << 20

# Little-endian on every machine: a file goes from one to another.
_MEMBERS: dict[str, np.dtype[Any]] = {
    "embeddings": np.dtype("<f4"),
    "names": np.dtype("u1"),
    "name_offsets": np.dtype("<i8"),
    "index": np.dtype("<i8"),
    "description": np.dtype("u1"),
}


class NpzWriter:
    """Writes embeddings to FILE.npz in flat memory.

    A member's header says how many rows follow, and a zip holds one member after another: rows
    wait in files without a name, beside the target, until all have come. These files vanish with
    the process, however it ends.

    Args:
        path: of the file.
        description: of what comes.

    Raises:
        OSError: the folder cannot be written to.
    """

    def __init__(self, path: Path, description: Description) -> None:
        self._path = path
        self._width = description.embed_dim
        self._count = 0
        self._names_end = 0
        with ExitStack() as stack:
            folder = workspace(path)
            self._spools = {name: _spool(folder, stack) for name in _MEMBERS}
            self._add("description", np.frombuffer(description.to_json(), np.uint8))
            self._add("name_offsets", np.zeros(1, np.int64))
            self._cleanup = stack.pop_all()

    def write(self, refs: Sequence[ImageRef], rows: Float32) -> None:
        """Add n images and their unit embeddings, shape (n, embed_dim)."""
        names = [os.fsencode(ref.name) for ref in refs]
        ends = self._names_end + np.cumsum([len(name) for name in names], dtype=np.int64)
        self._add("embeddings", rows.reshape(len(refs), self._width))
        self._add("names", np.frombuffer(b"".join(names), np.uint8))
        self._add("name_offsets", ends)
        self._add("index", np.array([ref.index for ref in refs], np.int64))
        self._count += len(refs)
        self._names_end += sum(map(len, names))

    def finish(self) -> None:
        """Put the members together and the file in its place."""
        shapes = {"embeddings": (self._count, self._width)}
        with (
            OutputFile(self._path, in_part=True) as part,
            open_own(part, "wb") as file,
            ZipFile(file, "w") as archive,
        ):
            for name, spool in self._spools.items():
                _copy(spool, archive, name, shapes.get(name))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove whatever is not finished."""
        self._cleanup.close()

    def _add(self, member: str, values: NDArray[Any]) -> None:
        self._spools[member].write(values.astype(_MEMBERS[member], copy=False).tobytes())


def _spool(folder: Path, stack: ExitStack) -> IO[bytes]:
    spool = TemporaryFile(dir=folder)  # noqa: SIM115  closed by the stack

    def close() -> None:
        # On a full disk its last bytes would fail once more, in place of the first error.
        with suppress(OSError):
            spool.close()

    stack.callback(close)
    return spool


def _copy(spool: IO[bytes], archive: ZipFile, name: str, shape: tuple[int, ...] | None) -> None:
    """Make a member of a spool; without a shape it has one dimension."""
    dtype = _MEMBERS[name]
    size = spool.seek(0, os.SEEK_END)
    spool.seek(0)
    # No date but the zip format's first: the same embeddings are the same bytes.
    entry = ZipInfo(f"{name}.npy")
    entry.file_size = size  # makes a ZIP64 member of a large one
    with archive.open(entry, "w") as member:
        header = {
            "descr": npy.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": shape or (size // dtype.itemsize,),
        }
        npy.write_array_header_1_0(member, header)
        shutil.copyfileobj(spool, member, _COPIED_AT_ONCE)


class NpzFile:
    """A file of embeddings in the npz format; nothing is open between reads.

    Raises:
        UsageError: it cannot be read, or is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _opened(path) as members:
            self.description = members.description
            self._count = members.count

    def __len__(self) -> int:
        """How many embeddings it holds."""
        return self._count

    def blocks(self, size: int) -> Iterator[Block]:
        """The images and their embeddings, in the file's order."""
        with _opened(self.path) as members:
            for start in range(0, members.count, size):
                yield members.take(min(size, members.count - start))
            members.end()


class _Member:
    """One member, read from front to back; its stream is closed with the stack.

    Raises:
        ValueError: it is missing, or not what its name says.
    """

    def __init__(self, archive: ZipFile, name: str, stack: ExitStack) -> None:
        self._name = name
        self._dtype = _MEMBERS[name]
        try:
            entry = archive.getinfo(f"{name}.npy")
        except KeyError:
            raise ValueError(f"it has no member {name!r}") from None
        self._stream = stack.enter_context(archive.open(entry))
        self.shape = self._read_header()
        self._row_bytes = self._dtype.itemsize * int(np.prod(self.shape[1:], dtype=object))
        if self._stream.tell() + self.shape[0] * self._row_bytes != entry.file_size:
            raise ValueError(f"its member {name!r} is of another size than it says")

    def take(self, count: int) -> NDArray[Any]:
        """The next rows.

        Raises:
            ValueError: there are not as many.
        """
        data = self._stream.read(count * self._row_bytes)
        if len(data) < count * self._row_bytes:
            raise ValueError(f"its member {self._name!r} is cut short")
        values: NDArray[Any] = np.frombuffer(data, self._dtype)
        return values.reshape(count, *self.shape[1:])

    def _read_header(self) -> tuple[int, ...]:
        # No later ones: they are for types that no member has, and NumPy reads their headers
        # whole, of up to 4 GB, before it looks at how long they are.
        if npy.read_magic(self._stream) != (1, 0):
            raise ValueError(f"its member {self._name!r} is of an unknown version of .npy")
        shape, is_fortran, dtype = npy.read_array_header_1_0(self._stream)
        dimensions = 2 if self._name == "embeddings" else 1
        is_right = dtype == self._dtype and len(shape) == dimensions and min(shape) >= 0
        # Of one dimension both orders are one.
        if not is_right or (is_fortran and dimensions > 1):
            raise ValueError(f"its member {self._name!r} is of the wrong type or shape")
        return tuple(shape)


class _Members:
    """All members of an open file, and how far their names have been read.

    Raises:
        ValueError: here and below, where they are damaged.
    """

    def __init__(self, arrays: dict[str, _Member]) -> None:
        self._arrays = arrays
        length = min(arrays["description"].shape[0], MAX_DESCRIPTION_BYTES + 1)
        self.description = Description.from_json(arrays["description"].take(length).tobytes())
        self.count, width = arrays["embeddings"].shape
        lengths = arrays["name_offsets"].shape, arrays["index"].shape
        if width != self.description.embed_dim or lengths != ((self.count + 1,), (self.count,)):
            raise ValueError("its members do not fit together")
        (self._names_end,) = self._next_ends(0, 1)
        if self._names_end != 0:
            raise ValueError("its names do not begin at the beginning")

    def take(self, count: int) -> Block:
        """The next images and their rows."""
        start = self._names_end
        ends = self._next_ends(start, count)
        text = self._arrays["names"].take(ends[-1] - start).tobytes()
        places = self._arrays["index"].take(count)
        if places.min() < 0:
            raise ValueError("it has an index below zero")
        refs = StoredRefs(_names(text, start, ends), places.tolist())
        rows = self._arrays["embeddings"].take(count)
        check_rows(refs, rows)
        self._names_end = ends[-1]
        return Block(refs, rows)

    def end(self) -> None:
        """See that all names were somebody's."""
        if self._names_end != self._arrays["names"].shape[0]:
            raise ValueError("it has names of no images")

    def _next_ends(self, start: int, count: int) -> list[int]:
        """Where the next names end."""
        ends: list[int] = self._arrays["name_offsets"].take(count).tolist()
        # Python's integers: the differences of hostile ones would overflow NumPy's.
        lengths = [end - begin for begin, end in zip([start, *ends[:-1]], ends, strict=True)]
        if min(lengths) < 0 or max(lengths) > MAX_NAME_BYTES:
            raise ValueError("the places of its names are out of order")
        return ends


def _names(text: bytes, start: int, ends: Sequence[int]) -> list[str]:
    """Names that lie one behind the other; their ends are counted from so many bytes before."""
    here = [end - start for end in ends]
    places = zip([0, *here[:-1]], here, strict=True)
    if text.isascii():
        # As most are; then bytes are characters.
        together = text.decode()
        return [together[begin:end] for begin, end in places]
    return [os.fsdecode(text[begin:end]) for begin, end in places]


@contextmanager
def _opened(path: Path) -> Iterator[_Members]:
    with reading(path), ZipFile(path) as archive, ExitStack() as stack:
        yield _Members({name: _Member(archive, name, stack) for name in _MEMBERS})
