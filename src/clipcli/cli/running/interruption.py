"""Ctrl-C and SIGTERM: the first lets a run end in good order, the second ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

_NOTICE = b"clipcli: finishing what is in flight; once more leaves at once\n"


class Terminated(BaseException):
    """SIGTERM came. Like KeyboardInterrupt, no Exception: nothing may swallow it."""


class Interruption:
    """Whether a run has been asked to end.

    Attributes:
        stop: set by the first signal.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._signal: int | None = None

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Take the first signal as a wish, within the block; the second raises."""
        numbers = signal.SIGINT, signal.SIGTERM
        before = {number: signal.signal(number, self._heed) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _heed(self, number: int, _frame: FrameType | None) -> None:
        # No lock: handlers run in the main thread alone, one after another.
        if self.stop.is_set():
            _raise(number)
        self._signal = number
        self.stop.set()
        with suppress(OSError, ValueError):
            # Past the stream's buffer: the signal may have come while that was being written.
            os.write(sys.stderr.fileno(), (b"\n" if sys.stderr.isatty() else b"") + _NOTICE)

    @property
    def exit_code(self) -> int | None:
        """What shells make of the signal that came; None where none did."""
        return None if self._signal is None else 128 + self._signal

    def raise_if_asked(self) -> None:
        """Raise what the first signal did not.

        Raises:
            KeyboardInterrupt: Ctrl-C.
            Terminated: SIGTERM.
        """
        if self._signal is not None:
            _raise(self._signal)


def terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    """A handler of SIGTERM outside of runs."""
    raise Terminated


def _raise(number: int) -> NoReturn:
    # What the one place that maps errors to exit codes knows them by.
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated
