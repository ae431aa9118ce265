"""A file that one process holds against all others for as long as it lives."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from clipcli.errors import DISK_FULL, UsageError


class Lock:
    """Holds a file, which is made where it is missing.

    Advisory, by flock(2): it is gone with the process, however that ends. Platforms and network
    disks that have no such locks do without.

    Raises:
        UsageError: another process holds it, or it cannot be written.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        with writable(file):
            self._stream = file.open("ab")
        self._stat = os.fstat(self._stream.fileno())
        try:
            _lock(self._stream)
            # Whoever held it may have renamed it while it was being opened here.
            if not self._is_in_place():
                raise BlockingIOError
        except BlockingIOError:
            self._stream.close()
            raise UsageError(
                f"another process is writing {file}: wait for its end, or name another file"
            ) from None

    def close(self) -> None:
        """Let go of the file; it is removed where nothing was written to it."""
        with suppress(OSError):
            if self._is_in_place() and not self._file.stat().st_size:
                self._file.unlink()
        self._stream.close()

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(self._file.stat(), self._stat)
        except FileNotFoundError:
            return False


def _lock(stream: IO[bytes]) -> None:
    """Lock an open file; raise BlockingIOError where somebody else has."""
    if sys.platform == "win32":
        stream.close()  # an open file cannot be renamed there
        return
    import fcntl

    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a disk without locks
        return


@contextmanager
def writable(file: Path) -> Iterator[None]:
    """Say of a file that cannot be opened which one it is, and why.

    Raises:
        OSError: the disk is full or broken.
        UsageError: everything else that keeps a file from being written.
    """
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot write {file} ({reason})") from error
