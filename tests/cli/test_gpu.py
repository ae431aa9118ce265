"""A GPU that this torch has no kernels for, on the command line; it is pretended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from command import clean_environment

PRETENDED = """
import sys, torch
from clipcli.engines import hardware
torch.cuda.is_available = hardware.cuda_available = lambda: True
torch.cuda.device_count = lambda: 1
torch.cuda.get_device_capability = lambda device: (6, 1)
torch.cuda.get_arch_list = lambda: ["sm_75", "sm_90"]
from clipcli.cli.main import main
main()
"""


def run(photo: Path, *options: str) -> tuple[int, str, list[str]]:
    """Classify a list of one photo: nobody knows how long a list is."""
    command = [sys.executable, "-c", PRETENDED, "--files-from", "-", "--model", "tiny", *options]
    done = subprocess.run(
        [*command, "-l", "a cat", "-l", "a dog", "--no-cache"],
        env=clean_environment(),
        input=str(photo),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.splitlines()


@pytest.mark.parametrize("engine", [[], ["--engine", "torch"]])
def test_unasked_for_it_is_passed_over_with_one_line(photos: Path, engine: list[str]) -> None:
    code, answer, (line,) = run(photos / "chelsea.png", *engine)
    assert code == 0
    assert answer.split("\t")[1] == "a cat"
    assert line.startswith("clipcli: warning: the GPU is not used: cuda cannot be used: torch ")
    assert "no kernels for its compute capability 6.1 (it has sm_75, sm_90)" in line


def test_asked_for_by_name_it_is_the_reason_of_the_end(photos: Path) -> None:
    code, answer, (line,) = run(photos / "chelsea.png", "--device", "cuda")
    assert (code, answer) == (5, "")
    assert "no kernels for its compute capability 6.1" in line
    assert line.endswith("or use --device cpu")
