"""What a journal tells of, undone: as often as is wanted, and without replacing any file."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from clipcli.disk.atomic import cannot_write
from clipcli.disk.journal import Journal
from clipcli.disk.placing import Step, taken_back
from clipcli.errors import DISK_FULL

_KEPT = "no file is lost, and the same command goes on"


@dataclass(frozen=True)
class Undone:
    """What became of a journal's files.

    Attributes:
        count: are as they were before the run.
        left: could not be put back.
    """

    count: int
    left: int


def undo(journal: Journal, tell: Callable[[str, str], None]) -> Undone:
    """Put back what a run has taken, the last first, and remove the folders that it made.

    Args:
        journal: of the run, whole or cut.
        tell: takes the path of a file that cannot be put back, and why.

    Raises:
        ClipcliError: the disk takes no more.
    """
    count = left = 0
    record = journal.record
    steps = reversed(record.steps.values()) if record else ()
    for step in steps:
        state = record.states.get(step.number) if record else None
        if state in ("undone", "dropped"):
            continue
        why = _undo(step, is_done=state == "done")
        if why is None:
            journal.tell("undone", step)
            count += 1
        else:
            tell(step.target, why)
            left += 1
    for folder in reversed(record.folders if record else ()):
        with suppress(OSError):  # something is in it
            os.rmdir(folder)
    if not left:
        journal.end("undone")
    return Undone(count, left)


def _undo(step: Step, *, is_done: bool) -> str | None:
    try:
        return taken_back(step, is_done=is_done)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise cannot_write(step.source, error, _KEPT) from error
        return f"cannot be put back ({error.strerror})"
