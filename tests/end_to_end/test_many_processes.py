"""Runs that share a machine: its cache, its disk until that is full, its pipes, its memory."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import shutil
import subprocess
import termios
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from command import PATIENT_CACHE
from long_runs import LABELS, RUN, SECONDS, LatePicture, going, lines, until
from PIL import Image

OUT = Path("out.jsonl")
PART = Path("out.jsonl.part")


@pytest.fixture
def gallery(tmp_path: Path, photos: Path) -> Path:
    """A folder of three small photos."""
    for name, photo in [("cat", "chelsea.png"), ("cup", "coffee.png"), ("rocket", "rocket.jpg")]:
        with Image.open(photos / photo) as image:
            image.thumbnail((80, 80))
            image.save(tmp_path / f"{name}.png")
    return tmp_path


def list_of(folder: Path, *names: str) -> tuple[str, str]:
    (folder / "names.txt").write_text("\n".join(names))
    return "--files-from", "names.txt"


# -- many at once -------------------------------------------------------------------------------


def shares(jsonl: bytes) -> list[dict[str, float]]:
    """Each image's probabilities by label."""
    found = [json.loads(line)["predictions"] for line in jsonl.splitlines()]
    return [{one["label"]: one["probability"] for one in predictions} for predictions in found]


def test_eight_runs_at_once_on_one_cold_cache_are_all_right(gallery, clipcli):
    """With the same labels, and with others beside them."""
    things = ("dog", "horse", "ship", "plane")
    labels = [LABELS] * 4 + [(*LABELS, "-l", f"a {thing}") for thing in things]
    command = ("cat.png", "cup.png", "--model", "tiny", "--jsonl")
    env = {"CLIPCLI_CACHE_DIR": str(gallery / "cache")}
    with ExitStack() as stack:
        runs = [
            stack.enter_context(
                going(*command, *options, cwd=gallery, env=env, program=PATIENT_CACHE)
            )
            for options in labels
        ]
        ended = [(*run.communicate(timeout=SECONDS), run.returncode) for run in runs]

    assert [(told, code) for _, told, code in ended] == [(b"", 0)] * 8
    for options, (output, _, _) in zip(labels, ended, strict=True):
        alone = clipcli(*command, *options, "--no-cache", cwd=gallery).stdout
        # Which labels were encoded together changes their last digits.
        for found, expected in zip(shares(output), shares(alone), strict=True):
            assert found == pytest.approx(expected, rel=1e-4)
    assert b": 7 embeddings, " in clipcli("cache", cwd=gallery, env=env).stdout


def test_a_second_run_into_the_same_file_is_refused(gallery, clipcli):
    late, picture = LatePicture(gallery / "late.png"), (gallery / "cat.png").read_bytes()
    with going("cat.png", "late.png", "--batch-size", "1", *RUN, "-o", OUT, cwd=gallery) as run:
        until(lambda: lines(gallery / PART) == 1)
        for mode in ((), ("--resume",)):
            second = clipcli("cup.png", *RUN, "-o", OUT, *mode, cwd=gallery)
            told = f"clipcli: another process is writing {PART}: wait for its end, or name another"
            assert second.stderr.decode().startswith(told)
            assert second.returncode == 2
        late.arrives(picture)
        assert run.wait(SECONDS) == 0
    written = (gallery / OUT).read_bytes().splitlines()
    assert [json.loads(line)["input"] for line in written] == ["cat.png", "late.png"]


def full(
    name: str, kept: str = "what is done is kept, and the same command with --resume goes on"
) -> str:
    """What is told where the disk takes no more."""
    way_out = f"make room there, or name a file on another disk; {kept}"
    return f"clipcli: cannot write {name} (File too large): {way_out}"


# -- a full disk --------------------------------------------------------------------------------


