r"""A journal of files that are put elsewhere: told of before it is done, so that it can be undone.

One JSON value a line, only ever appended::

    {"journal": "clipcli", "version": 1}
    {"folder": "/sorted/cat"}                               is about to be made
    {"step": 1, "how": "move", "source": "/a.jpg", ...}     is about to be taken
    {"done": 1}                                             is taken; "dropped": came to nothing
    {"undone": 1}
    {"end": "sorted"}                                       or "undone"

A line that a kill or a full disk has cut is of something that was not begun. Undecodable bytes of
names are JSON's escapes of lone surrogates (`\udcff`), as Python has them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from clipcli.disk.atomic import GuardedFile, writable
from clipcli.disk.lock import Lock
from clipcli.disk.placing import How, Step, completed, sync_folder
from clipcli.errors import UsageError

_HEAD = {"journal": "clipcli", "version": 1}
_NAME = re.compile(r"journal-([1-9][0-9]{0,8})\.jsonl")
_ENDS = tuple(json.dumps({"end": how}).encode() for how in ("sorted", "undone"))
_STATES = ("done", "dropped", "undone")
# A path may have 4,096 bytes or 32,767 characters, each of which JSON may write as six.
_LONGEST_LINE = 1 << 20


@dataclass
class Record:
    """What a journal tells.

    Attributes:
        folders: that were made, in their order.
        steps: by number, in their order.
        states: the last that was told of each step: `done`, `dropped`, `undone`.
        end: how it ended; None where it was cut, or goes on.
        ends_whole: whether its last line has its end.
    """

    folders: list[str] = field(default_factory=list)
    steps: dict[int, Step] = field(default_factory=dict)
    states: dict[int, str] = field(default_factory=dict)
    end: str | None = None
    ends_whole: bool = True

    def cut(self) -> Iterator[Step]:
        """The steps of which nobody told what became of them."""
        return (step for number, step in self.steps.items() if number not in self.states)


class Journal:
    """A journal that this process holds and appends to.

    Args:
        file: one that is there is gone on with; an empty one is removed when it is closed.
        kept: as for `disk.atomic.cannot_write`.

    Raises:
        UsageError: another process holds it, it cannot be written, or is no journal.
    """

    def __init__(self, file: Path, kept: str = "") -> None:
        self.file = file
        self._lock = Lock(file)
        try:
            self.record = read_journal(file) if file.stat().st_size else None
            with writable(file):
                self._stream = GuardedFile(file, "ab", file, kept)
        except BaseException:
            self._lock.close()
            raise
        self._last = max(self.record.steps, default=0) if self.record else 0
        self._is_torn = self.record is not None and not self.record.ends_whole

    def plan(self, how: How, source: str, target: str) -> Step:
        """Tell of a file that is about to be taken.

        Args:
            how: what becomes of it.
            source: its path from the root.
            target: the path of a name that is free.

        Raises:
            OSError: the source is gone.
            ClipcliError: the disk takes no more.
        """
        link = os.readlink(source) if os.path.islink(source) else None
        # A copy is of what a link leads to.
        found = os.stat(source) if how is How.COPY else os.lstat(source)
        self._last += 1
        beside = f".clipcli-{self.file.stem}-{self._last}.part"
        step = Step(
            self._last,
            how,
            source,
            target,
            os.path.join(os.path.dirname(target), beside),
            found.st_size,
            found.st_mtime_ns,
            link,
        )
        told = asdict(step)
        self._add({"step": told.pop("number"), **told})
        return step

    def plan_folder(self, folder: str) -> None:
        """Tell of a folder that is about to be made."""
        self._add({"folder": folder})

    def tell(self, state: str, step: Step) -> None:
        """Tell what became of a step: it is `done`, `dropped`, `undone`."""
        self._add({state: step.number})

    def end(self, how: str) -> None:
        """Tell that there is nothing more to come."""
        self._add({"end": how})
        self.sync()

    def sync(self) -> None:
        """Make sure of what is told, for when the power goes."""
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Let go of it."""
        self._stream.close()
        self._lock.close()

    @property
    def is_empty(self) -> bool:
        """Whether it tells of nothing, so that nothing will be left of it."""
        return not os.fstat(self._stream.fileno()).st_size

    def _add(self, told: dict[str, Any]) -> None:
        first = [_HEAD] if self.is_empty else []
        text = "".join(json.dumps(line) + "\n" for line in [*first, told])
        data = ("\n" * self._is_torn + text).encode("ascii")
        self._is_torn = True
        # A full disk takes a part, and nothing of the next write, which then says why.
        while data:
            data = data[self._stream.write(data) :]
        self._is_torn = False


