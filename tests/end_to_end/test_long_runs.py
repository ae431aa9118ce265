"""Long runs through the installed command: killed, interrupted, refused, gone on with, tried again.

A picture that is late holds a run where a test wants it; nothing depends on who is faster.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command import Command
from long_runs import LABELS, RUN, SECONDS, LatePicture, going, lines, size, until
from PIL import Image, ImageOps
from web_server import serve, silence

BATCH = 4
LATE = "late.png"
OUT = Path("out.jsonl")
# Photos, awkward names, failures; the last name is in the second of three shards, too.
FEW = [
    *(b"cat0.png", b"cup1.png", b"gone.png", b"new\nline.png", b"\xff\xfe.png"),
    *(b"rocket2.png", b"text.png", b"cat3.png", b"cup4.png", b"rocket5.png", b"nowhere/x.png"),
]
NAMES = [*(FEW * 7)[:-1], os.fsencode(LATE)]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """Small photos, no two of them alike."""
    root = tmp_path_factory.mktemp("template")
    for place, kind in enumerate(("cat", "cup", "rocket") * 2):
        photo = {"cat": "chelsea.png", "cup": "coffee.png", "rocket": "rocket.jpg"}[kind]
        with Image.open(photos / photo) as image:
            image.thumbnail((72 + place, 72 + place))
            (ImageOps.mirror(image) if place % 2 else image).save(root / f"{kind}{place}.png")
    for name in (b"new\nline.png", b"\xff\xfe.png", os.fsencode(LATE)):
        shutil.copy(root / "cat0.png", os.fsencode(root) + b"/" + name)
    (root / "text.png").write_text("This is no image at all, only some text.")
    (root / "names.bin").write_bytes(b"\0".join(NAMES))
    return root


@pytest.fixture
def gallery(template: Path, tmp_path: Path) -> Path:
    """A copy of the photos for one test."""
    return shutil.copytree(template, tmp_path / "gallery")


@pytest.fixture(scope="module")
def whole(template: Path, clipcli: Command) -> bytes:
    """What an unbroken run writes."""
    result = clipcli(*LISTED, *RUN, "-o", OUT, cwd=template)
    assert result.returncode == 3
    written = (template / OUT).read_bytes()
    for file in template.glob(f"{OUT}*"):
        file.unlink()
    return written


SMALL_BLOCKS = ("--batch-size", str(BATCH))
LISTED = ("--files-from", "names.bin", "-0", *SMALL_BLOCKS)


def part(folder: Path) -> Path:
    return folder / f"{OUT}.part"


def records(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def files(folder: Path) -> dict[str, bytes]:
    """All results, finished and not, and what they were made with."""
    return {file.name: file.read_bytes() for file in folder.glob(f"{OUT}*")}


# -- killed -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kills"),
    [
        (("--files-from", "names.bin"), 10),
        (("--files-from", "-"), 4),
        (("--files-from", "names.bin", "--isolate"), 3),
        (("--files-from", "names.bin", "--shard", "2/3"), 3),
    ],
    ids=["list", "stdin", "isolated", "shard"],
)
def test_killed_at_random_points_and_resumed_the_output_is_that_of_an_unbroken_run(
    gallery, clipcli, whole, options, kills
):
    all_lines = whole.splitlines(keepends=True)
    expected = b"".join(all_lines[1::3] if "--shard" in options else all_lines)
    chance = random.Random(4)
    # No later than the block before the late picture's, which never comes.
    last = len(expected) - len(b"".join(all_lines[-3 * BATCH :]))
    points = [0, *sorted(chance.randrange(last) for _ in range(kills - 1))]
    late = LatePicture(gallery / LATE)
    command = (*options, "-0", *SMALL_BLOCKS, *RUN, "-o", OUT, "--resume")

    for point in points:
        with (
            (gallery / "names.bin").open("rb") as stdin,
            going(*command, cwd=gallery, stdin=stdin.fileno()) as run,
        ):
            if not point:
                time.sleep(chance.uniform(0, 0.5))  # somewhere before its first line
            until(lambda: size(part(gallery)) >= point)  # noqa: B023  at once
            run.kill()
            assert run.wait(SECONDS) == -signal.SIGKILL
        assert not (gallery / OUT).exists()
        # The machine goes down with it: of the last line some is lost.
        with part(gallery).open("ab") as torn:
            torn.truncate(max(0, size(part(gallery)) - chance.randrange(200)))

    late.is_there((gallery / "cat0.png").read_bytes())
    with (
        (gallery / "names.bin").open("rb") as stdin,
        going(*command, cwd=gallery, stdin=stdin.fileno()) as run,
    ):
        assert run.wait(SECONDS) == 3
    assert (gallery / OUT).read_bytes() == expected
    assert not part(gallery).exists()


# -- interrupted --------------------------------------------------------------------------------

NOTICE = b"clipcli: finishing what is in flight; once more leaves at once\n"
WAY_ON = "give the same command with --resume to go on"
LONG = [b"cat0.png", b"cup1.png", os.fsencode(LATE), *[b"rocket2.png"] * 40]
PAIRS = ("--files-from", "long.txt", "--batch-size", "2", *RUN, "-o", OUT)


@pytest.fixture
def long_list(gallery: Path, clipcli: Command) -> tuple[LatePicture, bytes, bytes]:
    """A list whose second block is late: its late picture, that picture's bytes, all results."""
    (gallery / "long.txt").write_bytes(b"\n".join(LONG))
    assert clipcli(*PAIRS, cwd=gallery).returncode == 0
    expected = (gallery / OUT).read_bytes()
    for file in gallery.glob(f"{OUT}*"):
        file.unlink()
    return LatePicture(gallery / LATE), (gallery / "cat0.png").read_bytes(), expected


