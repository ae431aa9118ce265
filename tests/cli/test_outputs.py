"""Every option that names a file to be written, with every kind of thing that may be there."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from command import PATIENCE, Command, clean_environment, installed_command, unmeasured_environment

from clipcli.cli.main import run

Line = Callable[[str], Sequence[str]]

TINY = ("--model", "tiny")
CLASSIFY = ("classify", "rocket.jpg", "chelsea.png", "-l", "cat", "-l", "rocket")
EMBED = ("embed", "rocket.jpg")
EVAL = ("eval", "data")
EXPLAIN = ("explain", "rocket.jpg", "-l", "cat", "-l", "rocket", "--grid", "2")

# Each with an ending that suits it; what it writes is told by how it begins.
FILES: dict[str, tuple[str, bytes, Line]] = {
    "classify -o jsonl": (".jsonl", b'{"index": 0', lambda file: [*CLASSIFY, "-o", file]),
    "classify -o json": (".json", b'[\n{"index"', lambda file: [*CLASSIFY, "-o", file]),
    "classify -o csv": (".csv", b"index,input", lambda file: [*CLASSIFY, "-o", file]),
    "classify -o tsv": (".tsv", b"rocket.jpg\t", lambda file: [*CLASSIFY, "-o", file]),
    "classify --report": (".html", b"<!doctype", lambda file: [*CLASSIFY, "--report", file]),
    "classify --summary": (".json", b'{\n  "done"', lambda file: [*CLASSIFY, "--summary", file]),
    "embed -o npz": (".npz", b"pk", lambda file: [*EMBED, "-o", file]),
    "embed -o parquet": (".parquet", b"par1", lambda file: [*EMBED, "-o", file]),
    "embed --summary": (
        ".json",
        b'{\n  "done"',
        lambda file: [*EMBED, "-o", f"{file}.npz", "--summary", file],
    ),
    "eval --json": (".json", b'{\n  "data"', lambda file: [*EVAL, "--json", file]),
    "eval --report": (".html", b"<!doctype", lambda file: [*EVAL, "--report", file]),
    "explain -o": (".png", b"\x89png", lambda file: [*EXPLAIN, "-o", file]),
    "convert": (".safetensors", b"", lambda file: ["convert", "weights.pt", file]),
}
every_file = pytest.mark.parametrize(("suffix", "begins", "line"), FILES.values(), ids=FILES.keys())


@pytest.fixture
def folder(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: two photos, the same sorted by their labels, and weights."""
    for photo, label in {"rocket.jpg": "rocket", "chelsea.png": "cat"}.items():
        (tmp_path / "data" / label).mkdir(parents=True)
        shutil.copy(photos / photo, tmp_path)
        shutil.copy(photos / photo, tmp_path / "data" / label)
    torch.save({"a": torch.ones(3)}, tmp_path / "weights.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLIPCLI_MODEL", raising=False)
    return tmp_path


def done(line: Sequence[str], *more: str) -> int:
    model = () if line[0] == "convert" else TINY
    return run([*line, *more, *model])


@every_file
def test_a_file_that_is_there_is_replaced_only_by_force(folder, capfd, suffix, begins, line):
    file = folder / f"mine{suffix}"
    file.write_text("mine")
    before = sorted(os.listdir(folder))
    named = [*line(file.name)]
    # Before any work: the model, which is not there, has not been looked for.
    model = () if named[0] == "convert" else ("--model", "absent")
    assert run([*named, *model]) == 2
    told = capfd.readouterr().err
    assert f"{file.name} exists already: " in told
    assert "--force replaces it" in told
    assert ("--resume goes on with it" in told) == (suffix == ".jsonl")
    assert file.read_text() == "mine"
    assert sorted(os.listdir(folder)) == before

    assert done(named, "--force") == 0
    assert file.read_bytes().lower().startswith(begins)
    assert file.read_bytes() != b"mine"


@every_file
def test_through_a_link_its_target_is_replaced(folder, capfd, suffix, begins, line):
    (folder / "there").mkdir()
    real, link = folder / "there" / f"real{suffix}", folder / f"link{suffix}"
    real.write_text("mine")
    link.symlink_to(real)
    assert done(line(link.name)) == 2
    assert (real.read_text(), link.is_symlink()) == ("mine", True)
    assert done(line(link.name), "--force") == 0
    assert link.is_symlink()
    assert real.read_bytes().lower().startswith(begins)
    assert {name for name in os.listdir(folder) if name.startswith(link.name)} <= {
        link.name,
        f"{link.name}.npz",
    }


