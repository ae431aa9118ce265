"""The wheel holds all that clipcli needs, and works where only it and its dependencies are."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from command import PATIENCE, PHOTOS, ROOT, clean_environment


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the source tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("clipcli-*.whl")
    return built


def test_the_wheel_holds_every_asset_and_nothing_else_of_the_tree(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    source = ROOT / "src"
    files = {path for path in (source / "clipcli").rglob("*") if path.is_file()}

    assert names == {
        str(path.relative_to(source)) for path in files if "__pycache__" not in path.parts
    }
    assert "clipcli/assets/tiny/open_clip_model.safetensors" in names
    assert "clipcli/py.typed" in names


def test_the_description_has_no_link_that_needs_the_source_tree(wheel: Path) -> None:
    """A package index shows the README alone."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        text = archive.read(name).decode()
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) >= 10
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    # What they lead to is in the tree.
    own = re.findall(r"https://[\w./]+/clipcli/clipcli/(?:blob/)?main/([^)#\s]+)\)", text)
    assert own
    assert [path for path in own if not (ROOT / path).exists()] == []


def test_the_wheel_stays_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 80_000_000


@pytest.mark.slow
def test_the_wheel_classifies_in_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True)
    # Its dependencies, several GB, are lent by this environment; this clipcli is not.
    (packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")

    done = subprocess.run(
        [python.with_name("clipcli"), PHOTOS / "rocket.jpg", "-l", "rocket", "-l", "cat"],
        check=False,
        cwd=tmp_path,
        env={**clean_environment(), "CLIPCLI_MODEL": "tiny", "CLIPCLI_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    where = subprocess.run(
        [python, "-c", "import clipcli; print(clipcli.__file__)"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )

    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.split("\t")[1] == "rocket"
    assert Path(where.stdout.strip()).is_relative_to(tmp_path)