@pytest.mark.parametrize(
    ("number", "code", "options"),
    [(signal.SIGINT, 130, ()), (signal.SIGTERM, 143, ()), (signal.SIGINT, 130, ("--isolate",))],
)
def test_the_first_signal_ends_a_run_in_good_order_and_resume_makes_it_whole(
    gallery, clipcli, long_list, number, code, options
):
    late, picture, expected = long_list
    command = (*PAIRS, *options, "--summary", "sum.json")
    with going(*command, cwd=gallery) as run:
        until(lambda: lines(part(gallery)) == 2)
        run.send_signal(number)
        assert run.stderr.readline() == NOTICE
        late.arrives(picture)
        assert run.wait(SECONDS) == code
        told = run.stderr.read().decode()

    # The late picture was in flight, and perhaps some that were decoded meanwhile.
    count = lines(part(gallery))
    assert 3 <= count < len(LONG)
    assert told == f"clipcli: ended after {count} images; {WAY_ON}\n"
    summary = json.loads((gallery / "sum.json").read_bytes())
    assert (summary["done"], summary["interrupted"], summary["exit_code"]) == (count, True, code)

    assert clipcli(*command, "--resume", cwd=gallery).returncode == 0
    assert (gallery / OUT).read_bytes() == expected
    summary = json.loads((gallery / "sum.json").read_bytes())
    assert summary["kept_from_before"] == count - count % 2
    assert (summary["done"], summary["interrupted"], summary["exit_code"]) == (len(LONG), False, 0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_signal_leaves_at_once(gallery, clipcli, long_list, number, code):
    late, picture, expected = long_list
    with going(*PAIRS, cwd=gallery) as run:
        until(lambda: lines(part(gallery)) == 2)
        run.send_signal(number)
        assert run.stderr.readline() == NOTICE
        run.send_signal(number)
        # The late picture never comes: a run that waited for it would never end.
        assert run.wait(SECONDS) == code
        assert run.stderr.read() == b""

    assert (gallery / OUT).exists() is False
    late.is_there(picture)
    assert clipcli(*PAIRS, "--resume", cwd=gallery).returncode == 0
    assert (gallery / OUT).read_bytes() == expected


# Such a run gives a server up after ten seconds, which would be its end, too.
PATIENT_DOWNLOADS = """
from functools import partialmethod
from clipcli.images.web.options import FetchOptions
patient = partialmethod(FetchOptions.__init__, read_seconds=3600, total_seconds=3600)
FetchOptions.__init__ = patient
from clipcli.cli.main import main
main()
"""


def test_the_second_signal_does_not_wait_for_a_slow_server(gallery):
    with serve({"/slow.png": silence}) as server:
        slow = (server.url("/slow.png"), "--allow-host", server.host)
        command = ("cat0.png", *slow, "--batch-size", "1", *RUN)
        with going(*command, cwd=gallery, program=PATIENT_DOWNLOADS) as run:
            assert run.stdout.readline().startswith(b"cat0.png\t")
            until(lambda: server.paths)
            run.send_signal(signal.SIGINT)
            assert run.stderr.readline() == NOTICE
            run.send_signal(signal.SIGINT)
            assert run.wait(SECONDS) == 130
            assert run.stderr.read() == b""


def test_a_run_that_is_ended_before_its_first_result_leaves_nothing_and_blames_no_list(gallery):
    with going("--files-from", "-", *RUN, "-o", OUT, cwd=gallery, stdin=subprocess.PIPE) as run:
        # More blank lines than a pipe holds: once they are gone, the run is on its way.
        run.stdin.write(b"\n" * 100_000)
        run.send_signal(signal.SIGINT)
        assert run.wait(SECONDS) == 130
        assert run.stderr.read().decode().splitlines() == [
            NOTICE.decode().strip(),
            f"clipcli: ended after 0 images; {WAY_ON}",
        ]
    assert files(gallery) == {}


# -- refused ------------------------------------------------------------------------------------


@pytest.fixture
def unfinished(gallery: Path, clipcli: Command) -> dict[str, bytes]:
    """A run that was cut: its files."""
    result = clipcli(*LISTED, *RUN, "-o", OUT, "--max-errors", "9", cwd=gallery)
    assert result.returncode == 3
    return files(gallery)


def with_settings(folder: Path, **changes: object) -> None:
    """As if the earlier run had been made with others."""
    file = folder / f"{OUT}.run.json"
    file.write_text(json.dumps({**json.loads(file.read_bytes()), **changes}))


def test_other_settings_are_refused_each_by_name_and_nothing_is_touched(
    gallery, clipcli, unfinished
):
    options = ("--preprocess", "reference", "--fast-decode", "--batch-size", "5", "-k", "2")
    others = (*options, "-l", "a dog", "-t", "a {}", "--shard", "2/3", "--min-probability", "0.1")
    result = clipcli(*LISTED, *RUN, "-o", OUT, *others, "--resume", cwd=gallery)
    labels = "'a photo of a cat', 'a cup of coffee', 'a rocket'"
    assert result.stderr.decode() == (
        f"clipcli: {part(gallery).name} was made with other settings (labels: {labels} then,"
        f" {labels}, 'a dog' now;"
        " templates: '{}' then, 'a {}' now; min_probability: 0.0 then, 0.1 now;"
        " shown: 5 then, 2 now; preprocess: plain then, reference now;"
        " fast_decode: no then, yes now; batch_size: 4 then, 5 now; shard: 1/1 then, 2/3 now):"
        f" give the same, or delete {part(gallery).name} to start over"
        " (see 'clipcli classify --help')\n"
    )
    assert result.returncode == 2
    assert files(gallery) == unfinished


def test_another_model_precision_and_order_are_refused_by_name(gallery, clipcli, unfinished):
    others = {"model": "ViT-B/32", "fingerprint": "0" * 32, "precision": "int8"}
    with_settings(gallery, **others, order="as ready")
    result = clipcli(*LISTED, *RUN, "-o", OUT, "--resume", cwd=gallery)
    told = result.stderr.decode()
    assert "(model: ViT-B/32 then, tiny now; fingerprint: 00000000000000000000000000000000" in told
    assert "; precision: int8 then, fp32 now; order: as ready then, as given now)" in told
    assert result.returncode == 2
    assert part(gallery).read_bytes() == unfinished[part(gallery).name]


@pytest.mark.parametrize("mode", ["--resume", "--retry-failed"])
@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([b"cat0.png", b"cat3.png", *NAMES[2:]], "line 2 of {} is 'cup1.png', but the input there"),
        (NAMES[:5], "line 6 of {} is 'rocket2.png', but the input there is at its end"),
    ],
    ids=["other", "shorter"],
)
def test_another_input_is_refused_and_no_result_is_lost(
    gallery, clipcli, unfinished, mode, names, told
):
    (gallery / "names.bin").write_bytes(b"\0".join(names))
    result = clipcli(*LISTED, *RUN, "-o", OUT, mode, cwd=gallery)
    assert told.format(part(gallery).name) in result.stderr.decode()
    assert result.returncode == 2
    assert {name: files(gallery)[name] for name in unfinished} == unfinished


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--resume",), "--resume goes with images: scoring --embeddings takes a moment"),
        (("--shard", "1/2"), "--shard goes with images: give it to clipcli embed"),
        (("--summary", "no/s.json"), "cannot write --summary no/s.json (there is no folder no)"),
    ],
)
def test_what_would_be_found_out_too_late_or_never_is_refused_at_once(
    clipcli, tmp_path, options, told
):
    result = clipcli(
        *("classify", "--embeddings", "e.npz", "-o", OUT, *options, *RUN), cwd=tmp_path
    )
    assert result.stderr.decode() == f"clipcli: {told} (see 'clipcli classify --help')\n"
    assert result.returncode == 2


