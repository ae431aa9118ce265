"""Copies that are there whole or not at all, and that replace nothing."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

AT_ONCE = 1 << 20
"""Bytes that are read at a time."""

NO_HARD_LINKS = frozenset(
    {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}
)
"""What a disk answers that has no hard links, or a system that grants none to a stranger's file."""


class SourceError(OSError):
    """A file that cannot be read, as against a disk that takes no more."""


@contextmanager
def sourced() -> Iterator[None]:
    """Errors as those of a file that cannot be read."""
    try:
        yield
    except OSError as error:
        raise SourceError(error.errno, error.strerror, error.filename) from error


def copy(source: str, target: str, beside: str) -> None:
    """Copy a file, with its mode and times; the target is there when all of it is on the disk.

    Args:
        source: its path.
        target: the path of the copy.
        beside: a name in the target's folder, for as long as the copy is not whole.

    Raises:
        FileExistsError: something is at the target already; it stays as it is.
        SourceError: the source cannot be read.
        OSError: the disk takes no more, or the folder does not let itself be written to.
    """
    try:
        # Nobody else's to read before it has the source's mode.
        with open(beside, "xb", opener=_private) as new:
            written = _copied(source, new)
            new.flush()
            os.fsync(new.fileno())
            if written != _read_back(beside):
                raise OSError(errno.EIO, "what was written reads back otherwise", target)
            _keep_status(source, beside)
            os.fsync(new.fileno())
        try:
            os.link(beside, target)
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            rename(beside, target)
        else:
            os.unlink(beside)
    except OSError:
        with suppress(OSError):
            os.unlink(beside)
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _keep_status(source: str, copy: str) -> None:
    """Give a copy its source's mode, times and attributes, as far as its disk has such."""
    try:
        shutil.copystat(source, copy)
    except OSError:
        with suppress(OSError):
            found = os.stat(source)
            os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))


def _copied(source: str, new: IO[bytes]) -> bytes:
    """Copy a file's bytes, and give their sha256."""
    digest = hashlib.sha256()
    with sourced():
        old = open(source, "rb")  # noqa: SIM115
    with old:
        while data := _read(old):
            digest.update(data)
            new.write(data)
    return digest.digest()


def _read(file: IO[bytes]) -> bytes:
    with sourced():
        return file.read(AT_ONCE)


def _read_back(path: str) -> bytes:
    """The sha256 of what the disk has of a file."""
    with open(path, "rb") as file:
        # What the system keeps in memory would say nothing about the disk.
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return hashlib.file_digest(file, "sha256").digest()


def rename(source: str, target: str) -> None:
    """Rename without replacing, where there are no hard links.

    The target's name is held free by an empty file, which nobody else can have made.

    Raises:
        OSError: as `copy`.
    """
    if sys.platform == "win32":
        os.rename(source, target)  # which replaces nothing there
        return
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        os.replace(source, target)
    except OSError:
        with suppress(OSError):
            os.unlink(target)
        raise
