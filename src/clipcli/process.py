"""The process that clipcli is a guest in: its settings are put back, its forks are known."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    import logging

_forks = 0
_locks: WeakSet[ProcessLock] = WeakSet()


def _is_forked_worker() -> bool:
    """Whether multiprocessing forked this process, before it came to import clipcli."""
    if "multiprocessing.process" not in sys.modules:
        return False
    import multiprocessing

    if multiprocessing.parent_process() is None:
        return False
    # Not by asking for the method itself, which would settle it for the host program.
    own = getattr(multiprocessing.current_process(), "_start_method", None)
    chosen = own or multiprocessing.get_start_method(allow_none=True)
    return (chosen or multiprocessing.get_all_start_methods()[0]) == "fork"


_inherited = frozenset(sys.modules) if _is_forked_worker() else frozenset()


def after_fork(action: Callable[[], None]) -> Callable[[], None]:
    """Have something done, for ever, in every process that is forked from this one."""
    if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
        os.register_at_fork(after_in_child=action)
    return action


@after_fork
def _note_fork() -> None:
    global _forks, _inherited  # noqa: PLW0603  they are the process's
    _forks += 1
    _inherited = frozenset(sys.modules)
    for lock in _locks:
        lock.renew()


def forks() -> int:
    """How often this process or one of its forebears was forked since clipcli was imported."""
    return _forks


def is_inherited(library: str) -> bool:
    """Whether a library was imported before a fork: its threads stayed behind in the parent."""
    return library in _inherited


class ProcessLock:
    """A re-entrant lock that nobody holds in a forked process, whoever held it at the fork."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_error: object) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Be held by nobody."""
        self._lock = threading.RLock()


class Shared:
    """A change of the process that several threads ask for at once.

    The first one makes it and the last one undoes it: if each put back what it found, one of them
    would put back what another had made.

    Args:
        change: makes it when it is entered, and undoes it.

    Example:
        >>> with Shared(quiet_logger)():
        ...     download()
    """

    def __init__(self, change: Callable[[], AbstractContextManager[None]]) -> None:
        self._change = change
        self._lock = ProcessLock()
        self._made = ExitStack()
        self._users = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Have the change for as long as this lasts."""
        with self._lock:
            if not self._users:
                self._made.enter_context(self._change())
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._made.close()


_IMPORTING = ProcessLock()


@contextmanager
def unchanged() -> Iterator[None]:
    """Put back what a library sets for the whole process while it is imported or loads a model.

    These are environment variables, the filters of warnings and the levels of loggers that are
    there already: they are the host program's.
    """
    with _IMPORTING, warnings.catch_warnings():
        variables, levels = dict(os.environ), _levels()
        try:
            yield
        finally:
            for name in os.environ.keys() - variables.keys():
                del os.environ[name]
            for name, value in variables.items():
                if os.environ.get(name) != value:
                    os.environ[name] = value
            for logger, level in levels.items():
                if logger.level != level:
                    logger.setLevel(level)


def _levels() -> dict[logging.Logger, int]:
    if "logging" not in sys.modules:  # and a start is spared its import
        return {}
    import logging

    known = [logging.root, *logging.root.manager.loggerDict.values()]
    return {one: one.level for one in known if isinstance(one, logging.Logger)}