def open_journal(folder: Path, kept: str = "") -> Journal:
    """The journal of a run that puts files into a folder.

    What runs that were killed have left half done there is finished, and the first such run's
    journal gone on with, so that one journal undoes them all.

    Args:
        folder: where journals are: journal-1.jsonl, journal-2.jsonl.
        kept: as for `disk.atomic.cannot_write`.

    Raises:
        UsageError: the folder cannot be written to.
    """
    numbers = sorted(
        int(match[1]) for name in os.listdir(folder) if (match := _NAME.fullmatch(name))
    )
    found: Journal | None = None
    for number in numbers:
        journal = _cut_journal(_numbered(folder, number), kept)
        if journal is None:
            continue
        finish(journal)
        if found is None:
            found = journal
        else:
            if not journal.is_empty:
                journal.end("sorted")
            journal.close()
    number = max(numbers, default=0)
    while found is None:
        number += 1
        file = _numbered(folder, number)
        # Between two runs that begin at once, the lock decides.
        if not os.path.lexists(file):
            found = _held(file, kept)
    return found


def finish(journal: Journal) -> None:
    """Finish what a run was about when it was killed.

    Raises:
        OSError: it cannot be finished.
    """
    for step in journal.record.cut() if journal.record else ():
        is_there = completed(step)
        if is_there:
            sync_folder(os.path.dirname(step.target))
        journal.tell("done" if is_there else "dropped", step)
    journal.sync()


def read_journal(file: Path) -> Record:
    """What a journal tells; lines that are none are passed over.

    Raises:
        UsageError: it is no journal, or cannot be read.
    """
    record, is_journal = Record(), False
    try:
        if not file.is_file():
            raise UsageError(f"{file}: is no file: name a journal that a sorting run wrote")
        with file.open("rb") as stream:
            while line := stream.readline(_LONGEST_LINE):
                told = _parsed(line)
                is_journal = is_journal or told.get("journal") == _HEAD["journal"]
                record.ends_whole = line.endswith(b"\n")
                if is_journal:
                    _take(record, told)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror})") from error
    if not is_journal:
        raise UsageError(f"{file}: is no journal of clipcli: name one that a sorting run wrote")
    return record


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        told = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _take(record: Record, told: dict[str, Any]) -> None:
    if step := _step(told):
        record.steps[step.number] = step
    elif isinstance(folder := told.get("folder"), str):
        record.folders.append(folder)
    elif isinstance(end := told.get("end"), str):
        record.end = end
    for state in _STATES:
        if isinstance(number := told.get(state), int):
            record.states[number] = state


def _step(told: dict[str, Any]) -> Step | None:
    """A step, if a line tells of one, and of files whose paths begin at the root."""
    try:
        told = {**told, "number": told["step"], "how": How(told["how"])}
        step = Step(**{one.name: told[one.name] for one in fields(Step)})
        numbers = step.number, step.size, step.mtime_ns
        is_whole = (
            all(isinstance(number, int) for number in numbers)
            and all(map(os.path.isabs, (step.source, step.target, step.beside)))
            and (step.link is None or isinstance(step.link, str))
        )
    except (KeyError, TypeError, ValueError):
        return None
    return step if is_whole else None


def _cut_journal(file: Path, kept: str) -> Journal | None:
    """The journal of a run that was killed; None where it ended, or goes on, or is being undone."""
    journal = _held(file, kept) if _is_cut(file) else None
    # Between the look and the hold its run may have ended.
    if journal is not None and not _is_cut(file):
        journal.close()
        return None
    return journal


def _is_cut(file: Path) -> bool:
    try:
        size = file.lstat().st_size
        if not size:
            return True  # killed before it told of anything
        if _ending(file, size) in _ENDS:
            return False  # as nearly all are, however long
        record = read_journal(file)
    except (OSError, UsageError):  # another's file of such a name
        return False
    return record.end is None and "undone" not in record.states.values()


def _ending(file: Path, size: int) -> bytes:
    if not file.is_file():
        return b""
    with file.open("rb") as stream:
        stream.seek(max(0, size - 100))
        return stream.read().splitlines()[-1]


def _held(file: Path, kept: str) -> Journal | None:
    """A journal, unless another process holds it."""
    try:
        return Journal(file, kept)
    except UsageError:
        if os.access(file.parent, os.W_OK) and os.path.lexists(file):
            return None
        raise


def _numbered(folder: Path, number: int) -> Path:
    return folder / f"journal-{number}.jsonl"
