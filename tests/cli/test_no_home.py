"""A user without a home folder, as containers have them: nothing is kept, and all goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from command import unmeasured_environment

# The system has no entry of this user, and the environment no HOME.
PROGRAM = """
import pwd, sys
def unknown(number):
    raise KeyError(f"getpwuid(): uid not found: {number}")
pwd.getpwuid = unknown
from clipcli.cli.main import main
main()
"""
PLACES = ("HOME", "CLIPCLI_CACHE_DIR", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "USERPROFILE")
TWO = ("-l", "cat", "-l", "dog", "--model", "tiny")
WARNING = "clipcli: warning: this user has no home folder"


def homeless(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in unmeasured_environment().items() if k not in PLACES}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=folder,
        env={**environment, **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def photo(photos: Path) -> str:
    return str(photos / "chelsea.png")


COMMANDS = (
    ("classify", "PHOTO", *TWO),
    ("classify", "PHOTO", *TWO, "--engine", "torch"),
    ("classify", "PHOTO", *TWO, "-o", "out.jsonl"),
    ("classify", "PHOTO", *TWO, "--isolate"),
    ("explain", "PHOTO", *TWO, "--grid", "2"),
    ("eval", "data.csv", "--model", "tiny", "--plots", "plots"),
    ("models",),
    ("models", "--json"),
    ("cache",),
    ("cache", "--clear"),
    ("doctor", "--json"),
)
HOMES = ({"HOME": ""}, {"HOME": "relative"}, {"HF_HOME": "~/hub"})


@pytest.mark.parametrize(
    ("arguments", "home"),
    [*((command, {}) for command in COMMANDS), *((("models",), home) for home in HOMES)],
)
def test_every_command_goes_on_with_one_warning(tmp_path, photos, photo, arguments, home):
    (tmp_path / "data.csv").write_text(f"{photo},cat\n{photos / 'coffee.png'},dog\n")
    before = {"data.csv"}

    result = homeless(tmp_path, *(photo if one == "PHOTO" else one for one in arguments), **home)

    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if "pictures are in" not in line]
    assert len(lines) == 1
    assert lines[0].startswith(WARNING)
    # Nothing is made in a folder called `~`, or anywhere else that nobody named.
    made = {file.name for file in tmp_path.iterdir()} - before
    assert made <= {"out.jsonl", "out.jsonl.run.json", "plots"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("completion", "bash"),
        ("models", "--available"),
        ("pull", "tiny"),
        ("embed", "PHOTO", "--model", "tiny", "-o", "e.npz"),
        ("classify", "PHOTO", *TWO, "--no-cache"),
        ("classify", "PHOTO", *TWO, "-q"),
    ],
    ids=" ".join,
)
def test_what_keeps_nothing_says_nothing(tmp_path, photo, arguments):
    result = homeless(tmp_path, *(photo if one == "PHOTO" else one for one in arguments))
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "code", "way_out"),
    [
        (("pull", "ViT-B/32"), 5, "set CLIPCLI_CACHE_DIR (or HOME)"),
        (("classify", "PHOTO", "-l", "a", "-l", "b"), 5, "set HF_HOME to a folder"),
        (("classify", "PHOTO", "-l", "a", "-l", "b", "--offline"), 5, "offline is set"),
        (("classify", "PHOTO", "-l", "a", "-l", "b", "--model", "hf-hub:a/b"), 5, "set HF_HOME"),
        (("models", "--remove", "x"), 2, "no prepared model"),
    ],
)
def test_what_needs_a_folder_says_how_to_name_one(tmp_path, photo, arguments, code, way_out):
    result = homeless(tmp_path, *(photo if one == "PHOTO" else one for one in arguments))

    assert (result.returncode, result.stdout) == (code, "")
    warning, message = result.stderr.splitlines()
    assert warning.startswith(WARNING)
    assert way_out in message
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_named_needs_no_home(tmp_path, photo):
    cache = tmp_path / "cache"
    result = homeless(tmp_path, "classify", photo, *TWO, CLIPCLI_CACHE_DIR=str(cache))
    assert (result.returncode, result.stderr) == (0, "")
    assert (cache / "texts.sqlite3").exists()