# -- failed, and tried again --------------------------------------------------------------------


def test_what_had_failed_is_tried_again_and_the_rest_kept_byte_for_byte(gallery, clipcli, whole):
    (gallery / OUT).write_bytes(b"")
    first = clipcli(*LISTED, *RUN, "-o", OUT, "--force", cwd=gallery)
    shutil.copy(gallery / "cat0.png", gallery / "text.png")
    shutil.copy(gallery / "cat0.png", gallery / "gone.png")
    (gallery / "nowhere").mkdir()
    again = clipcli(*LISTED, *RUN, "-o", OUT, "--retry-failed", "--expect", LABELS[1], cwd=gallery)
    retried = (gallery / OUT).read_bytes()
    shutil.copy(gallery / "cup1.png", gallery / "nowhere/x.png")
    last = clipcli(*LISTED, *RUN, "-o", OUT, "--retry-failed", cwd=gallery)
    repaired = (gallery / OUT).read_bytes()
    new = clipcli(*LISTED, *RUN, "-o", "new.jsonl", cwd=gallery)

    # 3, but for those of the kept answers that are not as expected; nothing failed any more: 0.
    assert [run.returncode for run in (first, again, last, new)] == [3, 6, 0, 0]
    before, between, after = (text.splitlines() for text in (whole, retried, repaired))
    stays = [b'"status": "ok"' in line for line in before]
    assert [line for line, kept in zip(between, stays, strict=True) if kept] == [
        line for line, kept in zip(before, stays, strict=True) if kept
    ]
    assert {record["status"] for record in map(json.loads, after)} == {"ok"}
    assert repaired == (gallery / "new.jsonl").read_bytes()
    assert between != before


