"""Searching stored rows finds what NumPy finds with all of them in memory."""

from __future__ import annotations

import io

import numpy as np
import pytest
from embeddings_files import unit, write

from clipcli.embeddings.duplicates import duplicates
from clipcli.embeddings.files import open_embeddings
from clipcli.embeddings.rows import Block
from clipcli.embeddings.search import SearchOptions, query, search
from clipcli.errors import FailureCode, InputError, UsageError
from clipcli.images.sources import ImageRef
from clipcli.outputs.hits import HIT_FORMATS, HitOptions

NONE = np.empty((0, 16), np.float32)


def sources(*files, size=100):
    return ((str(file), open_embeddings(file).blocks(size)) for file in files)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    first = write(folder / "a.npz", [f"a{place}" for place in range(437)], unit(437, 16))
    second = write(folder / "b.parquet", [f"b{place}" for place in range(101)], unit(101, 16))
    return first, second


@pytest.mark.parametrize("top_k", [1, 20, 10_000])
@pytest.mark.parametrize("least", [-1.0, 0.3, 0.99])
@pytest.mark.parametrize("size", [1, 64, 1000])
def test_what_is_found_is_the_order_of_all_cosines(stored, top_k, least, size):
    row = unit(1, 16)
    hits = search(sources(*stored, size=size), row, SearchOptions(top_k, least))
    rows = np.concatenate([unit(437, 16), unit(101, 16)]).astype(np.float64)
    cosines = rows @ row[0].astype(np.float64)
    order = [place for place in np.argsort(-cosines, kind="stable") if cosines[place] >= least]
    names = [f"a{place}" if place < 437 else f"b{place - 437}" for place in order[:top_k]]
    assert [hit.name for hit in hits] == names
    assert [hit.rank for hit in hits] == [*range(1, len(names) + 1)]
    assert [hit.similarity for hit in hits] == pytest.approx(cosines[order[:top_k]], abs=1e-12)
    assert {hit.file for hit in hits} <= {str(file) for file in stored}


def test_of_equal_pictures_the_first_comes_first(tmp_path):
    rows = np.repeat(unit(1, 16), 9, axis=0)
    file = write(tmp_path / "a.npz", [str(place) for place in range(9)], rows)
    hits = search(sources(file, file, size=2), rows[:1], SearchOptions(3))
    assert [hit.name for hit in hits] == ["0", "1", "2"]


def test_failures_are_not_found():
    refs = [ImageRef(place, str(place), b"") for place in range(3)]
    failed = {1: InputError(FailureCode.EMPTY, "no bytes")}
    blocks = [Block(refs, np.eye(3, dtype=np.float32), failed), Block(refs[:1], None)]
    hits = search([("", iter(blocks))], np.eye(3, dtype=np.float32)[1:2], SearchOptions())
    assert [hit.name for hit in hits] == ["0", "2"]


def test_kinds_are_averaged_each_for_itself_and_weigh_the_same():
    texts, images, unwanted = unit(3, 16), unit(2, 16), unit(4, 16)

    def direction(row):
        return row / np.linalg.norm(row)

    means = [direction(rows.mean(axis=0)) for rows in (texts, images, unwanted)]
    assert query(texts[:1], NONE, NONE) == pytest.approx(texts[:1], abs=1e-7)
    assert query(texts, NONE, NONE)[0] == pytest.approx(means[0], abs=1e-6)
    assert query(NONE, images, NONE)[0] == pytest.approx(means[1], abs=1e-6)
    expected = direction(means[0] + means[1] - means[2])
    assert query(texts, images, unwanted)[0] == pytest.approx(expected, abs=1e-6)
    with pytest.raises(UsageError, match="--not takes away all"):
        query(texts, NONE, texts)


@pytest.mark.parametrize("least", [-1.0, 0.5, 0.9, 0.999])
def test_groups_are_those_of_all_pairs(tmp_path, least):
    rows = unit(230, 16)
    rows[200:] = rows[:30] + 0.1 * unit(30, 16) * np.linspace(0, 3, 30)[:, None]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    file = write(tmp_path / "a.npz", [str(place) for place in range(230)], rows)
    found = duplicates(sources(file, size=7), 16, least)
    near = rows.astype(np.float64) @ rows.astype(np.float64).T >= least
    reach = near.copy()
    while (grown := (reach.astype(int) @ near) > 0).sum() > reach.sum():
        reach = grown
    groups = {tuple(np.flatnonzero(row).tolist()) for row in reach if row.sum() > 1}
    assert [[int(hit.name) for hit in group] for group in found] == sorted(map(list, groups))
    for number, group in enumerate(found, 1):
        assert {hit.rank for hit in group} == {number}
        expected = [rows[int(hit.name)] @ rows[int(group[0].name)] for hit in group]
        assert [hit.similarity for hit in group] == pytest.approx(expected, abs=1e-5)


def test_of_no_pictures_nothing_is_found():
    assert search([], unit(1, 16), SearchOptions()) == []
    assert duplicates([], 16, 0.9) == []


def test_names_stay_on_their_lines_in_every_format(tmp_path):
    names = ["two\nlines", "=1+1", "\x1b]0;owned\x07"]
    file = write(tmp_path / "a.npz", names, unit(3, 16))
    hits = search(sources(file), unit(1, 16), SearchOptions())
    for name, write_hits in HIT_FORMATS.items():
        stream = io.StringIO(newline="")
        write_hits(hits, stream, HitOptions({"name": "tiny", "fingerprint": "0"}))
        text = stream.getvalue()
        assert "\x1b" not in text
        extra = {"json": 2, "csv": 2}.get(name, 0)
        assert text.count("\n") == 3 + extra, name
        assert name != "csv" or ",'=1+1," in text
