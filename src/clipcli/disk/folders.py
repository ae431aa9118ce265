"""Folders that change places in one step."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

# Of linux/fs.h, and of Darwin's sys/stdio.h: the same number.
_EXCHANGE = 2
_WORKING_FOLDER = -100  # AT_FDCWD of linux/fcntl.h
_NOT_POSSIBLE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV}


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
