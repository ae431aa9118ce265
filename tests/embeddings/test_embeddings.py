"""Files of embeddings: what goes in comes out, whole or not at all, and damage is refused."""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command import PATIENCE
from fake_engine import FakeEngine
from hypothesis import given, settings
from hypothesis import strategies as st

from clipcli.embeddings.base import EmbeddingsFile, check_model
from clipcli.embeddings.description import Description
from clipcli.embeddings.files import check_target, create_embeddings, open_embeddings
from clipcli.embeddings.rows import unit_rows
from clipcli.errors import UsageError
from clipcli.images.options import ImageOptions
from clipcli.images.sources import ImageRef

DESCRIPTION = Description("tiny", "0" * 32, 4, "fake on paper")
NAMES = [
    "cat.jpg",
    "two\nlines",
    "caf\u00e9.png",
    os.fsdecode(b"\xff\xfe.png"),
    "",
    "a\0b",
    "cat.jpg",
]
EXTENSIONS = [".npz", ".parquet"]


def images(names: list[str]) -> list[ImageRef]:
    """With gaps in their order, as failures leave them."""
    return [ImageRef(3 * place + 1, name, b"") for place, name in enumerate(names)]


def unit(count: int, width: int = 4) -> np.ndarray:
    rows = np.random.default_rng(count).normal(size=(count, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write(path: Path, names: list[str], rows: np.ndarray, at_once: int = 100) -> Path:
    refs = images(names)
    with create_embeddings(path, replace(DESCRIPTION, embed_dim=rows.shape[1])) as writer:
        for start in range(0, len(refs), at_once):
            part = slice(start, start + at_once)
            writer.write(refs[part], rows[part])
        writer.finish()
    return path


def read(file: EmbeddingsFile, at_once: int = 100) -> tuple[list[ImageRef], np.ndarray]:
    refs: list[ImageRef] = []
    rows = [np.empty((0, file.description.embed_dim), np.float32)]
    for block in file.blocks(at_once):
        assert len(block.refs) == len(block.embeddings) <= at_once
        refs += block.refs
        rows.append(block.embeddings)
    return refs, np.concatenate(rows)


@pytest.fixture(params=EXTENSIONS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"photos{request.param}"


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    return write(tmp_path / "photos.npz", NAMES, unit(len(NAMES)))


def refused(path: Path) -> str:
    """The message of a file that cannot be read to its end."""
    with pytest.raises(UsageError) as caught:
        read(open_embeddings(path))
    return str(caught.value)


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


@pytest.mark.parametrize(
    ("bound", "value", "groups"), [("_GROUP_BYTES", 100, 8), ("_GROUP_BATCHES", 3, 3)]
)
def test_row_groups_are_bounded_and_read_as_one(
    tmp_path: Path, monkeypatch, bound: str, value: int, groups: int
) -> None:
    monkeypatch.setattr(f"clipcli.embeddings.parquet.{bound}", value)
    rows = unit(50)
    path = write(tmp_path / "e.parquet", [str(n) for n in range(50)], rows, at_once=7)

    assert pq.read_metadata(path).num_row_groups == groups
    assert read(open_embeddings(path))[1].tobytes() == rows.tobytes()


def test_numpy_alone_reads_npz_without_pickle(npz: Path) -> None:
    with np.load(npz, allow_pickle=False) as members:
        offsets = members["name_offsets"]
        names = members["names"].tobytes()
        assert members["embeddings"].dtype == np.float32
        np.testing.assert_array_equal(members["embeddings"], unit(len(NAMES)))
        assert [names[a:b] for a, b in pairwise(offsets)] == [os.fsencode(name) for name in NAMES]
        assert members["index"].tolist() == [3 * place + 1 for place in range(len(NAMES))]
        assert json.loads(members["description"].tobytes()) == asdict(DESCRIPTION)


def test_npz_members_are_stored_as_they_are_and_have_no_date(npz: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(npz) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    again = write(tmp_path / "again.npz", NAMES, unit(len(NAMES)), at_once=2)
    assert again.read_bytes() == npz.read_bytes()


def test_large_npz_members_are_zip64(tmp_path: Path, monkeypatch) -> None:
    # The zip format's own limit is 2 GiB; here only the rows are beyond it.
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10_000)
    rows = unit(1000)
    path = write(tmp_path / "e.npz", [str(n) for n in range(1000)], rows)
    monkeypatch.undo()

    with zipfile.ZipFile(path) as archive:
        versions = {entry.filename: entry.extract_version for entry in archive.infolist()}
    assert versions["embeddings.npy"] == zipfile.ZIP64_VERSION
    assert read(open_embeddings(path))[1].tobytes() == rows.tobytes()
    with np.load(path, allow_pickle=False) as members:
        np.testing.assert_array_equal(members["embeddings"], rows)


def test_npz_compressed_by_others_is_read_too(npz: Path) -> None:
    with np.load(npz) as members:
        np.savez_compressed(npz, **members)

    assert read(open_embeddings(npz))[0] == images(NAMES)


def test_data_frames_read_parquet(tmp_path: Path) -> None:
    path = write(tmp_path / "photos.parquet", NAMES, unit(len(NAMES)))

    table = pq.read_table(path)
    assert table.column_names == ["index", "name", "name_b64", "embedding"]
    assert table["name"].to_pylist()[:4] == [
        "cat.jpg",
        "two\nlines",
        "caf\u00e9.png",
        "\ufffd\ufffd.png",
    ]
    assert table["name_b64"].to_pylist() == [None] * 3 + ["//4ucG5n"] + [None] * 3
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 4)
    assert json.loads(table.schema.metadata[b"clipcli"]) == asdict(DESCRIPTION)


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


Members = dict[str, np.ndarray]


def changed(npz: Path, change: Callable[[Members], Members]) -> Path:
    """The same file with other members, as sound a zip as before."""
    with np.load(npz) as members:
        kept = {name: members[name] for name in members.files}
    np.savez(npz, **change(kept))
    return npz


def with_description(**fields: object) -> Callable[[Members], Members]:
    text = json.dumps({**asdict(DESCRIPTION), **fields}).encode()
    return lambda members: {**members, "description": np.frombuffer(text, np.uint8)}


def with_value(member: str, place: object, value: object) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        members[member][place] = value
        return members

    return change


def with_member(
    member: str, make: Callable[[np.ndarray], np.ndarray]
) -> Callable[[Members], Members]:
    return lambda members: {**members, member: make(members[member])}


HOSTILE = {
    "rows of other floats": (with_member("embeddings", np.float64), "'embeddings' is of the wrong"),
    "rows of objects": (
        with_member("embeddings", lambda a: a.astype(object)),
        "'embeddings' is of",
    ),
    "rows in columns": (
        with_member("embeddings", np.asfortranarray),
        "'embeddings' is of the wrong",
    ),
    "rows in one line": (with_member("embeddings", np.ravel), "'embeddings' is of the wrong"),
    "rows of another width": (with_member("embeddings", lambda a: a[:, :3]), "do not fit together"),
    "fewer rows": (with_member("embeddings", lambda a: a[1:]), "do not fit together"),
    "fewer places": (with_member("index", lambda a: a[1:]), "do not fit together"),
    "names as text": (with_member("names", lambda a: a.astype("U1")), "'names' is of the wrong"),
    "fewer names": (with_member("names", lambda a: a[:-1]), "'names' is cut short"),
    "names of nobody": (with_member("names", lambda a: np.append(a, a)), "names of no images"),
    "fewer offsets": (with_member("name_offsets", lambda a: a[1:]), "do not fit together"),
    "offsets backwards": (with_value("name_offsets", 2, 1), "out of order"),
    "offsets below zero": (with_value("name_offsets", 0, -1), "out of order"),
    "offsets not from zero": (with_value("name_offsets", 0, 1), "do not begin at the beginning"),
    "offsets that overflow": (with_value("name_offsets", 3, 2**63 - 1), "out of order"),
    "an endless name": (with_value("name_offsets", -1, 2**40), "out of order"),
    "a place below zero": (with_value("index", 3, -7), "an index below zero"),
    "a row of nan": (
        with_value("embeddings", (2, 1), np.nan),
        "image 7 (caf\u00e9.png) is not of length",
    ),
    "a row of infinity": (
        with_value("embeddings", 0, np.inf),
        "image 1 (cat.jpg) is not of length",
    ),
    "a row of zeros": (with_value("embeddings", 0, 0), "image 1 (cat.jpg) is not of length"),
    "a row too long": (with_value("embeddings", 0, 3e38), "image 1 (cat.jpg) is not of length"),
    "no JSON": (with_member("description", lambda a: a[1:]), "description is not JSON"),
    "deep JSON": (
        with_member("description", lambda a: np.frombuffer(b"[" * 60_000, np.uint8)),
        "description is not JSON",
    ),
    "a list in JSON": (
        with_member("description", lambda a: np.frombuffer(b"[]", np.uint8)),
        "not a JSON object",
    ),
    "a long description": (
        with_member("description", lambda a: np.zeros(1 << 20, np.uint8)),
        "description is too long",
    ),
    "no fingerprint": (
        with_description(fingerprint=None),
        "no fingerprint, or one of a wrong type",
    ),
    "a width of true": (with_description(embed_dim=True), "no embed_dim, or one of a wrong type"),
    "a width of nothing": (with_description(embed_dim=0), "an impossible number"),
    "a width beyond memory": (with_description(embed_dim=2**40), "an impossible number"),
    "half a character": (with_description(model="\ud800"), "description is not JSON"),
    "a format of none": (with_description(format=0), "an impossible number"),
    "a later format": (with_description(format=2), "of format 2, which a later clipcli writes"),
}


@pytest.mark.parametrize(("change", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_npz_is_refused_with_the_reason(
    npz: Path, change: Callable[[Members], Members], reason: str
) -> None:
    message = refused(changed(npz, change))

    assert message.startswith(f"{npz}: not usable as embeddings: ")
    assert reason in message
    assert message.endswith("; make it anew with 'clipcli embed'")


@pytest.mark.parametrize("member", ["embeddings", "names", "name_offsets", "index", "description"])
def test_a_missing_member_is_named(npz: Path, member: str) -> None:
    changed(npz, lambda members: {name: members[name] for name in members.keys() - {member}})

    assert f"it has no member '{member}'" in refused(npz)


def test_a_header_cannot_claim_rows_that_are_not_there(npz: Path) -> None:
    with zipfile.ZipFile(npz) as archive:
        members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    claimed = members["embeddings.npy"].replace(b"(7, 4)", b"(9, 4)")
    assert claimed != members["embeddings.npy"]
    with zipfile.ZipFile(npz, "w") as archive:
        for name, data in {**members, "embeddings.npy": claimed}.items():
            archive.writestr(name, data)

    assert "'embeddings' is of another size than it says" in refused(npz)


def test_a_header_of_gigabytes_is_not_read(npz: Path) -> None:
    with zipfile.ZipFile(npz) as archive:
        members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    length = 64 << 20
    bomb = b"\x93NUMPY\x02\x00" + length.to_bytes(4, "little") + b" " * length
    with zipfile.ZipFile(npz, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**members, "index.npy": bomb}.items():
            archive.writestr(name, data)
    del bomb

    tracemalloc.start()
    message = refused(npz)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert "'index' is of an unknown version of .npy" in message
    assert peak < length / 8


def test_unknown_fields_and_members_are_passed_over(npz: Path) -> None:
    changed(npz, with_description(mood="good"))
    changed(npz, lambda members: {**members, "captions": np.zeros(3)})

    assert read(open_embeddings(npz))[0] == images(NAMES)


def test_every_flipped_bit_and_every_cut_of_npz_is_noticed_or_harmless(npz: Path) -> None:
    whole, right = npz.read_bytes(), read(open_embeddings(npz))
    flipped = (
        whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]
        for place in range(len(whole))
    )
    cut = (whole[:length] for length in range(0, len(whole), 64))
    noticed = 0
    for data in [*flipped, *cut]:
        npz.write_bytes(data)
        try:
            refs, rows = read(open_embeddings(npz))
        except UsageError:
            noticed += 1
        else:
            assert refs == right[0]
            assert rows.tobytes() == right[1].tobytes()
    # What is harmless is in the zip's own fields: dates, permissions, versions.
    assert noticed > 0.8 * len(whole)


def test_every_cut_of_parquet_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "e.parquet", NAMES, unit(len(NAMES)))
    whole = path.read_bytes()
    for length in range(0, len(whole), 64):
        path.write_bytes(whole[:length])
        assert "not usable as embeddings" in refused(path)


def test_a_flipped_bit_in_a_row_of_parquet_is_noticed(tmp_path: Path) -> None:
    rows = unit(len(NAMES))
    path = write(tmp_path / "e.parquet", NAMES, rows)
    whole = path.read_bytes()
    start = whole.index(rows.tobytes())  # they are stored as they are
    for place in range(start, start + rows.nbytes):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert "not usable as embeddings" in refused(path)


@pytest.mark.parametrize(
    ("claim", "reason"),
    [(b"\x0d", "fewer than no rows"), (b"\x10", "it holds 7 rows, and says 8")],
)
def test_a_footer_cannot_claim_rows_that_are_not_there(
    tmp_path: Path, claim: bytes, reason: str
) -> None:
    path = write(tmp_path / "e.parquet", NAMES, unit(len(NAMES)))
    # In Thrift's compact protocol: num_rows, an i64, here 7; then row_groups, a list of structs.
    before, after = path.read_bytes().split(b"\x16\x0e\x19\x1c")
    path.write_bytes(before + b"\x16" + claim + b"\x19\x1c" + after)

    assert reason in refused(path)


def parquet_table() -> pa.Table:
    buffer = io.BytesIO()
    row = pa.FixedSizeListArray.from_arrays(pa.array(unit(1).ravel()), 4)
    columns = {"index": [0], "name": ["a"], "name_b64": pa.array([None], pa.string())}
    table = pa.table({**columns, "embedding": row})
    pq.write_table(table, buffer)
    return table.replace_schema_metadata({"clipcli": DESCRIPTION.to_json()})


def with_column(name: str, values: object) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        return table.set_column(table.column_names.index(name), name, values)

    return change


LISTS = pa.list_(pa.float32(), 4)
HOSTILE_TABLES = {
    "no description": (lambda table: table.replace_schema_metadata(None), "has no description"),
    "no names": (lambda table: table.drop_columns("name"), "no column 'name', or several"),
    "names twice": (
        lambda table: table.append_column("name", pa.array(["b"])),
        "no column 'name', or several",
    ),
    "an index of text": (with_column("index", pa.array(["0"])), "'index' is not of the type int64"),
    "an index below zero": (with_column("index", pa.array([-1])), "an index below zero"),
    "no index": (with_column("index", pa.array([None], pa.int64())), "has empty cells"),
    "no name": (with_column("name", pa.array([None], pa.string())), "has empty cells"),
    "no row": (with_column("embedding", pa.array([None], LISTS)), "has empty cells"),
    "a hole in a row": (
        with_column("embedding", pa.array([[1, None, 0, 0]], LISTS)),
        "has empty cells",
    ),
    "a row of another width": (
        with_column("embedding", pa.array([[1.0, 0, 0]], pa.list_(pa.float32(), 3))),
        "'embedding' is not of the type",
    ),
    "a row of nan": (
        with_column("embedding", pa.array([[np.nan] * 4], LISTS)),
        "image 0 (a) is not",
    ),
    "no base64": (with_column("name_b64", pa.array(["?"])), "not usable as embeddings"),
}


@pytest.mark.parametrize(("change", "reason"), HOSTILE_TABLES.values(), ids=HOSTILE_TABLES)
def test_a_hostile_parquet_is_refused_with_the_reason(
    tmp_path: Path, change: Callable[[pa.Table], pa.Table], reason: str
) -> None:
    path = tmp_path / "e.parquet"
    pq.write_table(parquet_table(), path)
    assert read(open_embeddings(path))[0] == [ImageRef(0, "a", b"")]

    pq.write_table(change(parquet_table()), path)

    assert reason in refused(path)


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


def test_parquet_without_its_library_names_the_extra(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(UsageError, match=r"pip install 'clipcli\[parquet\]'\), or use \.npz"):
        check_target(tmp_path / "photos.parquet")
    check_target(tmp_path / "photos.npz")
