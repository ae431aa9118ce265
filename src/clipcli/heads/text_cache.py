"""Text embeddings on disk, by model, tokenizer and prompt: a label is encoded once."""

from __future__ import annotations

import os
import sqlite3
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from clipcli.disk.atomic import check_own
from clipcli.disk.paths import is_nowhere
from clipcli.errors import ClipcliWarning

if TYPE_CHECKING:
    from clipcli.arrays import Float32


_BUSY_SECONDS = 5.0
_LOOKED_UP_AT_ONCE = 500  # SQLite allows 999 parameters in its oldest builds
_UNIT_TOLERANCE = 1e-3  # of a squared length, after rounding to half precision
_STORED = np.dtype("<f4")  # a shared folder's file is the same on every machine
_TABLE = (
    "CREATE TABLE embeddings ("
    "model TEXT NOT NULL, prompt TEXT NOT NULL, vector BLOB NOT NULL,"
    " PRIMARY KEY (model, prompt)) WITHOUT ROWID"
)
# What a damaged or hostile file may take: of time in all, and of memory for one value.
_MOST_SECONDS = 20.0
_MOST_BYTES = 1 << 20
_STEPS_BETWEEN_LOOKS = 1000  # of SQLite's own machine, tens of microseconds
_MOST_COUNTED = 10**9
_CHECKSUM_BYTES = 4
# ValueError: a path or a prompt that no file system or database can hold.
_TROUBLE = (sqlite3.Error, OSError, ValueError)


class TextCache:
    """A database of text embeddings that many processes may use at once.

    What goes wrong with it is a `ClipcliWarning`, once, and a slower run; never an error.

    Args:
        file: of the database; it and its folder are made when something is first kept.
        holds: whose embeddings, for messages.
    """

    def __init__(self, file: Path, holds: str = "text") -> None:
        self.file = file
        self._holds = holds
        # Of a home that is missing the user knows already.
        self._usable = not is_nowhere(file)

    def read(self, model: str, prompts: Sequence[str], width: int) -> dict[str, Float32]:
        """The embeddings that are known; rows that cannot be the model's are passed over.

        Args:
            model: identity of model and tokenizer.
            prompts: any number of texts.
            width: of the model's embeddings.

        Returns:
            Prompt -> unit embedding, shape (width,), for those of the prompts that were kept.
        """
        found: dict[str, Float32] = {}
        if not self._usable:
            return found
        try:
            with self._opened() as database:
                for prompt, value in _select(database, model, prompts):
                    vector = _unpacked(value, width)
                    if vector is not None:
                        found[prompt] = vector
        except _TROUBLE as error:
            self._give_up("read", error)
        return found

    def write(self, model: str, embeddings: Mapping[str, Float32]) -> None:
        """Keep embeddings for later runs, all of them or none, in one transaction.

        Args:
            model: identity of model and tokenizer.
            embeddings: prompt -> unit embedding.
        """
        if not self._usable or not embeddings:
            return
        rows = (
            (model, prompt, _packed(vector.astype(_STORED).tobytes()))
            for prompt, vector in embeddings.items()
        )
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self._opened(to_write=True) as database, database:
                # Locked before it is looked at: of two that find no table only one may make it.
                database.execute("BEGIN IMMEDIATE")
                if not _has_table(database):
                    database.execute(_TABLE)
                database.commit()
                database.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)", rows)
        except _TROUBLE as error:
            self._give_up("write to", error)

    def count(self) -> int:
        """How many embeddings are kept; 0, with a warning, where that cannot be told."""
        try:
            with self._opened() as database:
                if not _has_table(database):
                    return 0
                # Within bounds, row by row: a plain count(*) is one step, however long that takes.
                rows = "SELECT 1 FROM embeddings LIMIT ?"
                query = f"SELECT count(*) FROM ({rows})"  # noqa: S608
                (number,) = database.execute(query, (_MOST_COUNTED,)).fetchone()
                return int(number)
        except _TROUBLE as error:
            self._give_up("read", error)
            return 0

    def size(self) -> int:
        """Bytes on disk."""
        total = 0
        for file in self._files():
            with suppress(OSError, ValueError):
                total += file.lstat().st_size
        return total

    def clear(self) -> None:
        """Delete the database.

        Raises:
            OSError: it cannot be deleted.
        """
        for file in self._files():
            with suppress(FileNotFoundError, NotADirectoryError):
                file.unlink()

    def _files(self) -> list[Path]:
        """The database and what SQLite keeps beside it."""
        return [
            self.file.with_name(self.file.name + end) for end in ("", "-journal", "-wal", "-shm")
        ]

    @contextmanager
    def _opened(self, *, to_write: bool = False) -> Iterator[sqlite3.Connection]:
        """Open the database; to read where there is none, an empty one that is on no disk."""
        for file in self._files():
            if os.path.lexists(file):
                check_own(file)  # SQLite would follow a link, and wait in a pipe
        # Opening a file that is not there would make it.
        where = self.file if to_write or self.file.exists() else ":memory:"
        with closing(sqlite3.connect(where, timeout=_BUSY_SECONDS)) as database:
            _restrain(database)
            yield database

    def _give_up(self, verb: str, error: Exception) -> None:
        self._usable = False
        reason = getattr(error, "strerror", None) or error
        message = (
            f"cannot {verb} the cache of {self._holds} embeddings {self.file} ({reason}); going on"
            " without it. 'clipcli cache --clear' empties it, CLIPCLI_CACHE_DIR moves it,"
            " --no-cache leaves it alone"
        )
        warnings.warn(message, ClipcliWarning, stacklevel=3)


