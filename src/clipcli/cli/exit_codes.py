"""What the shell is told: one code for each way in which a command can end."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipcli.runs.tally import Tally


class ExitCode(IntEnum):
    """The exit codes; where several would be right, the README says which one is given."""

    ALL_DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    SOME_FAILED = 3
    NONE_SUCCEEDED = 4
    NO_MODEL = 5
    CHECK_NOT_MET = 6
    # Shells make 128 + N of a death by signal N, here SIGINT, SIGPIPE and SIGTERM.
    INTERRUPTED = 130
    READER_GONE = 141
    TERMINATED = 143


def code_of_run(tally: Tally) -> ExitCode:
    """The exit code of a run that came to its end, the graver one first."""
    if not tally.done:
        return ExitCode.NONE_SUCCEEDED
    if tally.unexpected:
        return ExitCode.CHECK_NOT_MET
    return ExitCode.SOME_FAILED if tally.failed else ExitCode.ALL_DONE
