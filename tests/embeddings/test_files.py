"""Files of embeddings: what goes in comes out, whole or not at all, and damage is refused."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from command import PATIENCE
from embeddings_files import DESCRIPTION, EXTENSIONS, NAMES, images, read, refused, unit, write
from fake_engine import FakeEngine
from hypothesis import given, settings
from hypothesis import strategies as st

from clipcli.embeddings.base import check_model
from clipcli.embeddings.description import Description
from clipcli.embeddings.files import check_target, create_embeddings, open_embeddings
from clipcli.embeddings.rows import unit_rows
from clipcli.errors import UsageError
from clipcli.images.options import ImageOptions
from clipcli.images.sources import ImageRef


@settings(deadline=None, max_examples=30)
@given(st.lists(st.binary(max_size=9), max_size=9), st.integers(1, 4), st.integers(1, 4))
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory,
    extension: str,
    raw: list[bytes],
    at_once: int,
    read_at_once: int,
) -> None:
    names, rows = [os.fsdecode(name) for name in raw], unit(len(raw))

    path = write(tmp_path_factory.mktemp("e") / f"e{extension}", names, rows, at_once)
    file = open_embeddings(path)

    assert (file.path, file.description, len(file)) == (path, DESCRIPTION, len(names))
    refs, values = read(file, read_at_once)
    assert refs == images(names)
    assert values.dtype == np.float32
    assert values.tobytes() == rows.tobytes()


def test_a_file_can_be_read_again_and_again(path: Path) -> None:
    file = open_embeddings(write(path, NAMES, unit(len(NAMES))))

    assert read(file)[0] == read(file)[0] == images(NAMES)


def test_the_array_may_be_used_again_after_a_write(path: Path) -> None:
    rows, right = unit(6), unit(6)
    with create_embeddings(path, DESCRIPTION) as writer:
        writer.write(images(["x"] * 6), rows)
        rows[:] = 0
        writer.finish()

    assert read(open_embeddings(path))[1].tobytes() == right.tobytes()


def test_memory_is_flat(path: Path, monkeypatch) -> None:
    monkeypatch.setattr("clipcli.embeddings.parquet._GROUP_BYTES", 1 << 20)
    rows, count = unit(1000, 64), 100_000
    held = [0]  # by Arrow, which tracemalloc does not see
    tracemalloc.start()
    with create_embeddings(path, replace(DESCRIPTION, embed_dim=64)) as writer:
        for start in range(0, count, 1000):
            refs = [ImageRef(start + n, f"{start + n}.jpg", b"") for n in range(1000)]
            writer.write(refs, rows)
            held.append(pa.total_allocated_bytes())
        writer.finish()
    read_back = 0
    for block in open_embeddings(path).blocks(1000):
        read_back += len(block.refs)
        held.append(pa.total_allocated_bytes())
    peak = tracemalloc.get_traced_memory()[1] + max(held)
    tracemalloc.stop()

    assert read_back == count
    assert path.stat().st_size > 25_000_000
    assert peak < 10_000_000


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, ValueError])
def test_an_error_leaves_what_was_there(path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with create_embeddings(path, DESCRIPTION) as writer:
            writer.write(images(NAMES), unit(len(NAMES)))
            raise error

    path.write_bytes(b"before")
    with pytest.raises(error):
        fail()

    assert path.read_bytes() == b"before"
    assert list(path.parent.iterdir()) == [path]


def test_what_is_not_finished_is_no_file(path: Path) -> None:
    with create_embeddings(path, DESCRIPTION) as writer:
        writer.write(images(NAMES), unit(len(NAMES)))

    assert list(path.parent.iterdir()) == []


def test_a_finished_file_takes_the_place_of_an_older_one(path: Path) -> None:
    write(path, NAMES, unit(len(NAMES)))
    write(path, ["only"], unit(1))

    assert read(open_embeddings(path))[0] == images(["only"])
    assert list(path.parent.iterdir()) == [path]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """A disk that is full for whoever writes more; Python ignores the signal that goes with it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    "room", [0, 100, 10_000, 400_000, 513_000], ids=lambda room: f"{room} bytes"
)
def test_a_full_disk_is_told_and_leaves_what_was_there(path: Path, room: int) -> None:
    path.write_bytes(b"before")
    names = ["x"] * 2000
    with file_size_limit(room), pytest.raises(OSError, match="too large"):
        write(path, names, unit(2000, 64))

    assert path.read_bytes() == b"before"
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupt_on_a_full_disk_is_still_an_interrupt(path: Path) -> None:
    def interrupt() -> None:
        with create_embeddings(path, DESCRIPTION) as writer:
            writer.write(images(NAMES), unit(len(NAMES)))
            raise KeyboardInterrupt

    with file_size_limit(100), pytest.raises(KeyboardInterrupt):
        interrupt()

    assert list(path.parent.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from clipcli.embeddings.files import Description, create_embeddings
from clipcli.images.sources import ImageRef
with create_embeddings(Path(sys.argv[1]), Description("tiny", "0" * 32, 2, "fake")) as writer:
    for index in range(1000):
        writer.write([ImageRef(index, "x", b"")], np.array([[1, 0]], np.float32))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_no_file(path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, path], timeout=PATIENCE, check=False)

    assert ended.returncode == -signal.SIGKILL
    assert not path.exists()
    # What a parquet file was to become; the next run writes over it.
    assert {file.name for file in path.parent.iterdir()} <= {"photos.parquet.part"}
    write(path, NAMES, unit(len(NAMES)))
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"text", b"PK", b"PAR1PAR1", b"\0" * 1000], ids=repr)
def test_what_is_no_such_file_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    assert "not usable as embeddings" in refused(path)


