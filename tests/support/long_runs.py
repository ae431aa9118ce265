"""Runs of the installed command that a test holds back, watches, and ends as it likes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import ENXIO
from pathlib import Path

from command import PATIENCE, installed_command, unmeasured_environment

LABELS = ("-l", "a photo of a cat", "-l", "a cup of coffee", "-l", "a rocket")
RUN = ("--model", "tiny", *LABELS)
SECONDS = PATIENCE


def until(condition: Callable[[], object]) -> None:
    """Wait for something that no event tells of."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it has not come"
        time.sleep(0.001)


class LatePicture:
    """A picture that is not there yet: the run that has come to it waits."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.unlink(missing_ok=True)
        os.mkfifo(file)

    def arrives(self, picture: bytes) -> None:
        """Give it to the run that waits for it."""
        until(lambda: self._given(picture))
        self.is_there(picture)

    def is_there(self, picture: bytes) -> None:
        """From now on it is like any other."""
        beside = self.file.with_name("beside")
        beside.write_bytes(picture)
        beside.replace(self.file)

    def _given(self, picture: bytes) -> bool:
        try:
            writer = os.open(self.file, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != ENXIO:  # nobody waits yet
                raise
            return False
        # It fits into the pipe: the run need not take it before this goes on.
        assert os.write(writer, picture) == len(picture)
        os.close(writer)
        return True


def size(file: Path) -> int:
    """Bytes so far; 0 where there is no file."""
    return file.stat().st_size if file.exists() else 0


def lines(file: Path) -> int:
    """Lines so far."""
    return file.read_bytes().count(b"\n") if file.exists() else 0


@contextmanager
def going(
    *arguments: str | bytes | Path,
    cwd: Path,
    program: str = "",
    largest_file: int | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    env: dict[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A run that is under way, and over at the latest with the block.

    Args:
        program: in Python, in the place of the installed command.
        largest_file: bytes that the disk takes in one file, for the run.
    """

    def restrain() -> None:
        assert largest_file is not None
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    command = [sys.executable, "-c", program] if program else [installed_command()]
    with subprocess.Popen(
        [*command, *arguments],
        cwd=cwd,
        env={**unmeasured_environment(), **(env or {})},
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        preexec_fn=None if largest_file is None else restrain,  # noqa: PLW1509
    ) as process:
        # A test that reads what never comes ends with the run, and fails.
        watchdog = threading.Timer(SECONDS, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()
