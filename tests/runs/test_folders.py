"""Of a folder that was searched, only what is new or has changed is encoded again."""

from __future__ import annotations

import os

import numpy as np
import pytest
from fake_engine import FakeEngine, grey_png

from clipcli.heads.text_cache import TextCache
from clipcli.images.options import ImageOptions
from clipcli.images.sources import SourceOptions, expand
from clipcli.runs.folders import embedded
from clipcli.runs.options import PipelineOptions

GREYS = [0, 100, 200, 255]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for grey in GREYS:
        (folder / f"{grey:03}.png").write_bytes(grey_png(grey))
    (folder / "broken.png").write_bytes(b"not a picture")
    return folder


@pytest.fixture
def cache(tmp_path):
    return TextCache(tmp_path / "cache" / "pictures.sqlite3", "picture")


def read(folder, cache, **images):
    """The rows by name, what failed, and how many were encoded."""
    engine = FakeEngine()
    options = PipelineOptions(batch_size=3, images=ImageOptions(**images), whole_blocks=True)
    refs = expand([str(folder)], None, None, SourceOptions(recursive=True))
    rows, failed = {}, []
    for block in embedded(refs, engine, options, cache):
        for place, ref in enumerate(block.refs):
            name = os.path.basename(ref.name)
            if place in block.failures:
                failed.append((name, block.failures[place].code.value))
            else:
                rows[name] = block.embeddings[place].tolist()
    return rows, failed, sum(engine.batches)


def test_a_second_time_only_what_failed_is_tried(folder, cache):
    first, failed, encoded = read(folder, cache)
    assert ([*first], failed) == (
        [f"{grey:03}.png" for grey in GREYS],
        [("broken.png", "not_an_image")],
    )
    assert encoded == 5  # the last block of two has a hole
    again, failed_again, encoded = read(folder, cache)
    assert (again, failed_again, encoded) == (first, failed, 0)


def test_what_is_new_or_has_changed_is_encoded(folder, cache):
    first, _, _ = read(folder, cache)
    (folder / "new.png").write_bytes(grey_png(50))
    (folder / "100.png").write_bytes(grey_png(101))
    (folder / "200.png").unlink()
    (folder / "000.png").rename(folder / "moved.png")
    again, _, _ = read(folder, cache)
    assert [*again] == ["100.png", "255.png", "moved.png", "new.png"]
    assert again["100.png"] != first["100.png"]
    assert again["moved.png"] == first["000.png"]
    assert read(folder, cache)[2] == 0


def test_a_file_of_the_same_size_whose_time_has_changed_is_read_again(folder, cache):
    read(folder, cache)
    file = folder / "100.png"
    size = file.stat().st_size
    file.write_bytes(grey_png(102).ljust(size, b"\0")[:size] if size else b"")
    os.utime(file, ns=(1, 1))
    assert read(folder, cache)[2] > 0


def test_other_preprocessing_and_no_cache_are_encoded_anew(folder, cache):
    read(folder, cache)
    assert read(folder, cache, reference=True)[2] > 0
    assert read(folder, None)[2] > 0


def test_many_blocks_keep_their_order(folder, cache, monkeypatch):
    from clipcli.runs import folders

    monkeypatch.setattr(folders, "_IMAGES_AT_ONCE", 2)
    rows, failed, _ = read(folder, cache)
    monkeypatch.setattr(folders, "_IMAGES_AT_ONCE", 100)
    assert (rows, failed) == read(folder, None)[:2]
    assert np.isfinite([*rows.values()]).all()
