"""Folders that are there whole or not at all: built beside their place, moved in one step."""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import sys
from contextlib import suppress
from pathlib import Path

# Of linux/fs.h, and of Darwin's sys/stdio.h: the same number.
_EXCHANGE = 2
_WORKING_FOLDER = -100  # AT_FDCWD of linux/fcntl.h
_NOT_POSSIBLE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV}
_NODE = re.sub(r"[^A-Za-z0-9-]+", "_", platform.node())[:40]


def exchange(one: Path, other: Path) -> bool:
    """Let two folders change their names, so that there is one of each name at every moment.

    Returns:
        Whether they did: not every system has a call for it, nor every disk.

    Raises:
        OSError: one of them is not there, or may not be renamed.
    """
    # Python has no name for it. Here, since most processes never replace a folder.
    import ctypes

    try:
        system = ctypes.CDLL(None, use_errno=True)
        names = os.fsencode(one), os.fsencode(other)
        if sys.platform == "darwin":
            result = system.renamex_np(*names, _EXCHANGE)
        else:
            result = system.renameat2(
                _WORKING_FOLDER, names[0], _WORKING_FOLDER, names[1], _EXCHANGE
            )
    except (AttributeError, OSError, TypeError):  # no such call; on Windows no such library
        return False
    if result == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_POSSIBLE:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def temporary_folder(folder: Path, kind: str = "new") -> Path:
    """Where this process builds, or deletes, what will be or was a folder."""
    return folder.with_name(f".{folder.name}.{_NODE}.{os.getpid()}.{kind}")


def remove_abandoned(parent: Path) -> None:
    """Delete what processes that are no more left of their work in a folder."""
    name = re.compile(rf"\..+\.{re.escape(_NODE)}\.([0-9]+)\.(new|old)")
    for path in parent.iterdir() if parent.is_dir() else ():
        match = name.fullmatch(path.name)
        if match and not _is_alive(int(match[1])):
            shutil.rmtree(path, ignore_errors=True)


def replace_folder(temporary: Path, folder: Path) -> None:
    """Move a finished folder into its place, whole, whoever else does so at the same time.

    The new one is in place before the old one goes.

    Args:
        temporary: what `temporary_folder` names, finished.
        folder: its place; what is there is deleted.
    """
    while True:
        try:
            temporary.rename(folder)
        except OSError as error:
            # A folder cannot replace one that holds something.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            shutil.rmtree(temporary_folder(folder, "old"), ignore_errors=True)
            return
        # Another process may have put that there, or taken it away, since.
        with suppress(FileNotFoundError):
            if exchange(temporary, folder):
                shutil.rmtree(temporary, ignore_errors=True)
                return
            _set_aside(folder)


def remove_folder(folder: Path) -> None:
    """Take a folder out of its place at once, then delete it at leisure."""
    with suppress(FileNotFoundError):
        shutil.rmtree(_set_aside(folder), ignore_errors=True)


def _set_aside(folder: Path) -> Path:
    aside = temporary_folder(folder, "old")
    shutil.rmtree(aside, ignore_errors=True)
    return folder.rename(aside)


def _is_alive(process: int) -> bool:
    if process == os.getpid():
        return False  # what has this number and is not being made is from another's life
    if os.name == "nt":
        return True  # where signal 0 would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        pass
    return True
