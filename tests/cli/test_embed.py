"""`clipcli embed`: the command from images to a file, and what classify makes of it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
from contextlib import closing
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from command import (
    PATIENCE,
    Command,
    installed_command,
    unmeasured_environment,
)
from fake_engine import FakeEngine, grey_png

from clipcli.cli.main import run
from clipcli.disk.lock import Lock
from clipcli.embeddings.description import Description
from clipcli.embeddings.files import create_embeddings, open_embeddings

TINY = ("--model", "tiny")
LABELS = ("-l", "cat", "-l", "cup", "-l", "rocket")


def rows_of(file: Path) -> tuple[list[tuple[int, str]], np.ndarray]:
    """Index and name of each image, and the embeddings."""
    (block,) = open_embeddings(file).blocks(100)
    refs, rows = block.refs, block.embeddings
    return [(ref.index, ref.name) for ref in refs], rows


@pytest.mark.parametrize("extension", ["npz", "parquet"])
def test_scored_from_a_file_the_results_are_the_same_to_the_bit(
    clipcli: Command, photos: Path, tmp_path: Path, extension: str
) -> None:
    file = tmp_path / f"photos.{extension}"

    embedded = clipcli("embed", photos, "-r", "-o", file, *TINY)

    assert (embedded.returncode, embedded.stdout, embedded.stderr) == (0, b"", b"")
    for asked in (LABELS, (*LABELS, "-l", "tree", "-t", "a photo of a {}", "-t", "{}")):
        afresh = clipcli(photos, "-r", *asked, "--jsonl", *TINY)
        again = clipcli("classify", "--embeddings", file, *asked, "--jsonl", *TINY)
        assert (afresh.returncode, again.returncode) == (0, 0)
        assert again.stdout == afresh.stdout
        assert afresh.stdout.count(b"\n") == 3


def test_failures_are_told_and_have_no_row(clipcli: Command, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    images = [photos / "rocket.jpg", "missing.png", "broken.png", photos / "coffee.png"]

    result = clipcli("embed", *images, "-o", "some.npz", *TINY, cwd=tmp_path)

    assert result.returncode == 3
    first, second, summary = result.stderr.decode().splitlines()
    assert first == "clipcli: missing.png: no such file"
    assert second.startswith("clipcli: broken.png: not an image")
    assert summary.startswith("clipcli: 2 done, 2 failed (not_found 1, not_an_image 1)")
    named, rows = rows_of(tmp_path / "some.npz")
    assert named == [(0, str(images[0])), (3, str(images[3]))]
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_without_a_single_success_an_older_file_stays(clipcli: Command, tmp_path: Path) -> None:
    (tmp_path / "old.npz").write_bytes(b"old")

    result = clipcli("embed", "missing.png", "-o", "old.npz", "--force", *TINY, cwd=tmp_path)

    assert result.returncode == 4
    assert b"clipcli: old.npz is not written: no image has been embedded\n" in result.stderr
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("old.npz", b"old")]


def test_any_name_goes_through_a_list_and_a_file(
    clipcli: Command, photos: Path, tmp_path: Path
) -> None:
    names = [b"two\nlines.png", b"\xff\xfe.png", "caf\u00e9.png".encode()]
    for name in names:
        shutil.copy(photos / "coffee.png", os.fsencode(tmp_path) + b"/" + name)

    for file in ("names.npz", "names.parquet"):
        options = ("embed", "-0", "--files-from", "-", "-o", file, *TINY)
        result = clipcli(*options, cwd=tmp_path, input=b"\0".join(names))
        assert result.returncode == 0
        assert rows_of(tmp_path / file)[0] == list(enumerate(map(os.fsdecode, names)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cat.png"], "Missing option '-o' / '--output'"),
        (["-o", "e.npz"], "no images: name files, URLs, - for standard input, or --files-from"),
        (["cat.png", "-o", "e.npy"], "e.npy: embeddings are in files named .npz or .parquet"),
        (["cat.png", "-o", "no/e.npz"], "cannot write -o no/e.npz (there is no folder no)"),
    ],
)
def test_what_cannot_work_is_refused_at_once(
    clipcli: Command, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = clipcli("embed", *arguments, "--model", "no such model", cwd=tmp_path)

    assert result.returncode == 2
    assert message in result.stderr.decode()
    assert list(tmp_path.iterdir()) == []


def test_two_runs_into_one_file_do_not_meet(clipcli: Command, photos: Path, tmp_path: Path) -> None:
    with closing(Lock(tmp_path / "e.npz.part")):
        result = clipcli("embed", photos, "-r", "-o", "e.npz", *TINY, cwd=tmp_path)

    assert result.returncode == 2
    assert b"another process is writing e.npz.part" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_description_says_how_it_was_made(clipcli: Command, photos: Path, tmp_path: Path) -> None:
    described = []
    for option in ("--preprocess=plain", "--preprocess=reference", "--fast-decode"):
        file = tmp_path / "e.npz"
        line = ("embed", photos / "rocket.jpg", option, "-o", file, "--force", *TINY)
        assert clipcli(*line).returncode == 0
        description = open_embeddings(file).description
        described.append((description.preprocess, description.fast_decode))
        assert (description.model, description.precision) == ("tiny", "fp32")
        assert description.engine.startswith("ONNX Runtime")

    assert described == [("plain", False), ("reference", False), ("plain", True)]


class HalfBlind(FakeEngine):
    """Its embedding of a white image is not finite."""

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        rows = super().encode_images(pixels)
        rows[pixels.mean(axis=(1, 2, 3)) > 0.9] = np.nan
        return rows


def test_an_embedding_that_is_not_finite_is_that_images_failure(
    tmp_path: Path, monkeypatch, capfd
) -> None:
    monkeypatch.chdir(tmp_path)
    # Not by its dotted name, which is the command's, too.
    monkeypatch.setattr(
        import_module("clipcli.cli.commands.embed"),
        "open_engine",
        lambda *_, **_options: HalfBlind(),
    )
    for number, grey in enumerate((10, 255, 90)):
        Path(f"{number}.png").write_bytes(grey_png(grey))

    code = run(["embed", "0.png", "1.png", "2.png", "-o", "e.npz", *TINY])

    assert code == 3
    told = "clipcli: 1.png: the model's embedding of this image is not finite"
    assert told in capfd.readouterr().err
    assert rows_of(Path("e.npz"))[0] == [(0, "0.png"), (2, "2.png")]


def test_a_full_disk_is_told_and_leaves_nothing(photos: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [installed_command(), "embed", photos, "-r", "-o", "e.npz", *TINY],
        cwd=tmp_path,
        env=unmeasured_environment(),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )

    assert result.returncode == 1
    assert result.stderr == (
        b"clipcli: cannot write -o e.npz (File too large): make room there, or name a file on"
        b" another disk; then give the same command again\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_an_older_file_as_it_was(
    photos: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    (tmp_path / "e.npz").write_bytes(b"old")
    with subprocess.Popen(
        [installed_command(), "embed", "--files-from", "-", "-o", "e.npz", "--force", *TINY],
        cwd=tmp_path,
        env=unmeasured_environment(),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write(os.fsencode(photos / "rocket.jpg") + b"\nmissing.png\n")
        process.stdin.flush()
        # Told once their block has gone through; the list is still open.
        assert process.stderr.readline() == b"clipcli: missing.png: no such file\n"
        process.send_signal(number)
        told = process.stderr.read()
        process.stdin.close()
        assert process.wait(timeout=PATIENCE) == code

    assert b"e.npz is not written" in told
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("e.npz", b"old")]


def test_too_many_failures_leave_no_file(clipcli: Command, photos: Path, tmp_path: Path) -> None:
    images = (photos / "rocket.jpg", "missing.png", photos / "coffee.png")

    result = clipcli("embed", *images, "--fail-fast", "-o", "e.npz", *TINY, cwd=tmp_path)

    assert result.returncode == 3
    assert b"e.npz is not written" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_classify_refuses_another_models_file(clipcli: Command, tmp_path: Path) -> None:
    description = Description("ViT-B-32:openai", "1" * 32, 512, "torch on paper")
    with create_embeddings(tmp_path / "e.npz", description) as writer:
        writer.finish()

    result = clipcli("classify", "--embeddings", "e.npz", *LABELS, *TINY, cwd=tmp_path)

    assert result.returncode == 2
    assert b"not with tiny: add --model ViT-B-32:openai" in result.stderr
    assert result.stdout == b""


def test_classify_without_a_model_takes_the_files(
    clipcli: Command, photos: Path, tmp_path: Path
) -> None:
    clipcli("embed", photos / "rocket.jpg", "-o", "e.npz", *TINY, cwd=tmp_path)

    result = clipcli("classify", "--embeddings", "e.npz", *LABELS, "--jsonl", cwd=tmp_path)

    assert json.loads(result.stdout)["model"]["name"] == "tiny"