def test_a_full_disk_is_told_and_with_space_again_the_run_becomes_whole(gallery, clipcli):
    command = (
        *list_of(gallery, *["cat.png", "gone.png", "cup.png"] * 9),
        "--batch-size",
        "4",
        *RUN,
    )
    clipcli(*command, "-o", "whole.jsonl", cwd=gallery)
    with going(*command, "-o", OUT, cwd=gallery, largest_file=5000) as run:
        _, told = run.communicate(timeout=SECONDS)
    *failures, last = told.decode().splitlines()
    assert set(failures) == {"clipcli: gone.png: no such file"}
    assert last == full(PART)
    assert run.returncode == 1
    assert (gallery / PART).stat().st_size == 5000

    assert clipcli(*command, "-o", OUT, "--resume", cwd=gallery).returncode == 3
    assert (gallery / OUT).read_bytes() == (gallery / "whole.jsonl").read_bytes()


@pytest.mark.parametrize("form", ["tsv", "csv", "json", "jsonl"])
def test_a_full_disk_under_standard_output_is_told(gallery, form):
    names = list_of(gallery, *["cat.png"] * 40)
    command = (*names, "--format", form, *RUN)
    with (
        (gallery / "out").open("wb") as output,
        going(*command, cwd=gallery, stdout=output.fileno(), largest_file=500) as run,
    ):
        assert run.wait(SECONDS) == 1
        told = run.stderr.read().decode()
    assert told == (
        "clipcli: the results cannot be written to standard output (File too large): make room"
        " where it leads, then give the same command again\n"
    )


@pytest.mark.parametrize(
    ("option", "told"),
    [
        # Not a byte fits: neither the cache of labels, which none needs, nor what follows.
        (("--summary", "s.json"), full("--summary s.json", "then give the same command again")),
        (("-o", OUT), full(f"{OUT}.run.json")),
    ],
    ids=["summary", "settings"],
)
def test_where_no_byte_fits_labels_are_encoded_and_what_cannot_be_written_is_told(
    gallery, option, told
):
    env = {"CLIPCLI_CACHE_DIR": str(gallery / "cold")}
    with going("cat.png", *RUN, *option, cwd=gallery, env=env, largest_file=0) as run:
        output, error = run.communicate(timeout=SECONDS)
    warning, last = error.decode().splitlines()
    assert warning.startswith("clipcli: warning: cannot write to the cache of text embeddings ")
    assert last == told
    assert output.startswith(b"cat.png\ta photo of a cat\t") is (option[0] == "--summary")
    assert run.returncode == 1
    assert not list(gallery.glob("*.tmp")) + list(gallery.glob("out*"))


# -- readers and writers ------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["tsv", "csv", "json", "jsonl"])
def test_a_reader_that_leaves_early_ends_the_run_quietly(gallery, form):
    names = list_of(gallery, *["cat.png"] * 2000)
    with going(*names, "--format", form, *RUN, cwd=gallery) as run:
        assert run.stdout.read(10)
        run.stdout.close()
        assert run.wait(SECONDS) == 141
        assert run.stderr.read() == b""


def test_names_with_newlines_come_back_from_every_format(gallery, clipcli):
    names = ["new\nline.png", "\n\n", "a\r\nb.png", "cat.png"]
    for name in names[:-1]:
        shutil.copy(gallery / "cat.png", gallery / name)
    command = ("--files-from", "-", "-0", *RUN, "-q")

    def output(form: str) -> str:
        stdin = "\0".join(names).encode()
        result = clipcli(*command, "--format", form, cwd=gallery, input=stdin)
        assert result.returncode == 0
        return result.stdout.decode()

    assert [json.loads(line)["input"] for line in output("jsonl").splitlines()] == names
    rows = csv.DictReader(io.StringIO(output("csv"), newline=""))
    assert [row["input"] for row in rows if row["rank"] == "1"] == names
    cells = [line.split("\t")[0] for line in output("tsv").splitlines()]
    assert [cell.encode().decode("unicode_escape") for cell in cells] == names


