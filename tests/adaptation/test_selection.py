"""Which pictures are taken: each once, none that is two things, so many of a class."""

from __future__ import annotations

from pathlib import Path

import pytest
from adaptation_data import pattern_folders

from clipcli.adaptation.selection import select
from clipcli.disk.hashes import hash_file
from clipcli.errors import UsageError
from clipcli.images.dataset import read_dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return pattern_folders(tmp_path / "data", 4)


def chosen(folder: Path, shots: int | None = None, seed: int = 0):
    return select(read_dataset(str(folder)), shots, seed)


def test_all_are_taken_with_their_hashes(folder) -> None:
    selection = chosen(folder)

    assert [ref.index for ref in selection.data.refs] == list(range(12))
    assert [hash_file(ref.source) for ref in selection.data.refs] == list(selection.sha256)
    assert selection.notes() == []


def test_a_picture_that_is_there_twice_is_taken_once(folder) -> None:
    for copy in ("copy.png", "again.png"):
        (folder / "alpha" / copy).write_bytes((folder / "alpha" / "1.png").read_bytes())

    selection = chosen(folder)

    assert (len(selection.data.refs), selection.repeated) == (12, 2)
    assert len(set(selection.sha256)) == 12
    assert selection.notes() == ["2 pictures are there twice or more: each is taken once"]


def test_a_picture_in_two_classes_is_named(folder) -> None:
    (folder / "beta" / "same.png").write_bytes((folder / "alpha" / "1.png").read_bytes())

    with pytest.raises(UsageError) as refused:
        chosen(folder)

    assert str(refused.value) == (
        f"{folder}/alpha/1.png and {folder}/beta/same.png are the same picture, as 'alpha' and as"
        " 'beta': take one of them away"
    )


def test_one_class_alone_is_refused(tmp_path) -> None:
    folder = pattern_folders(tmp_path / "data", 3, names="alpha")

    with pytest.raises(UsageError, match=r"one class alone, 'alpha'.* name pictures of two"):
        chosen(folder)


def test_so_many_of_each_class_are_drawn_by_the_seed(folder) -> None:
    drawn = [chosen(folder, 2, seed) for seed in (0, 0, 1, 2)]

    assert [sorted(one.data.labels) for one in drawn] == [
        ["alpha", "alpha", "beta", "beta", "gamma", "gamma"]
    ] * 4
    assert drawn[0] == drawn[1]
    assert len({one.sha256 for one in drawn}) > 1
    assert len(chosen(folder, 100).data.refs) == 12


def test_what_cannot_be_read_is_left_to_the_reading(folder) -> None:
    (folder / "alpha" / "broken.png").symlink_to(folder / "nowhere.png")
    table = folder / "pictures.csv"
    table.write_text("path,label\nalpha/0.png,a\ngone.png,b\nhttps://example.org/x.png,b\n")

    assert chosen(table).sha256[1:] == (None, None)
