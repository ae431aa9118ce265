"""Files that a user names to be written: through links, and into devices and pipes."""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from pathlib import Path
from typing import IO, TextIO

from clipcli.disk.atomic import GuardedFile, NewFile, content, part_file

# /dev/stdout and bash's >(…) lead to such names, whatever is open there.
_DESCRIPTOR = re.compile(r"(?:/dev/fd|/proc/(?P<process>\d+)(?:/task/\d+)?/fd)/(?P<number>\d+)")
_MOST_LINKS = 40


class OutputFile(NewFile):
    """The new content of what a user named: `NewFile`, as the user means it.

    A link stays one, and the file that it leads to is replaced. A device, a pipe or a socket stays
    what it is, and is given the content when that is whole.

    Args:
        named: by the user.
        in_part: the content is in FILE.part until then, where it is seen to grow.

    Raises:
        OSError: there is no place for the content of a stream.
    """

    def __init__(self, named: Path, *, in_part: bool = False) -> None:
        self._stream = named if is_stream(named) else None
        if self._stream is not None:
            # Not at the top, as elsewhere here: they would slow down every `--help`.
            from tempfile import mkdtemp

            # A device's own folder is no place for files.
            super().__init__(named, Path(mkdtemp(prefix="clipcli-"), named.name))
        else:
            file = behind_links(named)
            super().__init__(file, part_file(file) if in_part else None)

    def publish(self) -> None:
        """Put the content in the file's place, or give it to the stream."""
        if self._stream is None:
            super().publish()
            return
        import shutil

        with content(self.path) as source, open_stream(self._stream) as stream:
            shutil.copyfileobj(source, stream)
        self.discard()

    def discard(self) -> None:
        """Remove what has not been published."""
        super().discard()
        if self._stream is not None:
            import shutil

            shutil.rmtree(self.path.parent, ignore_errors=True)


def workspace(named: Path) -> Path:
    """Where there is room for what is needed until the content of a user's file is whole.

    Beside it: where temporary files usually go may be memory, or a small disk.
    """
    if not is_stream(named):
        return behind_links(named).parent
    from tempfile import gettempdir

    return Path(gettempdir())


def is_stream(named: Path) -> bool:
    """Whether what a user names takes bytes as they come: a device, a pipe, `/dev/stdout`."""
    try:
        if _descriptor(named) is not None:
            return True
        mode = named.stat().st_mode
    except (OSError, ValueError):  # nothing of that name, or no name
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_stream(named: Path) -> None:
    """See that a stream can be written, as far as that shows before it is opened.

    Raises:
        OSError: it cannot.
    """
    number = _descriptor(named)
    if number is not None:
        os.fstat(number)
    elif named.is_socket():
        raise OSError(errno.ENXIO, "a socket, to which nothing is connected")
    elif not os.access(named, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def open_stream(named: Path) -> IO[bytes]:
    """Open a stream to write to it; of a pipe, when somebody reads.

    Raises:
        OSError: it cannot be written.
    """
    number = _descriptor(named)
    # Not by its name: that would write a file which standard output was led to from its start.
    opened = os.open(named, os.O_WRONLY) if number is None else os.dup(number)
    return io.BufferedWriter(GuardedFile(opened, "wb", named))


def text_stream(stream: IO[bytes]) -> TextIO:
    """A stream that takes text, in UTF-8: the undecodable bytes of a name come out as they were."""
    return io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="\n")


def behind_links(named: Path) -> Path:
    """The file that a name leads to, which need not be there.

    A name that is no link stays as the user gave it, and so does that of a stream.
    """
    leads_to_file = named.is_symlink() and not is_stream(named)
    return Path(os.path.realpath(named)) if leads_to_file else named


def write_json(file: Path, value: object) -> None:
    """Write a JSON file that a user named, whole or not at all.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    import json

    # Before the file is touched: what is no JSON must not cost the old content.
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    with OutputFile(file) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


def _descriptor(named: Path) -> int | None:
    """The number of the open file of this process that a name leads to, if it does."""
    path = os.path.abspath(named)
    for _ in range(_MOST_LINKS):
        path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        if match := _DESCRIPTOR.fullmatch(path):
            is_ours = match["process"] in (None, str(os.getpid()))
            return int(match["number"]) if is_ours else None
        if not os.path.islink(path):
            return None
        path = os.path.join(os.path.dirname(path), os.readlink(path))
    return None
