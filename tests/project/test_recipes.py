"""CONTRIBUTING's recipes, followed with toys: what it says is all that has to be done."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import PHOTOS, ROOT, clean_environment

RUN = """
import sys
from clipcli.cli.main import run
code = run(sys.argv[1:])
sys.stdout.flush()
sys.exit(code)
"""

FORMAT = """
from clipcli.outputs import writers

class ShoutingWriter(writers.TsvWriter):
    def write(self, result):
        self.stream.write(f"{result.best.label.upper()}!\\n")

writers.FORMATS["shout"] = ShoutingWriter
"""

ENGINE = """
import numpy as np
from fake_engine import FakeEngine

def load(spec, options, bundle, *, offline):
    return FakeEngine()
"""

COMMAND = """
import click
from clipcli.cli.options.groups import takes
from clipcli.cli.options.inputs import NamingFlags
from clipcli.cli.options.shared import console_options

@click.command()
@takes(naming=NamingFlags)
@console_options
def count(naming):
    "Count IMAGEs."
    click.echo(f"{len(naming.images)} images")
"""


def run(program: str, *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run clipcli after a program has put a toy into it; the folder is on the import path."""
    code = f"import sys; sys.path[:0] = {[str(folder), str(ROOT / 'tests/support')]!r}\n{program}"
    return subprocess.run(
        [sys.executable, "-c", code + RUN, *map(str, arguments)],
        env=clean_environment(),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_new_format_is_a_writer_and_a_line(tmp_path):
    line = (PHOTOS / "rocket.jpg", "-l", "rocket", "-l", "cat", "--model", "tiny")
    shown = run(FORMAT, *line, "--format", "shout", folder=tmp_path)
    assert (shown.stdout, shown.stderr, shown.returncode) == ("ROCKET!\n", "", 0)
    written = run(FORMAT, *line, "-o", "answers.shout", folder=tmp_path)
    assert (written.stderr, written.returncode) == ("", 0)
    assert (tmp_path / "answers.shout").read_text() == "ROCKET!\n"
    page = run(FORMAT, "classify", "--help", folder=tmp_path).stdout
    assert "shout" in page
    assert ".shout" in page


def test_a_new_engine_is_a_module_and_a_line(tmp_path):
    (tmp_path / "toy_engine.py").write_text(ENGINE)
    toy = "from clipcli.engines import base\nbase.ENGINE_LOADERS['toy'] = 'toy_engine:load'\n"
    toy += "base.ENGINES = ('auto', *base.ENGINE_LOADERS)\n"
    line = (PHOTOS / "rocket.jpg", "-l", "a", "-l", "dogs", "--model", "tiny", "--jsonl", "-v")
    found = run(toy, *line, "--engine", "toy", folder=tmp_path)
    assert found.returncode == 0, found.stderr
    assert '"name": "fake"' in found.stdout
    assert "clipcli: toy runs, because --engine toy was asked for\n" in found.stderr


def test_a_new_command_is_a_file_and_a_line(tmp_path):
    (tmp_path / "toy_command.py").write_text(COMMAND)
    toy = (
        "from clipcli.cli.group import LazyCommand\nfrom clipcli.cli.main import cli\n"
        "cli.add_command(LazyCommand('count', 'toy_command:count', 'Count IMAGEs.'))\n"
    )
    counted = run(toy, "count", "a.jpg", "b.jpg", folder=tmp_path)
    assert (counted.stdout, counted.stderr, counted.returncode) == ("2 images\n", "", 0)
    assert re.search(r"^  count +Count IMAGEs", run(toy, "--help", folder=tmp_path).stdout, re.M)
    refused = run(toy, "count", "-", "-", folder=tmp_path)
    assert refused.returncode == 2
    assert "standard input can be read only once" in refused.stderr


CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("column", ["package", "file"])
def test_contributing_has_a_line_for_each_package_and_each_ground_file(column):
    table = re.search(rf"^\| {column}.*?\n\n", CONTRIBUTING, re.M | re.S)
    assert table is not None
    told = set(re.findall(r"^\| `([\w.]+)/?` \|", table[0], re.M))
    source = ROOT / "src" / "clipcli"
    if column == "package":
        there = {path.parent.name for path in source.glob("*/__init__.py")}
    else:
        there = {path.name for path in source.glob("*.py")}
    assert told == there


def test_what_contributing_names_is_there():
    """`images/formats.py` is a file, `images/reading.read_bytes` something in one."""
    named = set(re.findall(r"`([a-z_]+(?:/[\w.]+)+)`", CONTRIBUTING))
    assert len(named) > 10
    assert {name for name in named if not is_there(name)} == set()


def is_there(name: str) -> bool:
    for root in (ROOT, ROOT / "src" / "clipcli"):
        if (root / name).exists():
            return True
        place, _, attribute = name.rpartition(".")
        file = root / f"{place}.py"
        if file.is_file() and re.search(rf"^(def|class) {attribute}\b", file.read_text(), re.M):
            return True
    return False