def _select(
    database: sqlite3.Connection, model: str, prompts: Sequence[str]
) -> Iterator[tuple[str, object]]:
    if not _has_table(database):
        return
    for start in range(0, len(prompts), _LOOKED_UP_AT_ONCE):
        part = prompts[start : start + _LOOKED_UP_AT_ONCE]
        marks = ", ".join("?" * len(part))
        query = f"SELECT prompt, vector FROM embeddings WHERE model = ? AND prompt IN ({marks})"  # noqa: S608
        yield from database.execute(query, (model, *part))


def _restrain(database: sqlite3.Connection) -> None:
    """Keep whatever the file holds from taking more time or memory than an honest one."""
    deadline = time.monotonic() + _MOST_SECONDS
    database.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BYTES)
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
        database.execute(f"PRAGMA {pragma}")


def _has_table(database: sqlite3.Connection) -> bool:
    """Whether there is the table: not in a file that another process has only just made.

    Raises:
        ValueError: there is something else. Only a plain table is read: behind a view, a trigger
            or a computed column there may be a program, and an endless one.
    """
    found = database.execute("SELECT type, name, sql FROM sqlite_master LIMIT 2").fetchall()
    if found and found != [("table", "embeddings", _TABLE)]:
        raise ValueError("it holds something else than clipcli's table")
    return bool(found)


def _packed(vector: bytes) -> bytes:
    """An embedding as it is stored: with its checksum, since most flipped bits do not show."""
    return vector + crc32(vector).to_bytes(_CHECKSUM_BYTES, "little")


def _unpacked(value: object, width: int) -> Float32 | None:
    """A stored embedding, or None where it cannot be one: changed, of another width or length."""
    if not isinstance(value, bytes) or len(value) != width * _STORED.itemsize + _CHECKSUM_BYTES:
        return None
    data = value[:-_CHECKSUM_BYTES]
    if value != _packed(data):
        return None
    vector = np.frombuffer(data, _STORED).astype(np.float32, copy=False)
    with np.errstate(all="ignore"):
        squared_length = float(vector @ vector)
    return vector if abs(squared_length - 1) < _UNIT_TOLERANCE else None
