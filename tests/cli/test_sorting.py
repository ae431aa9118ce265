"""The command line of sorting and undoing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from clipcli.cli.main import run

LABELS = ("-l", "cat", "-l", "rocket", "--model", "tiny")


@pytest.fixture
def folder(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "in").mkdir()
    for name in ("chelsea.png", "rocket.jpg"):
        shutil.copy(photos / name, tmp_path / "in")
    (tmp_path / "in" / "bad.jpg").write_text("no picture")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


IN = {"in/chelsea.png", "in/rocket.jpg", "in/bad.jpg"}


@pytest.mark.parametrize("option", ["--copy-to", "--move-to", "--link-to"])
def test_pictures_go_where_their_answers_say_and_come_back(folder, capfd, option):
    code = run(["classify", "-r", "in", *LABELS, option, "out", "--unknown-to", "rest", "--xmp"])

    told = capfd.readouterr()
    assert code == 3  # of the picture that failed
    assert len(told.out.splitlines()) == 2
    done = {"out/cat/chelsea.png", "out/rocket/rocket.jpg", "rest/failed/bad.jpg"}
    sidecars = {f"{name}.xmp" for name in done if "bad" not in name}
    assert files(folder) >= done | sidecars | {"out/journal-1.jsonl"}
    assert ("in/rocket.jpg" in files(folder)) == (option != "--move-to")
    assert "clipcli undo out/journal-1.jsonl" in told.err

    assert run(["undo", "out/journal-1.jsonl"]) == 0
    # Keywords stay.
    kept = {"in/chelsea.png.xmp", "in/rocket.jpg.xmp"}
    assert files(folder) == IN | kept | {"out/journal-1.jsonl"}
    assert run(["undo", "out/journal-1.jsonl"]) == 0
    assert "undone already" in capfd.readouterr().err


def test_a_dry_run_touches_nothing(folder, capfd):
    code = run(["classify", "-r", "in", *LABELS, "--move-to", "out", "--xmp", "--dry-run"])

    told = capfd.readouterr()
    assert code == 3
    assert files(folder) == IN
    assert not Path("out").exists()
    assert "in/rocket.jpg: would be moved to out/rocket/rocket.jpg" in told.err
    assert "keywords would be written to in/rocket.jpg.xmp: rocket" in told.err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--copy-to", "a", "--move-to", "b"), "exclude each other"),
        (("--unknown-to", "a"), "--unknown-to goes with"),
        (("--dry-run",), "--dry-run goes with"),
        (("--copy-to", ""), "names no folder"),
        (("-r", "--move-to", "in/sorted"), "overlap"),
        (("-r", "--move-to", "in"), "overlap"),
        (("-r", "--move-to", "."), "overlap"),
        (("-r", "--move-to", "link/sorted"), "overlap"),
        (("-r", "--move-to", "in/../in/x"), "overlap"),
        (("-r", "--copy-to", "out", "--unknown-to", "in/rest"), "overlap"),
        (("in/**/*.jpg", "--move-to", "in/sorted"), "overlap"),
        (("--move-to", "in/rocket.jpg"), "is a file"),
        (("--move-to", "out", "-o", "x.jsonl", "--resume"), "--move-to has moved"),
        (("--move-to", "out", "--report", "x.html"), "make the report by itself"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_read(folder, capfd, words, reason):
    Path("link").symlink_to("in")

    assert run(["classify", "in", *LABELS, *words]) == 2

    assert reason in capfd.readouterr().err
    assert files(folder / "in") == {name.removeprefix("in/") for name in IN}


def test_a_folder_on_a_disk_that_knows_no_case_is_known_by_its_file(folder, capfd, monkeypatch):
    """As a file system that ignores case answers: by what there is, not by how it is written."""
    stat = os.stat

    def ignoring(path: object, **options: object) -> os.stat_result:
        is_text = isinstance(path, str | Path)
        return stat(str(path).replace("/IN", "/in") if is_text else path, **options)  # type: ignore[arg-type,call-overload]

    monkeypatch.setattr(os, "stat", ignoring)
    monkeypatch.setattr(os.path, "exists", lambda path: True)

    assert run(["classify", "-r", "in", *LABELS, "--move-to", f"{folder}/IN/sorted"]) == 2
    assert "overlap" in capfd.readouterr().err


def test_a_list_cannot_lead_to_what_is_sorted_already(folder, capfd):
    shutil.copytree("in", "out/cat")
    Path("list").write_text("out\n")

    run(["classify", "-r", "--files-from", "list", *LABELS, "--move-to", "out"])

    assert "it stays" in capfd.readouterr().err
    assert files(folder / "out") == {f"cat/{name.removeprefix('in/')}" for name in IN}


def test_embeddings_sort_the_files_that_are_still_there(folder, capfd):
    assert run(["embed", "in/chelsea.png", "in/rocket.jpg", "--model", "tiny", "-o", "e.npz"]) == 0
    Path("in/chelsea.png").unlink()

    code = run(["classify", "--embeddings", "e.npz", *LABELS, "--copy-to", "out"])

    assert code == 0
    assert files(folder / "out") == {"rocket/rocket.jpg", "journal-1.jsonl"}
    assert "1 picture copied to out" in capfd.readouterr().err


def test_a_run_that_is_gone_on_with_sorts_what_is_new(folder):
    words = [*LABELS, "--copy-to", "out", "-o", "x.jsonl", "--files-from", "list"]
    Path("list").write_text("in/rocket.jpg\nlate.png\n")
    assert run(["classify", *words]) == 3
    shutil.copy("in/chelsea.png", "late.png")

    assert run(["classify", *words, "--retry-failed"]) == 0

    assert files(folder / "out") >= {"rocket/rocket.jpg", "cat/late.png", "journal-2.jsonl"}


def test_a_picture_that_cannot_be_sorted_makes_the_exit_code_three(folder, capfd, monkeypatch):
    link = os.link

    def refused(source: str, target: str) -> None:
        if "rocket" in source:
            raise PermissionError(13, "Permission denied")
        link(source, target)

    monkeypatch.setattr(os, "link", refused)
    names = ["in/rocket.jpg", "in/chelsea.png"]

    assert run(["classify", *names, *LABELS, "--move-to", "out"]) == 3
    assert "in/rocket.jpg: cannot be moved (Permission denied)" in capfd.readouterr().err
    assert files(folder) >= {"in/rocket.jpg", "out/cat/chelsea.png"}


@pytest.mark.parametrize("name", ["missing", "in", "in/bad.jpg"])
def test_what_is_no_journal_is_named(folder, capfd, name):
    assert run(["undo", name]) == 2
    assert name in capfd.readouterr().err
    assert files(folder) == IN


def test_an_undoing_that_leaves_something_says_so(folder, capfd):
    run(["classify", "in/rocket.jpg", "in/chelsea.png", *LABELS, "--move-to", "out"])
    Path("in/rocket.jpg").write_text("another")

    assert run(["undo", "out/journal-1.jsonl"]) == 3
    assert "1 file undone, 1 left" in capfd.readouterr().err
    assert run(["undo", "out/journal-1.jsonl"]) == 4
