"""Embeddings as .parquet: for data frames, and hostile ones refused with the reason."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from embeddings_files import DESCRIPTION, NAMES, read, refused, unit, write

from clipcli.embeddings.files import check_target, open_embeddings
from clipcli.errors import UsageError
from clipcli.images.sources import ImageRef


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


def test_parquet_without_its_library_names_the_extra(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(UsageError, match=r"pip install 'clipcli\[parquet\]'\), or use \.npz"):
        check_target(tmp_path / "photos.parquet")
    check_target(tmp_path / "photos.npz")