@every_file
def test_a_pipe_gets_the_same_bytes_as_a_file(folder, capfd, suffix, begins, line):
    pipe = folder / f"pipe{suffix}"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert done(line(pipe.name)) == 0
    reader.join(PATIENCE)
    assert pipe.is_fifo()
    assert got[0].lower().startswith(begins)
    if suffix not in (".html", ".json"):  # these tell times
        assert done(line(f"file{suffix}")) == 0
        assert got[0] == (folder / f"file{suffix}").read_bytes()
    assert not (folder / f"{pipe.name}.part").exists()


@every_file
def test_a_device_stays_what_it_is(folder, capfd, suffix, begins, line):
    """Named by a link: as the superuser, /dev/null itself would be at stake."""
    link = folder / f"null{suffix}"
    link.symlink_to("/dev/null")
    assert done(line(link.name)) == 0
    assert os.readlink(link) == "/dev/null"
    assert Path("/dev/null").is_char_device()


@every_file
def test_a_full_disk_is_told_with_the_file_and_the_way_on(folder, capfd, suffix, begins, line):
    link = folder / f"full{suffix}"
    link.symlink_to("/dev/full")
    assert done(line(link.name)) in (1, 5)
    told = capfd.readouterr().err.splitlines()[-1]
    assert f"full{suffix}" in told
    assert "(No space left on device): make room there, or name a file on another disk" in told


@every_file
def test_a_pipe_in_the_place_of_a_part_holds_nobody_up(folder, capfd, suffix, begins, line):
    file = folder / f"out{suffix}"
    os.mkfifo(folder / f"{file.name}.part")
    code = done(line(file.name))
    if line("")[-2] == "-o" and line("")[0] != "explain":
        assert code == 2
        told = f"cannot write {file.name}.part (it is no regular file; remove it)"
        assert told in capfd.readouterr().err
    else:  # it writes no such file
        assert code == 0
    assert (folder / f"{file.name}.part").is_fifo()


# Standard output and bash's >(…).


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("mode", ["w", "a"])
def test_results_go_to_standard_output_by_its_name(folder, name, mode):
    (folder / "out").write_text("before\n")
    with (folder / "out").open(mode) as out:
        line = [installed_command(), *CLASSIFY, "-o", name, *TINY]
        subprocess.run(line, stdout=out, env=clean_environment(), check=True, timeout=PATIENCE)
    lines = (folder / "out").read_text().splitlines()
    assert lines[0] == ("before" if mode == "a" else lines[0])
    assert [line.split("\t")[:2] for line in lines[-2:]] == [
        ["rocket.jpg", "rocket"],
        ["chelsea.png", "cat"],
    ]
    assert len(lines) == (3 if mode == "a" else 2)


def test_results_go_into_a_process_of_bash(folder):
    words = " ".join([*CLASSIFY, *TINY])
    script = f'"$0" {words} --jsonl -o >(cat > got); code=$?; wait $!; exit $code'
    command = ["bash", "-c", script, installed_command()]
    subprocess.run(command, env=clean_environment(), check=True, timeout=PATIENCE)
    records = [json.loads(line) for line in (folder / "got").read_text().splitlines()]
    assert [record["answer"] for record in records] == ["rocket", "cat"]


def test_embeddings_go_to_standard_output(folder, clipcli: Command):
    piped = clipcli(*EMBED, *TINY, "-o", "/dev/stdout", cwd=folder)
    assert piped.returncode == 0, piped.stderr
    with np.load(io.BytesIO(piped.stdout)) as members:
        assert members["embeddings"].shape[0] == 1


def test_a_reader_that_goes_away_is_141_and_silence(folder):
    os.mkfifo(folder / "pipe.jsonl")
    line = [installed_command(), *CLASSIFY, *TINY, "-o", "pipe.jsonl"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, env=clean_environment()) as process:
        with (folder / "pipe.jsonl").open("rb"):  # which waits for its writer
            pass
        told = process.communicate(timeout=PATIENCE)[1]
    assert (process.returncode, told) == (141, b"")


@pytest.mark.parametrize("option", ["--resume", "--retry-failed"])
def test_a_stream_cannot_be_gone_on_with(folder, capfd, option):
    line = [*CLASSIFY, "--jsonl", "-o", "/dev/null", option, *TINY]
    assert run(line) == 2
    assert f"{option} reads results back: /dev/null is no regular file" in capfd.readouterr().err


