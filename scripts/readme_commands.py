"""Run the README's commands and show, or write, what they really print.

    python scripts/readme_commands.py [--write]

In a block marked `console`, a line that starts with `$ ` is a command, continued after a trailing
backslash, and what follows is its output. Commands run on a terminal of 80 columns, in the
repository's root, with the clipcli of this interpreter's environment.
"""

from __future__ import annotations

import argparse
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"

_ANSWERS_DEPEND_ON = {
    f"CLIPCLI_{name}" for name in ("MODEL", "DEVICE", "ENGINE", "PRECISION", "FORMAT", "THREADS")
}
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)


@dataclass(frozen=True)
class Shown:
    """A command in the README and the output shown below it."""

    command: str
    output: str


def shown_commands(text: str) -> Iterator[Shown]:
    """The commands of a text's console blocks, with what is said to come of them."""
    for block in _BLOCK.finditer(text):
        for command in _COMMAND.finditer(block[1]):
            yield Shown(command[1], command[2])


def run(command: str) -> str:
    """What a command prints on a terminal, standard error included."""
    environment = {
        **{name: value for name, value in os.environ.items() if name not in _ANSWERS_DEPEND_ON},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "80",
        "NO_COLOR": "1",
    }
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ["bash", "-c", command],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        printed = b"".join(_chunks(ours))
    os.close(ours)
    return printed.decode().replace("\r", "")  # which terminals and CSV put before a newline


def _chunks(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = os.read(terminal, 1 << 16)
        except OSError:  # Linux says so when the last program has left the terminal
            return
        if not chunk:
            return
        yield chunk


def rewritten(text: str) -> str:
    """A text whose console blocks show what their commands print now."""

    def rerun(command: re.Match[str]) -> str:
        blank = "\n" if command[2].endswith("\n\n") else ""
        return f"$ {command[1]}\n{run(command[1])}{blank}"

    return _BLOCK.sub(lambda block: f"```console\n{_COMMAND.sub(rerun, block[1])}```", text)


def main() -> None:
    """Print the commands with their output, or write them into the README."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="update README.md")
    text = README.read_text(encoding="utf-8")
    if parser.parse_args().write:
        README.write_text(rewritten(text), encoding="utf-8")
    else:
        for shown in shown_commands(text):
            print(f"$ {shown.command}\n{run(shown.command)}", end="")


if __name__ == "__main__":
    main()
