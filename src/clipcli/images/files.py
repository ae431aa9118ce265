"""The bytes of one file or stream, up to a limit, whatever kind of file it turns out to be."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import IO

from clipcli.errors import FailureCode, InputError

# As a download's time: whoever writes a picture has begun by then.
_PIPE_SECONDS = 60.0


def read_file(path: Path, max_bytes: int) -> bytes:
    """The bytes of one file.

    Raises:
        InputError: it is missing, a folder, unreadable, larger than `max_bytes`, or a pipe into
            which nobody writes.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            _wait_for_writer(file)
            return read_stream(file, max_bytes)
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


def read_stream(file: IO[bytes], max_bytes: int) -> bytes:
    """The bytes that are left in a stream.

    Raises:
        InputError: there are more than `max_bytes` of them.
    """
    data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise InputError(FailureCode.TOO_MANY_BYTES, f"larger than {max_bytes:,} bytes")
    return data


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
