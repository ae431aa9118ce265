"""Files that are there whole or not at all: written beside their place, synced, renamed."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from clipcli.errors import DISK_FULL, ClipcliError, UsageError

# Windows has neither; and there no file is opened through a link that is not its user's own.
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class NewFile:
    """The new content of a file, which takes its place when it is whole.

    As a context it is published at the end of the block, and discarded after an error. What has
    the file's name meanwhile, a link too, is replaced and never written through.

    Args:
        target: the file; one that is there stays until then.
        path: where the content is written, on the same disk; by default beside the target, under
            a name of this process's own.

    Example:
        >>> with NewFile(Path("answers.csv")) as file:
        ...     file.write_text("cat,0.9")
    """

    def __init__(self, target: Path, path: Path | None = None) -> None:
        self._is_own = path is None
        self.path = path or target.with_name(f".{target.name}.{os.getpid()}.new")
        self._target = target

    def __enter__(self) -> Path:
        if self._is_own:
            self.discard()  # of a process that was killed, or a stranger's
        open_own(self.path, "wb").close()
        return self.path

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        if kind is not None:
            self.discard()
            return
        try:
            self.publish()
        except BaseException:
            self.discard()
            raise

    def publish(self) -> None:
        """Put the content in the target's place.

        Raises:
            ClipcliError: something else has removed the content.
            OSError: the disk takes no more, or the target cannot be replaced.
        """
        with content(self.path) as file:
            # Else a power cut could leave the new name with the content still on its way.
            os.fsync(file.fileno())
        self.path.replace(self._target)

    def discard(self) -> None:
        """Remove what has not been published."""
        with suppress(OSError):
            self.path.unlink()


def content(path: Path) -> IO[bytes]:
    """Open what was written to a file, to be put in its place.

    Raises:
        ClipcliError: it is not there any more.
        OSError: it cannot be opened.
    """
    try:
        return path.open("rb+")
    except FileNotFoundError as error:
        raise gone(path) from error


def gone(path: Path) -> ClipcliError:
    """The error of a file that something else removed while it was written."""
    return ClipcliError(
        f"{path} is gone: something else removed or replaced it while it was being written, and"
        " what it held is lost. Give the same command to begin anew"
    )


def open_own(path: Path, mode: str, **text: str) -> IO[Any]:
    """Open a file under a name of clipcli's own making, to write it: never through a link.

    Whoever gave the folder may have put something else under that name: a link to a file of the
    user's, a pipe without a reader, which would hold the process for ever.

    Args:
        path: of the file; a regular one is used as it is, and one that is not there is made.
        mode: as for `open`.
        text: as for `open`: encoding, errors, newline.

    Raises:
        OSError: it cannot be opened, or what is there is no file of one name.
    """
    return open(path, mode, opener=own_opener, **text)  # type: ignore[call-overload,no-any-return]


def read_own(path: Path, most: int = 1 << 24) -> str:
    """The text of a small file that clipcli keeps, which another may have spoiled or replaced.

    Args:
        path: of the file; only a regular one is read.
        most: bytes; more are not clipcli's.

    Raises:
        OSError: it cannot be read, or is no such file.
        ValueError: it is no text.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "no regular file", str(path))
        # What is asked for is set aside, however small the file.
        data = file.read(min(found.st_size, most) + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, "larger than clipcli writes it", str(path))
    return data.decode("utf-8")


def _open_at_once(path: str, flags: int) -> int:
    """Open a file to read it; a pipe without a writer, too, for which open(2) would wait."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def check_own(path: str | Path) -> None:
    """See that what is under a name of clipcli's own, if there is anything, is a file of one name.

    Raises:
        OSError: it is a link, a pipe, a device; or the folder cannot be looked into.
    """
    with suppress(FileNotFoundError):
        _check(str(path), os.lstat(path))


def own_opener(path: str, flags: int) -> int:
    """What `open_own` is to `open`: see there."""
    check_own(path)
    # Nothing is cut off before it is known what it is.
    number = os.open(path, (flags & ~os.O_TRUNC) | _NO_LINKS, 0o666)
    try:
        _check(path, os.fstat(number))
        if flags & os.O_TRUNC:
            os.ftruncate(number, 0)
    except BaseException:
        os.close(number)
        raise
    return number


def _check(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        what = "a link" if stat.S_ISLNK(status.st_mode) else "no regular file"
    elif status.st_nlink > 1:
        what = "another file, too: a hard link"
    else:
        return
    raise OSError(errno.EEXIST, f"it is {what}; remove it", path)


class GuardedFile(io.FileIO):
    """A file or a stream that is written, and named where a disk takes no more.

    Args:
        file: under a name of clipcli's own, or the number of an open file.
        mode: as for `open`.
        name: for people, of what is written.
        kept: as for `cannot_write`.

    Raises:
        ClipcliError: at a write, where the disk takes no more.
    """

    def __init__(self, file: Path | int, mode: str, name: object, kept: str = "") -> None:
        super().__init__(file, mode, opener=None if isinstance(file, int) else own_opener)
        self.kept = kept
        self._told = name

    def write(self, data: Any, /) -> int:  # noqa: ANN401  whatever has bytes
        """Write bytes, as many as the disk takes."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise cannot_write(self._told, error, self.kept) from error
            raise


def part_file(target: Path) -> Path:
    """FILE.part, where the content of a FILE that takes long to make is seen to grow."""
    return target.with_name(f"{target.name}.part")


def write_text(file: Path, text: str) -> None:
    """Write a small file so that whoever reads it meanwhile finds the old content or the new one.

    A link of that name is replaced, not followed.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    # Not tempfile: its files are closed to everyone but their owner, and stay so when renamed.
    with NewFile(file) as beside, open_own(beside, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)


def cannot_write(what: object, error: OSError | ValueError, kept: str = "") -> ClipcliError:
    """The error that says what cannot be written, why, and how to go on.

    Args:
        what: the file, with its option where it has one.
        error: why; a ValueError is of a name that no file can have.
        kept: what becomes of the results so far, and how to go on with them.
    """
    reason = getattr(error, "strerror", None) or str(error)
    text = f"cannot write {what} ({reason})"
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        way_out = "make room there, or name a file on another disk"
        text += f": {way_out}; {kept or 'then give the same command again'}"
    return ClipcliError(text)


@contextmanager
def writable(file: object, kept: str = "") -> Iterator[None]:
    """Say of a file that cannot be opened which one it is, and why.

    Args:
        file: or a text that names it.
        kept: as for `cannot_write`.

    Raises:
        ClipcliError: the disk is full or broken.
        UsageError: everything else that keeps a file from being written.
    """
    try:
        yield
    except BrokenPipeError:  # whoever reads has gone, and wants no message
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        found = cannot_write(file, error, kept)
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise found from error
        raise UsageError(str(found)) from error
