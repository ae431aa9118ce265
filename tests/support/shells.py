"""Shells as people use them: what stands on the command line after a TAB."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pexpect
from command import PATIENCE, clean_environment, installed_command

# What is typed shows up, too: the word that is waited for is spelled otherwise there.
_READY, _TYPED = "READY", 'RE""ADY'
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\x1b\][^\x07]*\x07")

# Without anybody's own settings.
_STARTS = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
    "fish": ["--no-config", "-i"],
}
_PRINTS = {
    "fish": f"function clipcli; printf '<%s>' $argv; echo; echo {_TYPED}; end",
    **dict.fromkeys(("bash", "zsh"), f"clipcli() {{ printf '<%s>' \"$@\"; echo; echo {_TYPED}; }}"),
}


class Shell:
    """A shell that has read clipcli's completion script; `clipcli` prints its words there.

    Args:
        name: `bash`, `zsh` or `fish`.
        script: what `clipcli completion` prints for it.
        folder: it works in.

    Attributes:
        greeting: all that reading the script has printed.
    """

    def __init__(self, name: str, script: bytes, folder: Path) -> None:
        file = folder / f".script.{name}"
        file.write_bytes(script)
        path = f"{Path(installed_command()).parent}{os.pathsep}{os.environ['PATH']}"
        self._process = pexpect.spawn(
            str(shutil.which(name)),
            _STARTS[name],
            env={**clean_environment(), "PATH": path, "HOME": str(folder), "TERM": "xterm"},
            cwd=folder,
            encoding="utf-8",
            dimensions=(50, 200),
            timeout=PATIENCE,
        )
        self._process.sendline(f". {file}; {_PRINTS[name]}; echo {_TYPED}")
        self.greeting = self._shown()

    def completed(self, line: str) -> list[str]:
        """The words after `clipcli` when a line has been typed, then TAB, then Enter."""
        self._process.send(f"{line}\t\r")
        return re.findall("<([^>]*)>", self._shown())

    def close(self) -> None:
        """Leave it."""
        self._process.close(force=True)

    def _shown(self) -> str:
        self._process.expect(rf"{_READY}\s*\r?\n")
        return _ESCAPES.sub("", self._process.before)