# Going on where there is nothing to do.


def test_a_finished_file_and_its_summary_are_no_obstacle_to_going_on(folder, capfd):
    line = [*CLASSIFY, "-o", "out.jsonl", "--summary", "sum.json"]
    assert done(line) == 0
    whole = (folder / "out.jsonl").read_bytes()
    for option in ("--resume", "--retry-failed"):
        assert done(line, option) == 0
        assert (folder / "out.jsonl").read_bytes() == whole
        assert json.loads((folder / "sum.json").read_text())["kept_from_before"] == 2
    assert done(line) == 2


# Folders.


def test_figures_that_are_there_are_replaced_only_by_force(folder, capfd):
    line = [*EVAL, "--plots", "figures"]
    assert done(line) == 0
    (folder / "yours").write_text("yours")
    for name in os.listdir(folder / "figures"):
        (folder / "figures" / name).unlink()
        (folder / "figures" / name).symlink_to(folder / "yours")
    assert done(line) == 2
    assert "--plots figures holds confusion.png already: --force" in capfd.readouterr().err
    assert done(line, "--force") == 0
    assert (folder / "yours").read_text() == "yours"
    assert not any(path.is_symlink() for path in (folder / "figures").iterdir())


def test_maps_that_are_there_are_replaced_only_by_force(folder, capfd):
    line = ["explain", "rocket.jpg", "-l", "cat", "-l", "a rocket", "--grid", "2", "-o", "maps"]
    assert done(line) == 0
    (folder / "yours").write_text("yours")
    (folder / "maps" / "explanation.png").unlink()
    (folder / "maps" / "02-cat.png").unlink()
    (folder / "maps" / "01-a-rocket.png").unlink()
    (folder / "maps" / "01-a-rocket.png").symlink_to(folder / "yours")
    assert done(line) == 2
    assert "-o maps holds 01-a-rocket.png already: --force" in capfd.readouterr().err
    assert done(line, "--force") == 0
    assert (folder / "yours").read_text() == "yours"
    assert not (folder / "maps" / "01-a-rocket.png").is_symlink()


# Small disks, and files that vanish.


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser mounts a disk")
@pytest.mark.parametrize("name", ["out.jsonl", "out.npz", "out.html"])
def test_on_a_small_disk_the_file_and_the_way_on_are_told(folder, capfd, name):
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("disks cannot be mounted here")
    try:
        lines = {
            "out.jsonl": [*CLASSIFY, *["rocket.jpg"] * 40, "-o"],
            "out.npz": [*EMBED, *["rocket.jpg"] * 40, "-o"],
            "out.html": [*CLASSIFY, "--report"],
        }
        assert done([*lines[name], f"disk/{name}"]) == 1
        told = capfd.readouterr().err.splitlines()[-1]
    finally:
        subprocess.run(["umount", disk], check=True)
    assert f"disk/{name}" in told
    assert "(No space left on device): make room there, or name a file on another disk; " in told
    assert ("--resume goes on" in told) == (name == "out.jsonl")


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.npz"])
def test_a_file_that_may_not_grow_is_told(folder, name):
    line = [*CLASSIFY, "-o"] if name != "out.npz" else [*EMBED, "-o"]
    told = subprocess.run(
        [installed_command(), *line, name, *TINY],
        env=unmeasured_environment(),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
    )
    assert told.returncode == 1
    last = told.stderr.decode().splitlines()[-1]
    assert last.startswith("clipcli: cannot write ")
    assert name in last
    assert "(File too large): make room there" in last


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet"])
def test_a_part_that_vanishes_in_mid_run_is_told(folder, name):
    first = [*EMBED] if name == "out.parquet" else [*CLASSIFY]
    line = [word for word in first if not word.endswith((".jpg", ".png"))]
    with subprocess.Popen(
        [installed_command(), *line, "--files-from", "-", "--batch-size", "2", "-o", name, *TINY],
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write(b"rocket.jpg\nmissing.png\n" + b"rocket.jpg\n" * 40)
        process.stdin.flush()
        # Told once its block has gone through; the list is still open.
        assert process.stderr.readline() == b"clipcli: missing.png: no such file\n"
        (folder / f"{name}.part").unlink()
        process.stdin.write(b"rocket.jpg\n" * 40)
        told = process.communicate(timeout=PATIENCE)[1].decode()
    assert process.returncode == 1, told
    assert f"clipcli: {name}.part is gone: something else removed or replaced it" in told
    assert "unexpected" not in told