def test_a_resumed_run_s_exit_code_speaks_for_what_was_kept_too(gallery, clipcli):
    names = ["cup1.png", "gone.png", *["cat0.png"] * 6, LATE]
    (gallery / "names.bin").write_text("\0".join(names))
    late, picture = LatePicture(gallery / LATE), (gallery / "cat0.png").read_bytes()
    with going(*LISTED, *RUN, "-o", OUT, cwd=gallery) as run:
        until(lambda: lines(part(gallery)) == 8)
        run.kill()
    torn = part(gallery).read_bytes()
    late.is_there(picture)
    assert clipcli(*LISTED, *RUN, "-o", OUT, "--resume", cwd=gallery).returncode == 3

    (gallery / OUT).unlink()
    part(gallery).write_bytes(torn)
    expecting = (*LISTED, *RUN, "-o", OUT, "--expect", LABELS[1])
    result = clipcli(*expecting, "--resume", "--summary", "sum.json", cwd=gallery)
    assert result.returncode == 6
    assert result.stderr == b"clipcli: 8 done, 1 failed (not_found 1)\n"
    summary = json.loads((gallery / "sum.json").read_bytes())
    assert (summary["unexpected"], summary["kept_from_before"]) == (1, 8)


# -- a part of the images -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "limit", "count", "code"),
    [
        (["cat0.png"] * 4 + ["gone.png"] + ["cat0.png"] * 40, ("--fail-fast",), 5, 3),
        (["gone.png"] * 50, ("--max-errors", "4"), 4, 4),
    ],
)
def test_too_many_failures_end_a_run_that_can_be_gone_on_with(
    gallery, clipcli, names, limit, count, code
):
    (gallery / "names.bin").write_text("\0".join(names))
    command = (*LISTED, *RUN, "-o", OUT)
    result = clipcli(*command, *limit, "--summary", "sum.json", cwd=gallery)
    assert result.returncode == code
    last = result.stderr.decode().splitlines()[-1]
    assert last == f"clipcli: ended after {count} images: too many have failed; {WAY_ON}"
    assert lines(part(gallery)) == count
    summary = json.loads((gallery / "sum.json").read_bytes())
    assert (summary["interrupted"], summary["exit_code"]) == (True, code)
    assert sum(summary["failed"].values()) == len([n for n in names[:count] if n == "gone.png"])

    # Those that failed before do not count once more.
    clipcli(*command, "--resume", "--max-errors", "47", cwd=gallery)
    clipcli(*command[:-1], "new.jsonl", cwd=gallery)
    assert (gallery / OUT).read_bytes() == (gallery / "new.jsonl").read_bytes()


