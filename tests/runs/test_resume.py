"""A run's results in a file: begun, killed at any byte, gone on with, tried again."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from fake_engine import FakeEngine, grey_png
from hypothesis import given, settings
from hypothesis import strategies as st

from clipcli.errors import ClipcliError, ClipcliWarning, FailureCode, InputError, UsageError
from clipcli.heads.labels import LabelSet
from clipcli.heads.results import Failure, LabelScore, Prediction
from clipcli.heads.zero_shot import build_head
from clipcli.images.sources import ImageRef
from clipcli.outputs.writers import JsonlWriter, OutputOptions, record
from clipcli.runs.options import PipelineOptions
from clipcli.runs.output import RunOutput
from clipcli.runs.pipeline import classify
from clipcli.runs.resume import Mode, RunOptions, open_run
from clipcli.runs.tally import Tally

LABELS = LabelSet(("1", "12345", "123456789"))
OUTPUT = OutputOptions(LABELS.names, "fake", "0" * 32, 2)
SETTINGS = {"format": "jsonl", "model": "fake", "provenance": {"clipcli": "1"}}
BROKEN = InputError(FailureCode.NO_MATCH, "none")
NAMES = ["a\nb.png", os.fsdecode(b"\xff\xfe.png"), '"q"\\.png', "猫.png", " "]


class PlacedEngine(FakeEngine):
    """Its embeddings tell an image's place in its block, and the block's length."""

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        places = (np.arange(len(pixels)) + 16 * len(pixels)) / 1e4
        self.batches.append(len(pixels))
        return self._on_circle(pixels.mean(axis=(1, 2, 3)) + places)


HEAD = build_head(PlacedEngine(), LABELS)


def images(*levels: int | None) -> list[ImageRef]:
    """An image for each grey level, one that cannot be read for each None."""
    names = (f"{place}{name}" for place, name in enumerate(itertools.cycle(NAMES)))
    return [
        ImageRef(index, name, BROKEN if level is None else grey_png(level))
        for index, (name, level) in enumerate(zip(names, levels, strict=False))
    ]


def options(file: Path, mode: Mode = Mode.NEW, batch_size: int = 3, **changes) -> RunOptions:
    return RunOptions(file, {**SETTINGS, **changes}, batch_size, mode, expected="1")


def run(
    refs: list[ImageRef], how: RunOptions, engine: FakeEngine | None = None, stop: int = -1
) -> RunOutput:
    """The loop of the command line; `stop` ends it after so many new results."""
    with open_run(iter(refs), how) as output:
        writer = JsonlWriter(output.stream, OUTPUT)
        pipeline = PipelineOptions(how.batch_size, workers=1)
        results = classify(output.refs, engine or PlacedEngine(), HEAD, pipeline)
        for count, result in enumerate(output.new(results)):
            if count == stop:
                return output
            writer.write(result)
            output.tally.add(result)
        output.finish()
    return output


def killed(file: Path, kept: bytes) -> None:
    """Make of a finished run what a kill leaves of it: a part, and settings without an end."""
    file.unlink()
    part(file).write_bytes(kept)
    recorded = json.loads(settings_file(file).read_text())
    settings_file(file).write_text(json.dumps({**recorded, "bytes": []}))


def part(file: Path) -> Path:
    return file.with_name(file.name + ".part")


def settings_file(file: Path) -> Path:
    return file.with_name(file.name + ".run.json")


def left(file: Path) -> set[str]:
    return {name.removeprefix(file.name) for name in os.listdir(file.parent)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


levels = st.lists(st.one_of(st.integers(0, 255), st.none()), max_size=14)
garbage = st.sampled_from([b"", b"\0" * 9, b"\0\xff\n", b"{}\n", b'{"index": 0, "inp'])


# Begin and end.


def test_a_finished_run_leaves_the_file_and_what_made_it(file):
    with open_run(iter(images(1)), options(file)) as output:
        for result in output.new([Failure(0, "a", FailureCode.EMPTY, "no bytes")]):
            output.stream.write(f"{result.name}\n")
            assert left(file) == {".part", ".run.json"}
            assert json.loads(settings_file(file).read_text()) == SETTINGS
        output.finish()
    assert left(file) == {"", ".run.json"}
    assert file.read_text() == "a\n"
    told = {"bytes": [2], "crc32": ["ddeaa107"]}
    assert json.loads(settings_file(file).read_text()) == {**SETTINGS, **told}


def test_an_unfinished_run_leaves_what_it_wrote_and_the_old_file(file):
    run(images(1, 2), options(file))
    before = file.read_bytes()
    run(images(3, 4), options(file), stop=1)
    assert left(file) == {"", ".part", ".run.json"}
    assert file.read_bytes() == before
    assert part(file).read_bytes().count(b"\n") == 1


@pytest.mark.parametrize("mode", Mode)
def test_a_run_that_ends_before_its_first_result_leaves_all_as_it_was(file, mode):
    with open_run(iter(images(1)), options(file, mode)):
        pass
    assert left(file) == set()
    run(images(1), options(file))
    recorded = settings_file(file).read_bytes()
    with open_run(iter(images(1, 2)), options(file, mode)):
        pass
    assert file.read_bytes().count(b"\n") == 1
    assert settings_file(file).read_bytes() == recorded


def test_a_run_over_no_images_makes_an_empty_file_that_can_be_gone_on_with(file):
    run([], options(file))
    assert file.read_bytes() == b""
    assert run(images(1), options(file, Mode.RESUME)).tally.done == 1
    assert file.read_bytes().count(b"\n") == 1


def test_a_name_of_any_bytes_can_be_written(file):
    with open_run(iter([]), options(file)) as output:
        output.stream.write(f"{NAMES[1]}\r\n")
        output.finish()
    assert file.read_bytes() == b"\xff\xfe.png\r\n"


def test_results_of_a_stream_all_pass(file):
    refs, stream = iter(images(1)), sys.stdout
    with RunOutput(stream, refs, Tally()) as output:
        failures = [Failure(0, "a", FailureCode.EMPTY, "no bytes")]
        assert list(output.new(failures)) == failures
        output.finish()
    assert not stream.closed


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, r"part holds 2 results of an interrupted run: add --resume to go on, or delete it"),
        ({"format": "csv"}, r"part is left of an interrupted run: delete it to start over"),
    ],
)
def test_an_interrupted_run_s_results_are_not_overwritten(file, changes, told):
    run(images(1, 2, 3), options(file), stop=2)
    before = part(file).read_bytes()
    with pytest.raises(UsageError, match=told):
        open_run(iter([]), options(file, **changes))
    assert part(file).read_bytes() == before


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/a.jsonl", "there is no folder"),
        ("folder", r"folder \(a folder\): name a file"),
        ("pipe", "no regular file"),
        ("x" * 253, "File name too long"),  # one byte too many with its .part
        ("x" * 245, "File name too long"),  # with its .run.json
        ("a\0b", "null byte"),
        ("", "a folder"),
    ],
)
def test_a_place_where_nothing_can_be_written_is_refused_with_the_reason(
    tmp_path, monkeypatch, name, reason
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=f"cannot write .*{reason}"):
        run(images(1), options(Path(name)))
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_folder_that_may_not_be_written_is_refused(file):
    file.parent.chmod(0o500)
    with pytest.raises(UsageError, match="Permission denied"):
        open_run(iter([]), options(file))


# Two at once.


@pytest.mark.parametrize("mode", Mode)
def test_a_second_process_is_refused_while_the_first_is_writing(file, mode):
    pytest.importorskip("fcntl")
    run(images(1, None), options(file))
    with open_run(iter(images(1, None)), options(file, mode)) as first:
        first.stream.flush()
        for second in Mode:
            with pytest.raises(UsageError, match=r"another process is writing .*\.part: wait"):
                open_run(iter([]), options(file, second))
    run(images(1, None), options(file, Mode.RESUME))


def test_a_killed_process_holds_nothing(file):
    pytest.importorskip("fcntl")
    code = (
        "import sys, pathlib, clipcli.runs.resume as runs\n"
        f"how = runs.RunOptions(pathlib.Path(sys.argv[1]), {SETTINGS!r}, 3)\n"
        "output = runs.open_run(iter([]), how)\n"
        "print('begun', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, file]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        with pytest.raises(UsageError, match="another process"):
            run(images(1), options(file))
        process.kill()
    assert run(images(1), options(file)).tally.done == 1


def test_a_part_that_another_process_has_just_renamed_is_not_written(file, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(fcntl, "flock", lambda *_: part(file).rename(file))
    with pytest.raises(UsageError, match="another process"):
        open_run(iter([]), options(file))


def test_a_disk_without_locks_is_written_all_the_same(file, monkeypatch):
    def no_locks(*_arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", no_locks)
    assert run(images(1), options(file)).tally.done == 1


# Going on.


@settings(deadline=None, max_examples=60)
@given(
    levels=levels,
    batch_size=st.integers(1, 5),
    shard=st.sampled_from([(0, 1), (0, 2), (2, 3)]),
    cut=st.floats(0, 1),
    torn=garbage,
)
def test_a_run_cut_at_any_byte_and_resumed_is_an_unbroken_run(levels, batch_size, shard, cut, torn):
    refs = images(*levels)[shard[0] :: shard[1]]
    with TemporaryDirectory() as folder:
        file = Path(folder, "results.jsonl")
        unbroken = run(refs, options(file, batch_size=batch_size))
        whole = file.read_bytes()
        kept = whole[: round(cut * len(whole))]
        killed(file, kept + torn)

        resumed = run(refs, options(file, Mode.RESUME, batch_size), engine := PlacedEngine())

        assert file.read_bytes() == whole
        assert left(file) == {"", ".run.json"}
        assert resumed.tally == unbroken.tally
        count = kept.count(b"\n")
        if count < len(refs):
            count -= count % batch_size
        assert resumed.kept == count
        assert sum(engine.batches) <= len(refs) - count


def test_a_run_may_be_killed_many_times(file):
    refs = images(*range(0, 250, 12))
    run(refs, options(file))
    whole = file.read_bytes()
    killed(file, b"")
    for _ in refs:
        run(refs, options(file, Mode.RESUME), stop=4)
    assert file.read_bytes() == whole


def test_nothing_is_rerun_where_all_is_there(file):
    refs = images(1, None, 3, 4)
    run(refs, options(file))
    before, recorded = file.stat(), settings_file(file).read_bytes()
    output = run(refs, options(file, Mode.RESUME), engine := PlacedEngine())
    assert engine.batches == []
    assert (output.kept, output.tally.done, output.tally.failed) == (4, 3, {"no_match": 1})
    assert file.stat() == before
    assert settings_file(file).read_bytes() == recorded
    assert left(file) == {"", ".run.json"}


@pytest.mark.parametrize("mode", [Mode.RESUME, Mode.RETRY])
def test_without_earlier_results_a_run_is_begun(file, mode):
    assert run(images(1, 2), options(file, mode)).kept == 0
    assert file.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("mode", [Mode.RESUME, Mode.RETRY])
@pytest.mark.parametrize("stops", [(), (1,), (4, 1), (7,)])
def test_a_finished_run_goes_on_where_the_input_has_grown(file, mode, stops):
    refs = images(*range(0, 250, 25))
    run(refs, options(file))
    whole = file.read_bytes()
    run(refs[:5], options(file))
    finished = file.read_bytes()

    for stop in stops:
        run(refs, options(file, mode), stop=stop)
        assert file.read_bytes() in (finished, whole)
    run(refs, options(file, mode))

    assert file.read_bytes() == whole


@pytest.mark.parametrize(("count", "kept"), [(7, 7), (10, 6)])
def test_a_kill_while_the_finished_file_is_copied_loses_none_of_it(file, count, kept):
    refs = images(*range(0, 250, 25))[:count]
    run(refs[:7], options(file))
    part(file).write_bytes(file.read_bytes()[:200])
    assert run(refs, options(file, Mode.RESUME)).kept == kept
    assert file.read_bytes().count(b"\n") == count
    assert left(file) == {"", ".run.json"}


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("renamings", [0, 1, 2])
def test_a_kill_at_any_renaming_is_made_good(file, monkeypatch, mode, renamings):
    class Killed(BaseException):
        """The process is no more."""

    left_to_do, replace = iter(range(renamings)), Path.replace

    def dying_replace(self: Path, target: Path) -> Path:
        if next(left_to_do, None) is None:
            raise Killed
        return replace(self, target)

    refs = images(1, 2, 3, 4, 5)
    run(images(1, None, 3, 4), options(file))
    monkeypatch.setattr(Path, "replace", dying_replace)
    with pytest.raises(Killed):
        run(refs, options(file, mode))
    monkeypatch.undo()
    run(refs, options(file, Mode.RETRY))
    lines = file.read_bytes().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["ok"] * 5
    assert left(file) == {"", ".run.json"}


def test_results_are_on_the_disk_before_they_are_renamed(file, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda _number: done.append("sync"))
    with open_run(iter([]), options(file)) as output:
        output.finish()
    assert done == ["sync", "sync"]  # the results and what made them


def test_a_disk_that_fails_at_the_end_leaves_the_part(file, monkeypatch):
    def full(_number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with open_run(iter([]), options(file)) as output:
        output.stream.write("x\n")
        told = r"cannot write .*part \(No space.*\): make room .* with --resume goes on$"
        with pytest.raises(ClipcliError, match=told):
            output.finish()
    assert left(file) == {".part"}
    assert part(file).read_bytes() == b"x\n"


def test_versions_of_all_runs_are_recorded_and_may_differ(file):
    refs = images(1, 2, 3, 4)
    run(refs, options(file), stop=1)
    run(refs, options(file, Mode.RESUME, provenance={"clipcli": "2"}))
    recorded = json.loads(settings_file(file).read_text())
    assert recorded["provenance"] == {"clipcli": "1"}
    assert recorded["resumed"] == [{"clipcli": "2"}]


@pytest.mark.parametrize("mode", [Mode.RESUME, Mode.RETRY])
def test_a_last_line_that_lacks_only_its_newline_is_run_again(file, mode):
    refs = images(1, 2)
    run(refs, options(file, batch_size=1))
    whole = file.read_bytes()
    killed(file, whole[:-1])
    assert run(refs, options(file, mode, batch_size=1)).kept == 1
    assert file.read_bytes() == whole


# What is refused.


@pytest.mark.parametrize("mode", [Mode.RESUME, Mode.RETRY])
@pytest.mark.parametrize(
    ("other", "told"),
    [
        (
            [*images(9), ImageRef(1, "b.png", BROKEN)],
            r"line 2 of .*part is '1\\udcff\\udcfe.png', but the input there is 'b.png'",
        ),
        ([ImageRef(7, ref.name, ref.source) for ref in images(9)], "is image 0, .* is image 7, "),
        (images(9, 9), r"line 3 of .*part is '2\"q\".*', but the input there is at its end"),
    ],
)
def test_another_input_is_refused_at_the_first_line_that_differs(file, mode, other, told):
    run(images(1, 2, 3, 4), options(file), stop=3)
    before = part(file).read_bytes()
    with pytest.raises(UsageError, match=f"{told}.*: give the .*, or delete .*part to start over"):
        run(other, options(file, mode))
    assert part(file).read_bytes() == before


@pytest.mark.parametrize("mode", [Mode.RESUME, Mode.RETRY])
def test_a_line_that_is_no_result_is_refused_unless_it_is_the_last(file, mode):
    refs = images(1, 2, 3, 4)
    run(refs, options(file))
    lines = file.read_bytes().splitlines(keepends=True)
    killed(file, lines[0] + b"\0\0\n" + lines[2])
    with pytest.raises(UsageError, match=r"line 2 of .*part is no result: keep only the lines"):
        run(refs, options(file, mode))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"3",
        b'"text"',
        b'{"index": 0, "input": "a", "status": "ok"}',
        b'{"index": 0, "input": "a", "status": "error"}',
        b'{"index": 0, "input": "a", "status": "error", "error": {}}',
        b'{"index": null, "input": "a", "status": "ok", "answer": null}',
        b'{"index": 0, "input": "a", "input_b64": "?", "status": "ok", "answer": null}',
        b'{"input": "a", "status": "ok", "answer": null}',
        b'{"index": 0, "input": "a", "status": "late", "error": {"code": "empty"}}',
        b'{"index": 0, "input": "a", "status": "error", "error": {"code": ["empty"]}}',
        b'{"index": Infinity, "input": "a", "status": "ok", "answer": null}',
        b'{"index": 0, "input": "a", "status": "ok", "answer": ["1"]}',
        b"[" * 100_000,
        b"\xff\xfe\0",
    ],
)
def test_a_last_line_that_is_no_result_is_dropped(file, line):
    run(images(1), options(file))
    killed(file, line + b"\n")
    assert run(images(1), options(file, Mode.RESUME)).kept == 0


@pytest.mark.parametrize("mode", [Mode.RESUME, Mode.RETRY])
def test_other_settings_are_refused_and_the_difference_is_named(file, mode):
    run(images(1, 2), options(file, labels=["cat", "dog"]), stop=1)
    changes = {"labels": ["cat", "car"], "model": "tiny"}
    with pytest.raises(UsageError) as refused:
        open_run(iter([]), options(file, mode, **changes))
    told = "(model: fake then, tiny now; labels: 'cat', 'dog' then, 'cat', 'car' now)"
    assert str(refused.value) == (
        f"{part(file)} was made with other settings {told}: give the same, or delete {part(file)}"
        " to start over"
    )


@pytest.mark.parametrize("mode", [Mode.RESUME, Mode.RETRY])
@pytest.mark.parametrize("is_finished", [False, True])
@pytest.mark.parametrize(
    ("text", "reason"), [(None, "No such file"), (b"{", "does not say"), (b"[]", "does not say")]
)
def test_results_that_nothing_tells_the_making_of_are_refused(
    file, mode, is_finished, text, reason
):
    run(images(1, 2), options(file), stop=-1 if is_finished else 1)
    settings_file(file).unlink() if text is None else settings_file(file).write_bytes(text)
    way_out = f"leave {mode} out" if is_finished else "delete .*part to start over"
    with pytest.raises(UsageError, match=f"cannot be continued.*{reason}.*, or {way_out}"):
        open_run(iter(images(1, 2)), options(file, mode))
    assert (".part" in left(file)) is not is_finished


@pytest.mark.parametrize("mode", [Mode.RESUME, Mode.RETRY])
def test_another_engine_s_results_are_gone_on_with_and_a_warning(file, mode):
    run(images(1, 2), options(file, provenance={"engine": "torch"}), stop=1)
    with pytest.warns(ClipcliWarning, match="begun with another engine: torch then, onnx now"):
        run(images(1, 2), options(file, mode, provenance={"engine": "onnx"}))
    assert file.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("mode", [Mode.RESUME, Mode.RETRY])
def test_an_older_file_is_not_taken_for_a_newer_run_s(file, mode):
    run(images(1, 2), options(file, labels=["old"]))
    run(images(1, 2), options(file, labels=["new"]), stop=1)
    part(file).unlink()
    with pytest.raises(
        UsageError, match=r"is not as the run in .*run\.json left it: put that back, or leave"
    ):
        open_run(iter(images(1, 2)), options(file, mode, labels=["new"]))


# Damage.


def swapped(lines: list[bytes]) -> list[bytes]:
    return [lines[1], lines[0], *lines[2:]]


DAMAGES = {
    "a digit": lambda lines: [lines[0], lines[1].replace(b"0.", b"1.", 1), *lines[2:]],
    "a label": lambda lines: [lines[0].replace(b'"answer": "1', b'"answer": "2'), *lines[1:]],
    "a code": lambda lines: [line.replace(b"no_match", b"not_meet") for line in lines],
    "two lines change places": swapped,
    "a line twice": lambda lines: [lines[0], *lines],
    "a line is gone": lambda lines: lines[1:],
    "a line end": lambda lines: [lines[0][:-1] + b"\r\n", *lines[1:]],
    "zeros": lambda lines: [bytes(len(lines[0])), *lines[1:]],
}
SEVEN = (1, 2, None, 4, 5, 6, 7)


@pytest.mark.parametrize("mode", [Mode.RESUME, Mode.RETRY])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("block", [0, 1])
def test_a_damaged_block_is_refused_and_its_lines_are_named(file, mode, damage, block):
    run(images(*SEVEN * 2), options(file), stop=13)
    lines = part(file).read_bytes().splitlines(keepends=True)
    start = 6 * block
    damaged = b"".join([*lines[:start], *damage(lines[start:])])
    assert damaged != b"".join(lines)
    part(file).write_bytes(damaged)
    named = r"lines \d+ to \d+ of .*part are not as they were written .*: keep only .*, or delete "
    with pytest.raises(UsageError, match=named):
        run(images(*SEVEN * 2), options(file, mode))
    assert part(file).read_bytes() == damaged


def test_the_lines_before_a_damaged_block_can_be_gone_on_with(file):
    refs = images(*SEVEN)
    run(refs, options(file))
    whole = file.read_bytes()
    run(refs, options(file), stop=6)
    lines = part(file).read_bytes().splitlines(keepends=True)
    part(file).write_bytes(b"".join([*lines[:4], lines[4].replace(b"0.", b"1."), lines[5]]))
    with pytest.raises(UsageError, match=r"^lines 4 to 6 of .*part are not as they were written"):
        run(refs, options(file, Mode.RESUME))
    part(file).write_bytes(b"".join(lines[:3]))
    assert run(refs, options(file, Mode.RESUME)).kept == 3
    assert file.read_bytes() == whole
    assert left(file) == {"", ".run.json"}


@pytest.mark.parametrize("mode", [Mode.RESUME, Mode.RETRY])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_finished_file_that_is_damaged_is_refused(file, mode, damage):
    run(images(*SEVEN), options(file))
    damaged = b"".join(damage(file.read_bytes().splitlines(keepends=True)))
    file.write_bytes(damaged)
    with pytest.raises(UsageError, match=r"is not as the run in .* left it: put that back, or"):
        run(images(*SEVEN), options(file, mode))
    assert file.read_bytes() == damaged


@pytest.mark.parametrize("mode", [Mode.RESUME, Mode.RETRY])
@pytest.mark.parametrize("stop", [4, 6, 8])
def test_what_was_written_behind_the_last_finished_block_is_done_again(file, mode, stop):
    """Nobody knows whether it is whole: not even where it happens to be readable."""
    refs = images(*SEVEN)
    run(refs, options(file))
    whole = file.read_bytes()
    run(refs, options(file), stop=min(stop, 7))
    with part(file).open("ab") as stream:
        stream.write(whole.splitlines(keepends=True)[0].replace(b"0.", b"1."))
    run(refs, options(file, mode))
    run(refs, options(file, Mode.RETRY))
    assert file.read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (lambda text: text[:-1], 3),  # torn: only what it spoke of is done again
        (lambda text: b"", 0),
        (None, 6),  # a copy without them
    ],
)
def test_checksums_that_a_crash_cut_or_a_copy_left_out_are_no_obstacle(file, change, kept):
    refs = images(*SEVEN)
    run(refs, options(file))
    whole = file.read_bytes()
    run(refs, options(file), stop=6)
    sums = file.with_name(file.name + ".part.sums")
    assert sums.read_bytes().count(b"\n") == 2
    sums.write_bytes(change(sums.read_bytes())) if change else sums.unlink()
    assert run(refs, options(file, Mode.RESUME)).kept == kept
    assert file.read_bytes() == whole


@pytest.mark.parametrize("text", [b"x\n3 4 00000000\n", b"3 9999 00000000\n3 1 00000000\n"])
def test_a_line_that_is_no_checksum_is_named(file, text):
    run(images(*SEVEN), options(file), stop=6)
    sums = file.with_name(file.name + ".part.sums")
    part(file).write_bytes(part(file).read_bytes() * 99)
    sums.write_bytes(text)
    told = r"line . of .*sums is no checksum: delete that file .*, or delete .*|not as they were"
    with pytest.raises(UsageError, match=told):
        run(images(*SEVEN), options(file, Mode.RESUME))


def test_checksums_of_results_that_somebody_removed_are_forgotten(file):
    refs = images(*SEVEN)
    run(refs, options(file), stop=6)
    part(file).unlink()
    run(images(9, 9, 9, 9), options(file), stop=3)
    assert run(images(9, 9, 9, 9), options(file, Mode.RESUME)).kept == 3


@pytest.mark.parametrize("mode", [Mode.NEW, Mode.RETRY])
def test_a_file_that_is_removed_while_it_is_written_is_told_soon(file, mode):
    if mode is Mode.RETRY:
        run(images(None, None), options(file))
    written = file.with_name(file.name + (".retry" if mode is Mode.RETRY else ".part"))
    done = 0

    def refs() -> Iterator[ImageRef]:
        nonlocal done
        for done, ref in enumerate(images(*SEVEN * 9)):
            if done == 5:
                written.unlink()
            yield ref

    with pytest.raises(ClipcliError, match=rf"{written.name} is gone: .* to begin anew$"):
        run(refs(), options(file, mode))
    assert done < 50


# Names that lead elsewhere.


@pytest.mark.parametrize("ending", [".part", ".retry", ".part.sums", ".run.json"])
@pytest.mark.parametrize("kind", ["link", "hard link", "dangling link", "pipe", "folder"])
def test_nothing_beside_the_file_is_written_through_a_link_nor_waited_for(
    file, tmp_path, ending, kind
):
    run(images(None, 1, 2, 3), options(file))
    yours, beside = tmp_path / "yours", file.with_name(file.name + ending)
    yours.write_text("yours")
    beside.unlink(missing_ok=True)
    match kind:
        case "link":
            beside.symlink_to(yours)
        case "hard link":
            os.link(yours, beside)
        case "dangling link":
            beside.symlink_to(tmp_path / "new")
        case "pipe":
            os.mkfifo(beside)
        case "folder":
            beside.mkdir()
    mode = Mode.RETRY if ending == ".retry" else Mode.NEW
    # What is written at once and renamed takes the place of anything but a folder.
    is_refused = kind == "folder" or ending in (".part", ".retry")
    told = rf"^cannot write .*{re.escape(ending)} \(.*\)$"
    with pytest.raises(UsageError, match=told) if is_refused else nullcontext():
        run(images(None, 1, 2, 3), options(file, mode))
    assert yours.read_text() == "yours"
    assert not (tmp_path / "new").exists()


# Trying again.


@settings(deadline=None, max_examples=60)
@given(
    levels=levels,
    failing=st.sets(st.integers(0, 13)),
    batch_size=st.integers(1, 5),
    cut=st.one_of(st.none(), st.floats(0, 1)),
    torn=garbage,
)
def test_a_retried_run_is_one_in_which_nothing_had_failed(levels, failing, batch_size, cut, torn):
    refs = images(*levels)
    at_first = images(*(None if at in failing else level for at, level in enumerate(levels)))
    with TemporaryDirectory() as folder:
        file = Path(folder, "results.jsonl")
        unbroken = run(refs, options(file, batch_size=batch_size))
        whole = file.read_bytes()
        run(at_first, options(file, batch_size=batch_size))
        if cut is not None:
            before = file.read_bytes()
            killed(file, before[: round(cut * len(before))] + torn)

        output = run(refs, options(file, Mode.RETRY, batch_size))

        assert file.read_bytes() == whole
        assert left(file) == {"", ".run.json"}
        assert output.tally == unbroken.tally


def test_what_succeeded_is_kept_byte_for_byte_and_not_run(file):
    run(images(1, None, 3, None, 5, 6), options(file))
    marked = file.read_bytes().replace(b'"ok"', b'"ok", "mark": "\xc3\xa9"')
    killed(file, marked)
    output = run(images(1, 2, 3, None, 5, 6), options(file, Mode.RETRY), engine := PlacedEngine())
    lines = file.read_bytes().splitlines()
    assert [line for line in lines if b"mark" in line] == [
        line for line in marked.splitlines() if b"mark" in line
    ]
    assert [json.loads(line)["status"] for line in lines] == ["ok"] * 3 + ["error"] + ["ok"] * 2
    assert engine.batches == [3]
    assert (output.kept, output.tally.total) == (4, 6)


@pytest.mark.parametrize("is_finished", [False, True])
def test_a_retry_that_is_broken_off_leaves_all_as_it_was_and_the_next_starts_anew(
    file, is_finished
):
    refs = images(1, 2, 3, 4, 5)
    run(images(1, None, 3, None, 5), options(file), stop=-1 if is_finished else 4)
    source = file if is_finished else part(file)
    before = source.read_bytes()
    run(refs, options(file, Mode.RETRY), stop=1)
    rest = {""} if is_finished else {".part", ".part.sums"}
    assert left(file) == {".run.json", ".retry", *rest}
    assert source.read_bytes() == before
    assert run(refs, options(file, Mode.RETRY)).tally.done == 5
    assert left(file) == {"", ".run.json"}


# A million.


@pytest.mark.parametrize("mode", [Mode.RESUME, Mode.RETRY])
def test_the_walk_through_earlier_results_takes_no_more_memory_for_more_of_them(file, mode):
    def refs() -> Iterator[ImageRef]:
        return (ImageRef(index, f"{index}.png", b"") for index in range(20_001))

    scores = (LabelScore("1", 1.0, 0.5),)
    run([], options(file))
    with file.open("w") as stream:
        for ref in itertools.islice(refs(), 20_000):
            old = Prediction(ref.index, ref.name, scores, "1")
            stream.write(json.dumps(record(old, OUTPUT)) + "\n")
    killed(file, file.read_bytes())
    peak = 0
    tracemalloc.start()
    try:
        with open_run(refs(), options(file, mode, batch_size=32)) as output:
            results = (Failure.of(ref, BROKEN) for ref in output.refs)
            new = sum(1 for _ in output.new(results))
            peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (new, output.kept) == (1, 20_000)
    assert peak < 500_000