def test_a_file_that_cannot_be_read_is_told(path: Path) -> None:
    assert refused(path).startswith(f"{path}: cannot be read (No such file or directory): ")
    path.mkdir()
    assert refused(path).startswith(f"{path}: cannot be read (")


def test_rows_of_unit_length_are_told_from_others() -> None:
    rows = np.array([[1, 0], [0.6, 0.8], [0, 0], [np.nan, 1], [np.inf, 0], [1, 0.1]], np.float32)

    assert unit_rows(rows).tolist() == [True, True, False, False, False, False]


INFO = FakeEngine().info


def test_a_description_says_how_the_pixels_were_made() -> None:
    plain = Description.of(INFO, "fp32", ImageOptions())
    assert plain == Description(INFO.name, INFO.fingerprint, INFO.embed_dim, INFO.engine)
    assert Description.of(INFO, "fp32", ImageOptions(reference=True)).preprocess == "reference"
    assert Description.of(INFO, "int8", ImageOptions()).precision == "int8"
    assert Description.of(INFO, "fp32", ImageOptions(fast_decode=True)).fast_decode
    assert Description.from_json(plain.to_json()) == plain


@pytest.mark.parametrize(
    ("made_with", "message"),
    [
        (
            {"model": "ViT-L/14"},
            "was made with ViT-L/14 (fingerprint 1234), not with fake: add --model ViT-L/14,",
        ),
        ({"model": "./my model"}, "add --model './my model', or embed the images again"),
        ({"model": "ViT-B-32 (mine.safetensors)"}, "not with fake: add its --checkpoint, or"),
        (
            {"model": "fake", "precision": "int8"},
            "was made with other weights or another precision of fake (fingerprint 1234, int8),"
            " not with these (fingerprint 00000000000000000000000000000000): add --precision int8",
        ),
    ],
)
def test_another_models_file_is_refused_and_the_way_out_named(
    path: Path, made_with: dict[str, str], message: str
) -> None:
    description = replace(DESCRIPTION, fingerprint="1234", **made_with)
    with create_embeddings(path, description) as writer:
        writer.finish()

    with pytest.raises(UsageError) as caught:
        check_model(open_embeddings(path), INFO)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_the_models_own_file_is_accepted_by_its_fingerprint(path: Path) -> None:
    made = Description.of(replace(INFO, name="the same by another name"), "fp32", ImageOptions())
    for description in (made, replace(made, embed_dim=3)):
        with create_embeddings(path, description) as writer:
            writer.finish()
        if description is made:
            check_model(open_embeddings(path), INFO)
    with pytest.raises(UsageError, match="its rows are of width 3, not the model's"):
        check_model(open_embeddings(path), INFO)


@pytest.mark.parametrize("name", ["photos", "photos.npy", ".npz", "photos.npz.gz"])
def test_other_extensions_are_refused(tmp_path: Path, name: str) -> None:
    for use in (open_embeddings, check_target, lambda path: create_embeddings(path, DESCRIPTION)):
        with pytest.raises(UsageError, match=r"in files named \.npz or \.parquet"):
            use(tmp_path / name)


def test_a_folder_is_refused_beforehand(tmp_path: Path) -> None:
    check_target(tmp_path / "PHOTOS.NPZ")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(UsageError, match="is a folder: name a file"):
        check_target(tmp_path / "folder.npz")