@pytest.mark.parametrize("form", ["tsv", "jsonl"])
def test_a_slow_writer_gets_each_answer_before_its_next_name(gallery, clipcli, form):
    """Past the end of a block, and with the very numbers of a run that had all names at once."""
    names = [f"{name}.png" for name in ("cat", "cup", "rocket", "gone") * 16]
    command = (*RUN, "--format", form, "-q")
    expected = clipcli(*list_of(gallery, *names), *command, cwd=gallery).stdout.splitlines(True)
    found: list[bytes] = []
    with going("--files-from", "-", *command, cwd=gallery, stdin=subprocess.PIPE) as run:
        for start, stop in ((0, 29), (29, 30), (30, 31), (31, 33), (33, 34), (34, 64)):
            run.stdin.write("".join(f"{name}\n" for name in names[start:stop]).encode())
            run.stdin.flush()
            given = names[start:stop]
            count = len(given) if form == "jsonl" else len(given) - given.count("gone.png")
            found += [run.stdout.readline() for _ in range(count)]
        run.stdin.close()
        assert run.wait(SECONDS) == 3
    assert found == expected
    assert len(found) == (64 if form == "jsonl" else 48)


# -- long lists ---------------------------------------------------------------------------------


def peak_of(folder: Path, blocks: int) -> int:
    """Most memory of a run over so many blocks of a tiny picture, in kilobytes, at their end."""
    late, picture = LatePicture(folder / "late.png"), (folder / "cat.png").read_bytes()
    names = list_of(folder, *["dot.png"] * (32 * blocks - 1), "gone.png", "late.png")
    with going(*names, *RUN, "-o", f"{blocks}.jsonl", cwd=folder) as run:
        assert run.stderr.readline() == b"clipcli: gone.png: no such file\n"
        # Not the resource module's figure, in which the parent's memory counts, too.
        status = Path(f"/proc/{run.pid}/status").read_text()
        late.arrives(picture)
        assert run.wait(SECONDS) == 3
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak
    return int(peak[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak")
def test_ten_times_the_images_take_no_more_memory(gallery):
    Image.new("RGB", (2, 2), "red").save(gallery / "dot.png")
    assert peak_of(gallery, 47) <= 1.1 * peak_of(gallery, 5)


# -- a terminal ---------------------------------------------------------------------------------


def rows_of(shown: bytes) -> list[str]:
    """What stands on a terminal after these bytes, if none of them moves the cursor upwards."""
    assert b"\x1b" not in shown
    rows: list[str] = []
    for row in shown.decode().split("\n"):
        cells = ""
        for text in row.split("\r"):
            cells = text + cells[len(text) :]
        rows.append(cells.rstrip())
    return rows


def test_a_bar_shows_count_total_rate_and_failures_and_tears_no_line(gallery):
    picture = (gallery / "cat.png").read_bytes()
    late = [LatePicture(gallery / f"late{number}.png") for number in range(4)]
    names = [name for one in late for name in (one.file.name, "gone.png")]
    command = (*list_of(gallery, *names), "--batch-size", "2", *RUN, "-o", OUT)
    screen, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    shown = b""
    with going(*command, cwd=gallery, stderr=terminal) as run:
        os.close(terminal)
        for one in late:
            one.arrives(picture)
        with suppress(OSError):  # Linux's way to say that the last writer has gone
            while True:
                shown += os.read(screen, 1 << 16)
        assert run.wait(SECONDS) == 3
    os.close(screen)
    assert re.search(
        rb"\r 88%\|\S+ *\| 7/8 \[\d\d:\d\d<\d\d:\d\d, .* images(/s)?, 3 failed\]", shown
    )
    assert rows_of(shown) == [
        *["clipcli: gone.png: no such file"] * 4,
        "clipcli: 4 done, 4 failed (not_found 4)",
        "",
    ]
