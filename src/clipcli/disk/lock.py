"""A file that one process holds against all others for as long as it lives."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

from clipcli.disk.atomic import open_own, writable
from clipcli.errors import UsageError


class Lock:
    """A hold on a file, which is made where it is missing.

    Advisory, and gone with the process, however that ends. Disks that have no locks do without.

    Raises:
        UsageError: another process holds it, or it cannot be written.
    """

    def __init__(self, file: Path) -> None:
        # Windows renames no open file and lets nobody write where it is locked: one beside it.
        self._file = file.with_name(f"{file.name}.lock") if sys.platform == "win32" else file
        with writable(file):
            self._stream: IO[bytes] = open_own(self._file, "ab")
        self._stat = os.fstat(self._stream.fileno())
        # Whoever held it may have renamed it while it was being opened here.
        if not (_lock(self._stream) and self._is_in_place()):
            self._stream.close()
            raise UsageError(
                f"another process is writing {file}: wait for its end, or name another file"
            )

    def close(self) -> None:
        """Let go of the file; it is removed where nothing was written to it."""
        is_empty = False
        with suppress(OSError):
            is_empty = self._is_in_place() and not self._file.stat().st_size
        if sys.platform == "win32":
            self._stream.close()  # an open file cannot be removed there
        if is_empty:
            # Elsewhere before it is let go: after that, it may be another's.
            with suppress(OSError):
                self._file.unlink()
        self._stream.close()

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(self._file.stat(), self._stat)
        except FileNotFoundError:
            return False


def _lock(stream: IO[bytes]) -> bool:
    """Lock an open file; whether nobody else has."""
    # Not at the top: it takes as long as a tenth of an answer, and most runs write no file.
    from filelock import lock_descriptor

    try:
        return lock_descriptor(stream.fileno(), blocking=False)
    except OSError:  # a disk without locks
        return True
