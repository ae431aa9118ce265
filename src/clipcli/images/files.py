"""The bytes of one file or stream, up to a limit, whatever kind of file it turns out to be."""

from __future__ import annotations

import os
import stat
import sys
from io import BytesIO
from pathlib import Path
from typing import IO

from clipcli.errors import FailureCode, InputError
from clipcli.images.formats import START_BYTES, StartCheck, accept_any

# As a download's time: whoever writes a picture has begun by then.
_PIPE_SECONDS = 60.0
_CHUNK = 1 << 20


def read_file(path: Path, max_bytes: int, check: StartCheck = accept_any) -> bytes:
    """The bytes of one file.

    Args:
        path: of the file.
        max_bytes: more than these are refused.
        check: of the file's first bytes, before the others are read.

    Raises:
        InputError: it is missing, a folder, unreadable, larger than `max_bytes`, refused by its
            first bytes, or a pipe into which nobody writes.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_size > max_bytes:
                raise _too_large(max_bytes)  # and none of it is read
            _wait_for_writer(file)
            return read_stream(file, max_bytes, check)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _file_error(error) from error


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; a pipe without a writer, too, for which open(2) would wait for ever."""
    if sys.platform == "win32":  # its pipes have no place among files
        return os.open(path, flags)
    file = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(file, True)
    return file


def _wait_for_writer(file: IO[bytes]) -> None:
    """Give whoever writes into a pipe, if it is one, a time to begin.

    A list of strangers' files may hold a pipe that nobody will ever write into.
    """
    if sys.platform == "win32" or not stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
        return
    from select import POLLIN, poll

    waiting = poll()
    waiting.register(file, POLLIN)
    if not waiting.poll(_PIPE_SECONDS * 1000):
        message = f"a pipe into which nobody has written for {_PIPE_SECONDS:g} s"
        raise InputError(FailureCode.UNREADABLE, message)


def read_stream(file: IO[bytes], max_bytes: int, check: StartCheck = accept_any) -> bytes:
    """The bytes that are left in a stream.

    Args:
        file: the stream.
        max_bytes: more than these are refused.
        check: of the first bytes, before the others are read.

    Raises:
        InputError: there are more than `max_bytes` of them, or the first are refused.
    """
    # Grown as they come: memory for all that may come is not to be had on every machine. Its
    # bytes are given without another copy of them.
    data = BytesIO()
    while chunk := file.read(min(_CHUNK, max_bytes + 1 - data.tell())):
        if not data.tell():
            check(chunk[:START_BYTES])
        data.write(chunk)
        if data.tell() > max_bytes:
            raise _too_large(max_bytes)
    return data.getvalue()


def _too_large(max_bytes: int) -> InputError:
    return InputError(FailureCode.TOO_MANY_BYTES, f"larger than {max_bytes:,} bytes")


def _file_error(error: OSError | ValueError) -> InputError:
    if isinstance(error, IsADirectoryError):
        return InputError(FailureCode.IS_A_FOLDER, "a folder: add -r to search it for images")
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return InputError(FailureCode.NOT_FOUND, "no such file")
    if isinstance(error, ValueError) and not isinstance(error, UnicodeError):
        message = "a name cannot hold NUL: -0 reads a list whose names end with it"
        return InputError(FailureCode.UNREADABLE, message)
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(FailureCode.UNREADABLE, f"cannot be read ({reason})")
