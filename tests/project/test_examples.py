"""The examples run and print what they promise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import PATIENCE, ROOT, clean_environment

EXAMPLES = ROOT / "examples"

EXPECTED = {
    "one_picture.sh": "photos/chelsea.png\ta photo of a cat\t",
    "many_pictures.sh": f"{EXAMPLES}/photos/chelsea.png\n",
    "resumable_run.sh": "3 results in ",
    "ci_smoke_test.sh": "photos/rocket.jpg\trocket\t",
    "python_surface.py": "chelsea.png: cat (",
}


def run_example(name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    binaries = Path(sys.executable).parent
    path = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable] if name.endswith(".py") else ["bash"]
    return subprocess.run(
        [*command, EXAMPLES / name],
        check=False,
        env={**clean_environment(), "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_every_example_is_run() -> None:
    scripts = {path.name for path in EXAMPLES.iterdir() if path.suffix in {".sh", ".py"}}

    assert scripts == set(EXPECTED)


@pytest.mark.parametrize(("name", "output"), EXPECTED.items())
def test_an_example_prints_what_it_promises(name: str, output: str) -> None:
    done = run_example(name)

    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout.startswith(output)


def test_the_smoke_test_fails_when_the_model_cannot_be_had() -> None:
    done = run_example("ci_smoke_test.sh", CLIPCLI_MODEL="no-such-model")

    assert done.returncode == 5


def test_every_photo_has_its_credit() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")

    for photo in (EXAMPLES / "photos").iterdir():
        assert f"`photos/{photo.name}`" in text
