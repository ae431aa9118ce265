"""Files that are moved, copied and linked so that none is ever replaced, or there by half.

What is to happen to a file is a `Step`. First `put` makes the target and leaves the source; when
that is sure to be on the disk, `drop_source` ends a move. Whoever is killed at any point leaves
each file whole at one place or at both, and the step says which of them is to go: `completed` and
`taken_back` finish it either way, as often as they are called.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum

from clipcli.disk.copying import AT_ONCE, NO_HARD_LINKS, SourceError, copy, rename, sourced


class How(StrEnum):
    """What becomes of a file."""

    MOVE = "move"
    COPY = "copy"
    LINK = "link"


@dataclass(frozen=True)
class Step:
    """One file on its way to another place; all paths begin at the root.

    Attributes:
        number: of the step among its journal's.
        how: what becomes of the file.
        source: where it is.
        target: where it shall be, too or instead.
        beside: a name of this step's own, in the target's folder, for a copy that is not whole.
        size: of the source in bytes.
        mtime_ns: when the source was last written.
        link: what the source says, where it is a symbolic link; None elsewhere.
    """

    number: int
    how: How
    source: str
    target: str
    beside: str
    size: int
    mtime_ns: int
    link: str | None = None

    @property
    def symlink(self) -> str | None:
        """What the target says, where it is a symbolic link: moved as such, or made."""
        if self.how is How.LINK:
            return self.source
        if self.link is None or self.how is How.COPY:
            return None
        # From another folder, a relative link would lead elsewhere.
        return os.path.join(os.path.dirname(self.source), self.link)


def put(step: Step) -> None:
    """Make the target; the source stays, unless its disk has no hard links.

    Raises:
        FileExistsError: something is there already; it stays as it is.
        SourceError: the source cannot be read.
        OSError: the disk takes no more, or the folder does not let itself be written to.
    """
    if step.symlink is not None:
        os.symlink(step.symlink, step.target)
    elif step.how is How.COPY:
        copy(step.source, step.target, step.beside)
    else:
        try:
            os.link(step.source, step.target)
        except OSError as error:
            if error.errno == errno.EXDEV:
                copy(step.source, step.target, step.beside)
            elif error.errno in NO_HARD_LINKS:
                rename(step.source, step.target)
            else:
                raise


def drop_source(step: Step) -> None:
    """End a move, whose target is on the disk: the source goes.

    Raises:
        SourceError: it has been changed meanwhile.
        OSError: it cannot be removed.
    """
    try:
        found = os.lstat(step.source)
    except FileNotFoundError:  # a disk without hard links
        return
    if (found.st_size, found.st_mtime_ns) != (step.size, step.mtime_ns):
        raise SourceError(errno.EBUSY, "it was changed while it was being moved", step.source)
    os.unlink(step.source)


def completed(step: Step) -> bool:
    """Finish a step that was cut; whether its target is there.

    Raises:
        OSError: it cannot be finished.
    """
    _clear(step, is_done=False)
    if not os.path.lexists(step.target):
        return False
    if step.how is How.MOVE and os.path.lexists(step.source):
        if not _is_at_both(step):
            return False  # another's file: it came before this step did anything
        os.unlink(step.source)
    return True


def taken_back(step: Step, *, is_done: bool) -> str | None:
    """Undo a step, whole or cut, as far as nobody's file is lost by it.

    Args:
        step: of an earlier run, or of this one.
        is_done: whether that run saw its end.

    Returns:
        Why it cannot be undone, for people; None where it is.

    Raises:
        OSError: the disk takes no more, or a folder does not let itself be written to.
    """
    _clear(step, is_done=is_done)
    has_source = os.path.lexists(step.source)
    if not os.path.lexists(step.target):
        is_lost = step.how is How.MOVE and is_done and not has_source
        return "it is gone from where it was put" if is_lost else None
    if step.how is How.MOVE and not has_source:
        if is_done or _looks_made(step):
            _move_back(step)
        return None
    if _looks_made(step) if step.how is How.LINK else _is_at_both(step):
        os.unlink(step.target)
        return None
    if not is_done:
        return None  # another's file
    if step.how is How.MOVE:
        return f"something else is at {step.source} now: it stays where it is"
    return "it, or what it was made of, is not as it was: it stays"


def is_same(one: str, other: str) -> bool:
    """Whether two files have the same content, or lead to the same.

    Raises:
        SourceError: one cannot be read.
    """
    with sourced():
        if os.path.islink(one) and os.path.islink(other):
            return os.path.realpath(one) == os.path.realpath(other)
        try:
            first, second = os.stat(one), os.stat(other)
        except FileNotFoundError:  # a link that leads nowhere
            return False
        if os.path.samestat(first, second):
            return True
        are_files = stat.S_ISREG(first.st_mode) and stat.S_ISREG(second.st_mode)
        return are_files and first.st_size == second.st_size and _same_bytes(one, other)


def sync_folder(folder: str) -> None:
    """Make sure of the names in a folder, for when the power goes.

    Raises:
        OSError: the disk is broken.
    """
    if sys.platform == "win32":  # it opens no folders
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a disk that has nothing to make sure of
            raise
    finally:
        os.close(number)


def _clear(step: Step, *, is_done: bool) -> None:
    """Remove what a step that was cut has left and that nobody shall find."""
    name = os.path.basename(step.beside)
    # Undone, it is at the source.
    for beside in (step.beside, os.path.join(os.path.dirname(step.source), name)):
        with suppress(FileNotFoundError):
            os.unlink(beside)
    if is_done:
        return
    # A name that was held free: see `copying.rename`. The file itself is still at its source.
    with suppress(FileNotFoundError):
        held, source = os.lstat(step.target), os.lstat(step.source)
        if stat.S_ISREG(held.st_mode) and not held.st_size and source.st_size:
            os.unlink(step.target)


def _is_at_both(step: Step) -> bool:
    """Whether nothing is lost when the source or the target goes: neither lives by the other.

    Raises:
        SourceError: one cannot be read.
    """
    if step.symlink is not None:
        return _reads(step.source, step.link) and _reads(step.target, step.symlink)
    with sourced():
        source, target = os.stat(step.source), os.lstat(step.target)
        is_link = os.path.islink(step.source)
        if os.path.samestat(source, target):
            return not is_link
        return (
            # What a link leads to may be copied, and never is moved.
            not (is_link and step.how is How.MOVE)
            and stat.S_ISREG(target.st_mode)
            and source.st_size == target.st_size
            and _same_bytes(step.source, step.target)
        )


def _looks_made(step: Step) -> bool:
    """Whether the target is what the step makes, as far as its size tells, or its text."""
    if step.symlink is not None:
        return _reads(step.target, step.symlink)
    found = os.lstat(step.target)
    return stat.S_ISREG(found.st_mode) and found.st_size == step.size


def _reads(link: str, text: str | None) -> bool:
    return os.path.islink(link) and os.readlink(link) == text


def _move_back(step: Step) -> None:
    os.makedirs(os.path.dirname(step.source), exist_ok=True)
    if step.link is not None and os.path.islink(step.target):
        os.symlink(step.link, step.source)
    else:
        beside = os.path.join(os.path.dirname(step.source), os.path.basename(step.beside))
        put(replace(step, source=step.target, target=step.source, beside=beside, link=None))
    sync_folder(os.path.dirname(step.source))
    with suppress(FileNotFoundError):  # a disk without hard links
        os.unlink(step.target)


def _same_bytes(one: str, other: str) -> bool:
    with open(one, "rb") as first, open(other, "rb") as second:
        while data := first.read(AT_ONCE):
            if data != second.read(AT_ONCE):
                return False
        return not second.read(1)
