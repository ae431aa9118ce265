"""A terminal for tests: runs a command on it, sees what is shown, and answers as it is told."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

from command import PATIENCE, clean_environment

# A program asks only the terminal that it is controlled by.
START = "import fcntl, sys, termios; fcntl.ioctl(1, termios.TIOCSCTTY, 0); "
CLIPCLI = START + "from clipcli.cli.main import main; main()"
# A program waits half a second for an answer, which a busy machine may take to give it.
_WAITING = f"from clipcli.outputs.terminal import screens; screens._ANSWER_SECONDS = {PATIENCE}; "


class Terminal:
    """A pseudo-terminal of so many columns; `answer` is typed when it is asked what it is.

    Attributes:
        asked: how often that was.
    """

    def __init__(self, answer: bytes = b"", columns: int = 100) -> None:
        self.asked = 0
        self._answer = answer
        self._columns = columns

    def run(
        self,
        program: str,
        *arguments: str,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        code: int = 0,
    ) -> str:
        """What a Python program shows on it, which ends with a code; its input is empty."""
        if self._answer.endswith(b"c"):  # else there is nothing to wait for
            program = _WAITING + program
        screen, terminal = pty.openpty()
        termios.tcsetwinsize(terminal, (40, self._columns))
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            env={**clean_environment(), "TERM": "xterm-256color", "COLORTERM": "", "TMUX": ""}
            | {"TERM_PROGRAM": "", "LC_TERMINAL": ""}
            | (env or {}),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        os.close(terminal)
        try:
            shown = self._watch(screen)
        finally:
            os.close(screen)
        _, told = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, told.decode()
        return shown.decode().replace("\r\n", "\n")

    def _watch(self, screen: int) -> bytes:
        shown = b""
        end = time.monotonic() + PATIENCE
        try:
            while select.select([screen], [], [], max(0, end - time.monotonic()))[0]:
                shown += os.read(screen, 1 << 16)
                if shown.count(b"\x1b[c") > self.asked:
                    self.asked += 1
                    os.write(screen, self._answer)
        except OSError:  # Linux's way to say that the last writer has gone
            return shown
        raise AssertionError(f"the program does not end: {shown!r}")