def test_a_run_that_is_over_does_not_wait_for_whoever_writes_its_list(gallery):
    os.mkfifo(gallery / "list")
    # For reading, too, or opening it would wait for the run.
    with (
        os.fdopen(os.open(gallery / "list", os.O_RDWR), "wb", buffering=0) as writer,
        going("--files-from", "list", *RUN, "--fail-fast", cwd=gallery) as run,
    ):
        writer.write(b"gone.png\n")
        assert run.wait(SECONDS) == 4


def test_shards_together_are_the_whole_and_each_image_keeps_its_index(gallery, clipcli, whole):
    parts = []
    for number in (1, 2, 3):
        result = clipcli(*LISTED, *RUN, "--shard", f"{number}/3", "--jsonl", cwd=gallery)
        parts += map(json.loads, result.stdout.splitlines())
    expected = [json.loads(line) for line in whole.splitlines()]
    parts.sort(key=lambda record: record["index"])
    assert [(record["index"], record["input"], record["status"]) for record in parts] == [
        (record["index"], record["input"], record["status"]) for record in expected
    ]
    assert [record.get("answer") for record in parts] == [
        record.get("answer") for record in expected
    ]


def test_unordered_every_image_has_its_one_result_and_none_waits_for_a_late_one(gallery, clipcli):
    late, picture = LatePicture(gallery / LATE), (gallery / "cat0.png").read_bytes()
    names = [LATE, *["cup1.png", "gone.png"] * 9]
    (gallery / "names.bin").write_text("\0".join(names))
    with going(*LISTED, *RUN, "--workers", "2", "--unordered", "-o", OUT, cwd=gallery) as run:
        until(lambda: lines(part(gallery)) >= len(names) - BATCH)
        late.arrives(picture)
        assert run.wait(SECONDS) == 3
    found = records(gallery / OUT)
    assert found[0]["input"] != LATE
    assert sorted((record["index"], record["input"]) for record in found) == list(enumerate(names))


def test_an_unordered_run_that_is_cut_is_not_said_to_go_on(gallery, clipcli):
    command = ("gone.png", "cat0.png", "--unordered", *RUN, "-o", OUT)
    cut = clipcli(*command, "--fail-fast", cwd=gallery)
    assert cut.stderr.decode().splitlines()[-1].endswith(f"; what is done is in {OUT}.part")
    again = clipcli(*command, cwd=gallery)
    message = f"clipcli: {OUT}.part is left of an interrupted run: delete it to start over"
    assert again.stderr.decode().startswith(message)
    assert again.returncode == 2


@pytest.mark.parametrize("kind", ["pipe", "link", "older"])
def test_a_summary_goes_where_it_is_wanted(gallery, clipcli, kind):
    """Without a single success, too. What is there keeps its kind: as root, /dev/null matters."""
    file = gallery / "sum.json"
    real = gallery / "real.json"
    if kind == "pipe":
        os.mkfifo(file)
        reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    elif kind == "link":
        file.symlink_to(real)
    else:
        file.write_text("old")
    force = ("--force",) if kind == "older" else ()
    result = clipcli("gone.png", *RUN, "--summary", "sum.json", *force, cwd=gallery)
    assert result.returncode == 4
    if kind == "pipe":
        with os.fdopen(reader, "rb") as stream:
            summary = json.load(stream)
    else:
        summary = json.loads(file.read_bytes())
    assert (summary["done"], summary["failed"], summary["exit_code"]) == (0, {"not_found": 1}, 4)
    assert summary["settings"]["labels"] == list(LABELS[1::2])
    assert (file.is_fifo(), file.is_symlink()) == (kind == "pipe", kind == "link")
    assert real.exists() == (kind == "link")
