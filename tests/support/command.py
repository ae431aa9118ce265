"""The installed command, real photos, the bundled model: what several tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / "examples" / "photos"
Command = Callable[..., subprocess.CompletedProcess[bytes]]
PATIENCE = 300.0
"""Seconds after which what has not happened will not happen, however busy the machine is."""

PATIENT_CACHE = (
    f"from clipcli.heads import text_cache; text_cache._BUSY_SECONDS = {PATIENCE};"
    " from clipcli.cli.main import main; main()"
)
"""The command as a program that waits for a cache that others write to, however long that takes.

By itself it gives up after seconds, and says so; in a crowd on a busy machine that is too soon.
"""


def installed_command() -> str:
    """The console script beside the interpreter that runs the tests."""
    return str(Path(sys.executable).with_name("clipcli"))


def clean_environment() -> dict[str, str]:
    """This process's environment without what would change clipcli's answers.

    Caches are in a folder of this run's own: tests neither see nor touch the user's.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CLIPCLI_", "_CLIPCLI", "HF_")) and name != "NO_COLOR"
    }
    own = ("CLIPCLI_CACHE_DIR", "CLIPCLI_DATA_DIR")
    return {**inherited, **{name: os.environ[name] for name in own}}


def unmeasured_environment() -> dict[str, str]:
    """A clean environment for processes in which coverage must not be measured.

    Measuring imports modules, writes a file of its own, has a process wait for its threads, and
    runs code in Python at places where a signal is heard otherwise at none.
    """
    inherited = clean_environment().items()
    return {name: value for name, value in inherited if not name.startswith("COVERAGE_")}
