"""Ctrl-C and SIGTERM: the first lets a run end in good order, the second ends it at once.

Outside of runs the first one raises. Inside an import it goes to whoever was told of signals
before, which in a process of clipcli's own ends it: what is raised there does not arrive.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn, Self

_NOTICE = b"clipcli: finishing what is in flight; once more leaves at once\n"


class Terminated(BaseException):
    """SIGTERM came. Like KeyboardInterrupt, no Exception: nothing may swallow it."""


_NUMBERS = signal.SIGINT, signal.SIGTERM


class Signals:
    """Signals of a command: within its context each raises `KeyboardInterrupt` or `Terminated`.

    Those that the process ignores stay ignored.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._number: int | None = None

    def __enter__(self) -> Self:
        for number in _NUMBERS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._raise)
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int | None:
        """What shells make of the signal that came; None where none did."""
        return None if self._number is None else 128 + self._number

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self._number = number
        earlier = self._before[number]
        if callable(earlier) and _is_importing(frame):
            earlier(number, frame)
        _raise(number)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether the import of some module has led to what runs now."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


class Interruption:
    """Whether a run has been asked to end.

    Attributes:
        stop: set by the first signal.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._before: dict[int, Any] = {}
        self._signal: int | None = None

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Take the first signal as a wish, within the block; the second raises."""
        self._before = {number: signal.signal(number, self._heed) for number in _NUMBERS}
        try:
            yield
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _heed(self, number: int, frame: FrameType | None) -> None:
        # No lock: handlers run in the main thread alone, one after another.
        if self.stop.is_set():
            earlier = self._before[number]
            if callable(earlier):
                earlier(number, frame)
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


def _raise(number: int) -> NoReturn:
    # What the one place that maps errors to exit codes knows them by.
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated
