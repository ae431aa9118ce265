"""`read_embeddings`: a file as one array, and what others' loaders make of it."""

from __future__ import annotations

import numpy as np
import pytest
from embeddings_files import EXTENSIONS, NAMES, unit, write

import clipcli
from clipcli.errors import UsageError


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_rows_and_names_are_those_that_were_written(tmp_path, extension):
    file = write(tmp_path / f"a{extension}", NAMES, unit(len(NAMES)))
    found = clipcli.read_embeddings(str(file))
    assert (found.rows == unit(len(NAMES))).all()
    assert (found.rows.dtype, found.rows.shape) == (np.float32, (len(NAMES), 4))
    assert [*found.names] == NAMES
    assert [*found.indices] == [3 * place + 1 for place in range(len(NAMES))]
    assert (len(found), found.model) == (len(NAMES), "tiny")
    assert repr(found) == f"Embeddings({len(NAMES)} rows of width 4, by tiny)"


def test_rows_of_npz_are_mapped_and_not_writable(tmp_path):
    file = write(tmp_path / "a.npz", NAMES, unit(len(NAMES)))
    rows = clipcli.read_embeddings(file).rows
    assert isinstance(rows, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        rows[0] = 0


def test_compressed_npz_and_empty_files_are_read(tmp_path):
    file = write(tmp_path / "a.npz", NAMES, unit(len(NAMES)))
    with np.load(file) as members:
        np.savez_compressed(tmp_path / "b.npz", **members)
    assert (clipcli.read_embeddings(tmp_path / "b.npz").rows == unit(len(NAMES))).all()
    empty = write(tmp_path / "c.npz", [], np.empty((0, 4), np.float32))
    assert clipcli.read_embeddings(empty).rows.shape == (0, 4)


def test_what_is_no_such_file_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK")
    for file in (tmp_path / "a.npz", tmp_path / "missing.npz", tmp_path / "a.txt"):
        with pytest.raises(UsageError):
            clipcli.read_embeddings(file)


def test_pandas_has_a_row_an_image(tmp_path):
    pytest.importorskip("pandas")
    frame = clipcli.read_embeddings(write(tmp_path / "a.npz", NAMES, unit(len(NAMES)))).to_pandas()
    assert [*frame.columns] == ["index", "name", "embedding"]
    assert (np.stack(frame["embedding"]) == unit(len(NAMES))).all()


def test_arrow_has_a_list_of_fixed_size(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    pa = pytest.importorskip("pyarrow")
    file = write(tmp_path / "a.parquet", NAMES, unit(len(NAMES)))
    assert pq.read_schema(file).field("embedding").type == pa.list_(pa.float32(), 4)


def test_duckdb_computes_cosines_of_parquet_as_it_is(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    rows = unit(len(NAMES))
    file = write(tmp_path / "a.parquet", NAMES, rows)
    asked = "SELECT list_cosine_similarity(embedding::FLOAT[], ?::FLOAT[]) FROM read_parquet(?)"
    found = duckdb.execute(asked, [rows[0].tolist(), str(file)]).fetchall()
    assert np.array(found)[:, 0] == pytest.approx(rows @ rows[0], abs=1e-5)


def test_faiss_searches_the_mapped_rows(tmp_path):
    faiss = pytest.importorskip("faiss")
    rows = clipcli.read_embeddings(write(tmp_path / "a.npz", NAMES, unit(len(NAMES)))).rows
    index = faiss.IndexFlatIP(4)
    index.add(np.ascontiguousarray(rows))
    assert index.search(np.ascontiguousarray(rows), 1)[1][:, 0].tolist() == [*range(len(NAMES))]
