"""ONNX Runtime keeps to itself."""

from __future__ import annotations

from pathlib import Path

from command import Command


def test_a_run_leaves_nothing_in_the_home_folder(
    clipcli: Command, photos: Path, tmp_path: Path
) -> None:
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": ""}

    result = clipcli(photos / "coffee.png", "-l", "cup", "-l", "cat", "--model", "tiny", env=home)

    assert result.returncode == 0
    assert list(tmp_path.rglob("*")) == []
