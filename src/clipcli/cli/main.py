"""The process `clipcli`: what signals do from its first moment on, and its end."""

from __future__ import annotations

import errno
import os
import signal
import sys
from io import TextIOWrapper

# Not typing's, whose import takes longer than all there is here: what comes before signals are
# heard is to be little.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, NoReturn

_NO_TELEMETRY = (
    *("DO_NOT_TRACK", "DISABLE_TELEMETRY", "ORT_DISABLE_TELEMETRY"),
    *("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_UPDATE_CHECK"),
)


def main() -> NoReturn:
    """Run the command line and leave the process with its exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # A shell's job in the background ignores Ctrl-C, and goes on doing so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)
    _open_missing_streams()
    _keep_to_ourselves()

    from clipcli.cli.program import run

    code = _flushed(run(sys.argv[1:]))
    if sys.getprofile() or sys.gettrace():
        sys.exit(code)  # a profiler writes its findings while the interpreter goes down
    # Threads that wait for a slow server must not hold the process back, and taking all modules
    # apart once more is a tenth of a short run.
    os._exit(code)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    """End the process at once, as shells know it, while modules are imported and at the very end.

    An exception would be lost there: importing replaces it, or a library takes it for a part of
    its own that is not installed. Nothing is written yet, or all is.
    """
    os._exit(128 + number)


def _flushed(code: int) -> int:
    """The exit code after the last bytes of standard output have gone, or could not."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # The interpreter flushes once more at its end; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        from clipcli.cli.exit_codes import ExitCode
        from clipcli.cli.program import tell_if_full

        if isinstance(error, BrokenPipeError):
            return ExitCode.READER_GONE
        if code != ExitCode.UNEXPECTED:  # else it has been told
            tell_if_full(error)
        return code or ExitCode.UNEXPECTED
    return code


def _keep_to_ourselves() -> None:
    """Have no library tell its makers of this process, nor look for news; each reads its own.

    Before any is imported, and in the command alone: a program that uses clipcli has its own say.
    """
    os.environ.update(dict.fromkeys(_NO_TELEMETRY, "1"))


def _open_missing_streams() -> None:
    """Put something in the place of standard streams that the caller closed (`<&-`, `>&-`).

    Their numbers are taken, too: a file that were opened as number 1 would be written to by
    whatever a library prints.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, _ClosedOutput(stream) if name == "stdout" else stream)


class _ClosedOutput(TextIOWrapper):
    """Standard output that was closed from the start: nothing can be written to it.

    A run whose results go to a file is none the worse for it.

    Args:
        place: what holds its number.
    """

    def __init__(self, place: Any) -> None:  # noqa: ANN401  an open file of text
        super().__init__(place.buffer, encoding="utf-8")
        self._place = place

    def write(self, _text: str) -> int:
        raise OSError(errno.EBADF, "standard output is closed")


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Give `cli`, the group, and `run` from their own module when they are asked for."""
    if name not in ("cli", "run"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from clipcli.cli import program

    return getattr(program, name)
