"""The command line's contract, seen from outside: the installed command with the bundled model.

Starting the model takes seconds, so that one run is looked at by several tests.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from bundle_copies import MANIFEST
from command import (
    PATIENCE,
    Command,
    clean_environment,
    installed_command,
    unmeasured_environment,
)
from PIL import Image
from web_server import answer, serve

TINY = ("--model", "tiny")
LABELS = ("-l", "a photo of a cat", "-l", "a cup of coffee", "-l", "a rocket")
CAT, COFFEE, ROCKET = LABELS[1::2]
NOT_UTF8 = b"\xff\xfe.png"
NOT_UTF8_AS_TEXT = "\N{REPLACEMENT CHARACTER}" * 2 + ".png"
EVIL = "evil \x1b]0;title\x07\x1b[2J\u202egnp.png"
CSV_NAME = 'comma, "quote" and\rreturn.png'


def png_header(width: int, height: int) -> bytes:
    """A PNG file that claims a size and holds no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT\x35\xaf\x06\x1e"


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A folder of small photos under awkward names, and of files that are no photos."""
    root = tmp_path_factory.mktemp("gallery")
    for name, photo in [("cat", "chelsea.png"), ("cup", "coffee.png"), ("rocket", "rocket.jpg")]:
        with Image.open(photos / photo) as image:
            image.thumbnail((160, 160))
            image.save(root / f"{name}.png")
    with Image.open(root / "cat.png") as image:
        image.save(root / "cut.jpg")
    (root / "cut.jpg").write_bytes((root / "cut.jpg").read_bytes()[:2000])
    (root / "folder/deeper").mkdir(parents=True)
    for name in ("with space.png", "[1].png", "1.png", "photo.data", "completion", "-dash.png"):
        shutil.copy(root / "cat.png", root / name)
    for name in ("new\nline.png", "tab\t.png", "back\\slash.png", CSV_NAME, EVIL, "-last.png"):
        shutil.copy(root / "cat.png", root / name)
    for name in (
        "folder/Zebra.jpg",
        "folder/apple.PNG",
        "folder/deeper/cat.png",
        "folder/deeper.jpg",
        "folder/é.png",
    ):
        shutil.copy(root / "cat.png", root / name)
    (root / "folder/notes.txt").write_text("not an image by its extension")
    (root / "folder/linked").symlink_to(root / "folder/deeper", target_is_directory=True)
    (root / "folder/loop.png").symlink_to("loop.png")
    shutil.copy(root / "cat.png", os.fsencode(root) + b"/" + NOT_UTF8)
    (root / "empty.png").touch()
    (root / "text.png").write_text("This is no image at all, only some text.")
    (root / "huge.png").write_bytes(png_header(60_000, 60_000))
    return root


@pytest.fixture(scope="module")
def server(gallery: Path) -> Iterator[str]:
    """`host:port` of a web server on loopback."""
    page = answer(b"<!DOCTYPE html><title>Sign in</title>")
    photo = answer((gallery / "cat.png").read_bytes())
    with serve({"/cat.png": photo, "/page.png": page}) as pages:
        yield pages.host


# What goes into the great run, and what becomes of it; in the order of the results.
GALLERY = {
    "cat.png": "ok",
    "no such file.png": "not_found",
    "with space.png": "ok",
    "[1].png": "ok",  # literal: as a pattern it would be 1.png
    "c[au]*.png": ("cat.png", "cup.png"),
    "nothing*.png": "no_match",
    "empty.png": "empty",
    "text.png": "not_an_image",
    "cut.jpg": "damaged",
    "huge.png": "too_many_pixels",
    "folder": (
        *("folder/Zebra.jpg", "folder/apple.PNG", "folder/deeper.jpg", "folder/deeper/cat.png"),
        *("folder/loop.png", "folder/é.png"),
    ),
    "photo.data": "ok",  # named outright
    "./completion": "ok",
    "-": "ok",
    "http://{server}/cat.png": "ok",
    "http://{server}/gone.png": "url_failed",
    "http://{server}/page.png": "not_an_image",
    "-last.png": "ok",  # after --
}
# Names from the list, which are literal.
LISTED = {"new\nline.png": "ok", "-dash.png": "ok", "*.png": "not_found", "cup.png": "ok"}


@pytest.fixture(scope="module")
def great_run(clipcli: Command, gallery: Path, server: str) -> subprocess.CompletedProcess[bytes]:
    names = [name.format(server=server) for name in GALLERY]
    listed = "\0".join(["", *LISTED]).encode() + b"\0" + NOT_UTF8
    (gallery / "names.bin").write_bytes(listed)
    options = ("-r", "--allow-host", server, "--files-from", "names.bin", "-0", "--jsonl")
    before, last = names[:-1], names[-1]
    return clipcli(
        *(*before, *options, *TINY, *LABELS, "--", last),
        cwd=gallery,
        input=(gallery / "cat.png").read_bytes(),
    )


@pytest.fixture(scope="module")
def records(great_run: subprocess.CompletedProcess[bytes]) -> list[dict]:
    return [json.loads(line) for line in great_run.stdout.splitlines()]


def expanded(server: str) -> list[str]:
    """The inputs of the great run as its results name them."""
    names: list[str] = []
    for name, outcome in {**GALLERY, **LISTED}.items():
        names += [name.format(server=server)] if isinstance(outcome, str) else outcome
    return [*names, NOT_UTF8_AS_TEXT]


def test_results_come_in_the_order_of_the_inputs_and_folders_bytewise(records, server):
    assert [record["input"] for record in records] == expanded(server)
    assert [record["index"] for record in records] == list(range(len(records)))


@pytest.mark.parametrize(
    ("name", "outcome"),
    [item for item in {**GALLERY, **LISTED}.items() if isinstance(item[1], str)],
    ids=str,
)
def test_each_input_has_its_one_record(records, server, name, outcome):
    found = [record for record in records if record["input"] == name.format(server=server)]
    codes = {record.get("error", {}).get("code", record["status"]) for record in found}
    assert codes == {outcome}


def test_bad_inputs_leave_their_neighbours_alone(records, great_run):
    best = [
        record["predictions"][0]
        for record in records
        if record["status"] == "ok" and not record["input"].startswith("cup")
    ]
    shares = [prediction["probability"] for prediction in best]
    assert {prediction["label"] for prediction in best} == {CAT}
    assert shares == pytest.approx([shares[0]] * 17, rel=1e-5)
    assert great_run.returncode == 3


REASONS = {
    "no such file.png": "no such file",
    "nothing*.png": "no file matches this pattern",
    "empty.png": "the file is empty",
    "text.png": "not an image (it looks like text)",
    "cut.jpg": "a damaged ",
    "huge.png": "too large: 60,000 x 60,000 pixels (--max-pixels is 200,000,000)",
    "http://{server}/gone.png": "the server answered 404",
    "http://{server}/page.png": "not an image (it looks like an HTML page)",
    "folder/loop.png": "cannot be read (",
}


@pytest.mark.parametrize(("name", "reason"), REASONS.items())
def test_a_bad_input_gets_one_line_that_says_what_and_why(great_run, server, name, reason):
    name = name.format(server=server)
    lines = great_run.stderr.decode().splitlines()
    told = [line for line in lines if line.startswith(f"clipcli: {name}: ")]
    assert len(told) == 1
    assert told[0].removeprefix(f"clipcli: {name}: ").startswith(reason)


def test_the_last_line_sums_up(great_run, records):
    done = sum(record["status"] == "ok" for record in records)
    failed = len(records) - done
    summary = great_run.stderr.decode().splitlines()[-1]
    assert summary.startswith(f"clipcli: {done} done, {failed} failed (not_found 2, ")


def test_jsonl_is_ascii_with_exactly_the_documented_fields(great_run, records):
    assert great_run.stdout.isascii()
    good = records[0]
    assert list(good) == ["index", "input", "status", "answer", "predictions", "model"]
    assert list(good["predictions"][0]) == ["label", "probability", "similarity"]
    assert list(good["model"]) == ["name", "fingerprint"]
    bad = records[1]
    assert list(bad) == ["index", "input", "status", "error", "model"]
    assert list(bad["error"]) == ["code", "message"]


def test_probabilities_are_the_softmax_of_all_labels(records):
    shares = [prediction["probability"] for prediction in records[0]["predictions"]]
    assert len(shares) == 3
    assert sum(shares) == pytest.approx(1, abs=1e-12)
    assert shares == sorted(shares, reverse=True)


def test_a_name_that_is_not_utf8_comes_back_in_base64(records):
    assert base64.b64decode(records[-1]["input_b64"]) == NOT_UTF8
    assert records[-1]["status"] == "ok"


@pytest.fixture(scope="module")
def tsv_run(clipcli: Command, gallery: Path, server: str) -> subprocess.CompletedProcess[bytes]:
    names = [b"tab\t.png\r", b"", b"  ", b"back\\slash.png", b"c*.png", NOT_UTF8]
    return clipcli(
        *("classify", "rocket.png", "folder", f"http://{server}/cat.png", "--files-from", "-"),
        *("--top-k", "2", *TINY, *LABELS),
        cwd=gallery,
        input=b"\n".join(names),
    )


def test_a_pipe_gets_tsv_with_escapes_and_the_bytes_of_names(tsv_run):
    names = [line.split(b"\t")[0] for line in tsv_run.stdout.splitlines()]
    assert names == [b"rocket.png", b"tab\\t.png", b"back\\\\slash.png", NOT_UTF8]


def test_tsv_has_a_pair_of_cells_for_each_of_top_k(tsv_run):
    rocket = tsv_run.stdout.decode(errors="replace").splitlines()[0].split("\t")
    assert rocket[1] == ROCKET
    assert rocket[3] in (CAT, COFFEE)
    assert all(re.fullmatch(r"[01]\.\d{6}", cell) for cell in rocket[2::2])
    assert len(rocket) == 5


def test_failures_are_told_on_standard_error_only(tsv_run, server):
    lines = tsv_run.stderr.decode().splitlines()
    assert lines[0] == "clipcli: folder: a folder: add -r to search it for images"
    assert lines[1].startswith(f"clipcli: http://{server}/cat.png: ")
    assert "127.0.0.1" in lines[1]
    assert "--allow-host" in lines[1]
    assert lines[2:] == [
        "clipcli: c*.png: no such file",
        "clipcli: 4 done, 3 failed (is_a_folder 1, url_refused 1, not_found 1)",
    ]
    assert tsv_run.returncode == 3


@pytest.fixture(scope="module")
def csv_run(clipcli: Command, gallery: Path) -> subprocess.CompletedProcess[bytes]:
    doubts = ("--min-probability", "1", "--expect", CAT)
    options = ("--format", "csv", "-k", "2", "-q", *doubts, *TINY, *LABELS)
    return clipcli(CSV_NAME, "missing.png", *options, cwd=gallery)


def test_csv_holds_failures_and_survives_any_name(csv_run):
    rows = list(csv.DictReader(io.StringIO(csv_run.stdout.decode(), newline="")))
    assert [(row["input"], row["status"], row["rank"]) for row in rows] == [
        (CSV_NAME, "ok", "1"),
        (CSV_NAME, "ok", "2"),
        ("missing.png", "error", ""),
    ]
    assert rows[0]["label"] == CAT
    assert 0.5 < float(rows[0]["probability"]) < 1
    assert rows[2]["error_code"] == "not_found"
    assert rows[2]["error_message"] == "no such file"


def test_below_min_probability_the_answer_is_unknown(csv_run):
    rows = list(csv.DictReader(io.StringIO(csv_run.stdout.decode(), newline="")))
    assert rows[0]["answer"] == "unknown"


def test_an_unexpected_answer_is_told_and_outweighs_a_failure(csv_run):
    assert csv_run.returncode == 6
    told, failed = csv_run.stderr.decode().splitlines()  # with -q no summary
    assert told.startswith('clipcli: comma, "quote" and\\rreturn.png: ')
    assert f"expected {CAT!r}, got 'unknown' ({CAT!r} has 0." in told
    assert failed == "clipcli: missing.png: no such file"


@pytest.fixture(scope="module")
def label_run(clipcli: Command, gallery: Path) -> subprocess.CompletedProcess[bytes]:
    text = "\ufeff# animals\r\n\r\n  a lion  \r\n#tiger\r\nC# code\r\n"
    (gallery / "labels.txt").write_bytes(text.encode())
    (gallery / "cifar10").write_text("a file of the preset's name\n")
    labels = ("-l", " {braces} ", "-l", "猫 é", "--labels", "labels.txt", "--labels", "cifar10")
    templates = ("-t", "a {} {photo}", "-t", "openai7")
    return clipcli("cat.png", *labels, *templates, *TINY, "--json", "-v", cwd=gallery)


CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def test_labels_of_all_kinds_add_up_and_verbose_shows_them_all(label_run):
    (record,) = json.loads(label_run.stdout)
    labels = {prediction["label"] for prediction in record["predictions"]}
    assert labels == {" {braces} ", "猫 é", "a lion", "C# code", *CIFAR10}
    assert record["answer"] == "cat"


def test_verbose_tells_the_engine_and_why_the_model_and_the_count(label_run):
    choice, engine, summary = label_run.stderr.decode().splitlines()
    assert re.fullmatch(r"clipcli: onnx runs, because \S+/tiny is prepared", choice)
    pattern = r"clipcli: tiny with ONNX Runtime \S+ on cpu, fp32, fingerprint [0-9a-f]{32}"
    assert re.fullmatch(pattern, engine)
    assert re.fullmatch(r"clipcli: 1 done, 0 failed, \d+\.\d images/s", summary)


def test_json_is_one_array_even_of_failures_alone(clipcli, tmp_path):
    """With --expect: an image that was not classified is no unexpected answer."""
    result = clipcli("gone.png", "--json", "--expect", CAT, *TINY, *LABELS, cwd=tmp_path)
    (record,) = json.loads(result.stdout)
    assert record["error"] == {"code": "not_found", "message": "no such file"}
    assert result.stderr == b"clipcli: gone.png: no such file\n"
    assert result.returncode == 4


def test_an_empty_list_says_so(clipcli, tmp_path):
    result = clipcli("--files-from", "-", "--json", *TINY, *LABELS, cwd=tmp_path)
    assert (json.loads(result.stdout), result.returncode) == ([], 4)
    assert result.stderr == (
        b"clipcli: there are no images: the list, or this --shard of it, names none\n"
    )


def test_the_environment_sets_the_documented_options_and_no_others(clipcli, gallery):
    documented = {"MODEL": "tiny", "FORMAT": "jsonl", "DEVICE": "cpu", "PRECISION": "bf16"}
    documented |= {"ENGINE": "torch", "THREADS": "1"}
    others = {"VERSION": "1", "LABEL": "one two", "CLASSIFY_MODEL": "nope", "TOP_K": "none"}
    env = {f"CLIPCLI_{name}": value for name, value in {**documented, **others}.items()}
    result = clipcli("cat.png", "--expect", CAT, *LABELS, "-v", cwd=gallery, env=env)
    choice, engine, _ = result.stderr.decode().splitlines()
    assert choice == "clipcli: torch runs, because --engine torch was asked for"
    assert re.match(r"clipcli: tiny with torch \S+ on cpu, ", engine)
    record = json.loads(result.stdout)
    assert (record["answer"], result.returncode) == (CAT, 0)


def on_terminal(
    *arguments: str, cwd: Path, env: dict[str, str] | None = None
) -> tuple[str, str, int]:
    """Run clipcli with standard output on a terminal: what it shows, standard error, exit code."""
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [installed_command(), *arguments],
        cwd=cwd,
        env={**clean_environment(), "TERM": "xterm", **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=subprocess.PIPE,
    )
    os.close(terminal)
    shown = b""
    try:
        while chunk := os.read(screen, 1 << 16):
            shown += chunk
    except OSError:  # Linux's way to say that the last writer has gone
        pass
    finally:
        os.close(screen)
    _, told = process.communicate(timeout=PATIENCE)
    return shown.decode().replace("\r\n", "\n"), told.decode(), process.returncode


def test_a_terminal_gets_coloured_bars_that_line_up_and_obeys_no_name(gallery):
    wide = ("-l", "寿司", "-l", "🍣 sushi", "-l", "cafe\u0301")
    shown, told, code = on_terminal(EVIL, "cat.png", *TINY, *LABELS, *wide, cwd=gallery)
    plain = re.sub(r"\x1b\[(0|1|36)m", "", shown)
    assert plain != shown
    assert "\x1b" not in plain
    blocks = plain.split("\n\n")
    name = "evil \\x1b]0;title\\x07\\x1b[2J\\u202egnp.png"
    assert [block.splitlines()[0] for block in blocks] == [name, "cat.png"]
    rows = blocks[1].splitlines()[1:-1]
    assert len(rows) == 5  # of six labels
    assert rows[0].startswith(f"  {CAT}  █")
    columns = {len(row) + sum(c in "寿司🍣" for c in row) - ("\u0301" in row) for row in rows}
    assert len(columns) == 1
    best = blocks[1].splitlines()[-1]
    assert re.fullmatch(rf"Best match: '{CAT}' with probability 0\.\d{{4}}", best)
    assert (told, code) == ("", 0)


def test_verbose_on_a_terminal_shows_shapes_and_probabilities(gallery):
    """And NO_COLOR is kept."""
    arguments = ("cat.png", "-v", "-k", "1", *TINY, *LABELS)
    shown, _, _ = on_terminal(*arguments, cwd=gallery, env={"NO_COLOR": "1"})
    pattern = (
        r"cat\.png\n"
        r"  a photo of a cat  █+[▏▎▍▌▋▊▉]? *  0\.\d{4}  cosine  0\.\d\d\n"
        r"Best match: 'a photo of a cat' with probability (0\.\d{4})\n"
        rf"Image features shape: \(1, {MANIFEST['embed_dim']}\)\n"
        rf"Text features shape: \(3, {MANIFEST['embed_dim']}\)\n"
        r"Similarity probabilities: \[\[(0\.\d+) \S+ \S+\]\]\n"
    )
    found = re.fullmatch(pattern, shown)
    assert found
    assert float(found[1]) == pytest.approx(float(found[2]), abs=1e-4)


@pytest.mark.parametrize(("options", "env"), [(["--no-color"], {}), ([], {"TERM": "dumb"})])
def test_no_colour_where_it_is_not_wanted(gallery, options, env):
    doubts = ("--min-probability", "1", "--expect", "unknown")
    arguments = ("cat.png", "gone.png", *doubts, *options, *TINY, *LABELS)
    shown, told, code = on_terminal(*arguments, cwd=gallery, env=env)
    assert "\x1b" not in shown
    last = shown.splitlines()[-1]
    figures = r"probability 0\.\d{4}, cosine -?0\.\d\d"
    assert re.fullmatch(rf"Best match: unknown \('{CAT}' has only {figures}\)", last)
    assert told.splitlines()[0] == "clipcli: gone.png: no such file"
    assert code == 3  # the answer is as expected


class Fed:
    """A run that reads names from a pipe, as they come."""

    def __init__(self, gallery: Path, *options: str, stderr: int = subprocess.PIPE) -> None:
        self.process = subprocess.Popen(
            [
                installed_command(),
                "--files-from",
                "-",
                *options,
                *TINY,
                *LABELS,
            ],
            cwd=gallery,
            env=unmeasured_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )

    def name(self, *names: str) -> None:
        self.process.stdin.write("".join(f"{name}\n" for name in names).encode())
        self.process.stdin.flush()

    def __enter__(self) -> Fed:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_the_run_in_good_order_with_what_is_done(gallery, name, code):
    with Fed(gallery, "--json") as run:
        # A block is far from full; in the lull behind the names their results come all the same.
        # The failure is the last: once it is told, each name has been read.
        run.name("cat.png", "cup.png", "gone.png")
        assert run.process.stderr.readline() == b"clipcli: gone.png: no such file\n"
        run.process.send_signal(signal.Signals[name])
        # Nobody closes the list: a run that waited for the next name would never end.
        assert run.process.wait(PATIENCE) == code
        output, told = run.process.communicate(timeout=PATIENCE)
    assert [record["input"] for record in json.loads(output)] == ["cat.png", "cup.png", "gone.png"]
    assert told.decode().splitlines() == [
        "clipcli: finishing what is in flight; once more leaves at once",
        "clipcli: 2 done, 1 failed (not_found 1)",
        "clipcli: ended after 3 images",
    ]


def test_a_reader_that_goes_ends_the_run_quietly(gallery):
    """As in `clipcli … | head -1`."""
    with Fed(gallery) as run:
        run.name("cat.png", "cup.png", "rocket.png", "cat.png")
        assert run.process.stdout.readline().startswith(b"cat.png\t")
        run.process.stdout.close()
        # Where names came one by one, the run has met its end with the second already.
        with suppress(BrokenPipeError):
            run.name(*["cup.png"] * 8)
        with suppress(BrokenPipeError):
            run.process.stdin.close()
        assert run.process.wait(timeout=PATIENCE) == 141
        assert run.process.stderr.read() == b""


def test_progress_is_shown_on_a_terminal_while_results_go_elsewhere(gallery):
    screen, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    with Fed(gallery, stderr=terminal) as run:
        os.close(terminal)
        shown = b""
        end = time.monotonic() + PATIENCE
        while b" images" not in shown and time.monotonic() < end:  # after a second of results
            run.name("cat.png")
            if select.select([screen], [], [], 0.1)[0]:
                shown += os.read(screen, 1 << 16)
        run.process.stdin.close()
        results = run.process.stdout.read().splitlines()
        assert run.process.wait(timeout=PATIENCE) == 0
    os.close(screen)
    assert re.search(rb"\d+ images", shown)
    assert {line.split(b"\t")[0] for line in results} == {b"cat.png"}
