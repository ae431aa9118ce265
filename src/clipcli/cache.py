"""Text embeddings on disk, by model, tokenizer and prompt: a label is encoded once."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipcli.errors import ClipcliWarning

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BUSY_SECONDS = 5.0
_LOOKED_UP_AT_ONCE = 500  # SQLite allows 999 parameters in its oldest builds
_TABLE = (
    "CREATE TABLE IF NOT EXISTS embeddings ("
    "model TEXT NOT NULL, prompt TEXT NOT NULL, vector BLOB NOT NULL,"
    " PRIMARY KEY (model, prompt)) WITHOUT ROWID"
)


class TextCache:
    """A database of text embeddings that many processes may use at once.

    What goes wrong with it is a `ClipcliWarning`, once, and a slower run; never an error.

    Args:
        file: of the database; it and its folder are made when something is first kept.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._usable = True

    def read(self, model: str, prompts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The embeddings that are known.

        Args:
            model: identity of model and tokenizer.
            prompts: any number of texts.

        Returns:
            Prompt -> unit embedding, for those of the prompts that were kept.
        """
        found: dict[str, NDArray[np.float32]] = {}
        if not self._usable or not self.file.exists():
            return found
        try:
            with closing(self._connect()) as database:
                for start in range(0, len(prompts), _LOOKED_UP_AT_ONCE):
                    part = prompts[start : start + _LOOKED_UP_AT_ONCE]
                    found |= _select(database, model, part)
        except (sqlite3.Error, OSError, ValueError) as error:
            self._give_up("read", error)
        return found

    def write(self, model: str, embeddings: Mapping[str, NDArray[np.float32]]) -> None:
        """Keep embeddings for later runs.

        Args:
            model: identity of model and tokenizer.
            embeddings: prompt -> unit embedding.
        """
        if not self._usable or not embeddings:
            return
        rows = [(model, prompt, vector.tobytes()) for prompt, vector in embeddings.items()]
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as database, database:
                database.execute(_TABLE)
                database.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)", rows)
        except (sqlite3.Error, OSError) as error:
            self._give_up("write to", error)

    def count(self) -> int:
        """How many embeddings are kept; 0 where the database cannot be read."""
        try:
            with closing(self._connect()) as database:
                (number,) = database.execute("SELECT count(*) FROM embeddings").fetchone()
                return int(number)
        except (sqlite3.Error, OSError):
            return 0

    def clear(self) -> None:
        """Delete the database.

        Raises:
            OSError: it cannot be deleted.
        """
        for file in self.files():
            file.unlink(missing_ok=True)

    def files(self) -> Iterable[Path]:
        """The database and what SQLite keeps beside it."""
        return [
            self.file.with_name(self.file.name + end) for end in ("", "-wal", "-shm", "-journal")
        ]

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.file, timeout=_BUSY_SECONDS)

    def _give_up(self, verb: str, error: Exception) -> None:
        self._usable = False
        message = (
            f"cannot {verb} the cache of text embeddings {self.file} ({error}); going on without"
            " it. 'clipcli cache --clear' removes it, --no-cache leaves it alone"
        )
        warnings.warn(message, ClipcliWarning, stacklevel=3)


def _select(
    database: sqlite3.Connection, model: str, prompts: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    marks = ", ".join("?" * len(prompts))
    query = f"SELECT prompt, vector FROM embeddings WHERE model = ? AND prompt IN ({marks})"  # noqa: S608
    rows = database.execute(query, (model, *prompts))
    return {prompt: np.frombuffer(vector, np.float32) for prompt, vector in rows}
