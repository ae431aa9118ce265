"""Files that are replaced whole or not at all, whoever reads or breaks off meanwhile."""

import os
from pathlib import Path

import pytest

from clipcli.disk.atomic import NewFile, open_own, part_file, write_text
from clipcli.errors import ClipcliError


def test_new_content_takes_its_place_at_the_end_of_the_block(tmp_path):
    file = tmp_path / "answers.csv"
    file.write_text("old")
    with NewFile(file) as beside:
        beside.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert os.listdir(tmp_path) == ["answers.csv"]


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_after_an_error_the_old_content_stands_alone(tmp_path, error):
    file = tmp_path / "answers.csv"
    file.write_text("old")

    def break_off():
        with NewFile(file, part_file(file)) as part:
            part.write_text("half of the n")
            raise error

    with pytest.raises(type(error)):
        break_off()
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["answers.csv"]


def test_the_content_is_on_the_disk_before_it_has_the_name(tmp_path, monkeypatch):
    file, synced = tmp_path / "a", []
    monkeypatch.setattr(os, "fsync", lambda _number: synced.append(file.exists()))
    write_text(file, "a")
    assert synced == [False]


def test_a_part_that_is_anothers_by_now_is_left_alone(tmp_path):
    """What was published is no more this run's: the next one may have begun its own."""
    file = tmp_path / "a"
    with NewFile(file, part_file(file)) as part:
        part.write_text("mine")
    part_file(file).write_text("another's")
    assert (file.read_text(), part_file(file).read_text()) == ("mine", "another's")


def test_a_file_of_clipclis_own_is_not_written_through_a_link(tmp_path):
    (tmp_path / "real").write_text("yours")
    (tmp_path / "stamp.json").symlink_to("real")
    write_text(tmp_path / "stamp.json", "mine")
    assert (tmp_path / "real").read_text() == "yours"


@pytest.mark.parametrize("name", ["stamp.json", ".stamp.json.{}.new"])
@pytest.mark.parametrize("kind", ["link", "dangling", "hard link", "pipe"])
def test_nothing_that_lies_in_wait_under_clipclis_names_is_written(tmp_path, name, kind):
    beside, yours = tmp_path / name.format(os.getpid()), tmp_path / "yours"
    yours.write_text("yours")
    if kind == "pipe":
        os.mkfifo(beside)
    elif kind == "hard link":
        os.link(yours, beside)
    else:
        beside.symlink_to(yours if kind == "link" else tmp_path / "new")
    write_text(tmp_path / "stamp.json", "mine")
    assert (tmp_path / "stamp.json").read_text() == "mine"
    assert not (tmp_path / "stamp.json").is_symlink()
    assert yours.read_text() == "yours"
    assert sorted(os.listdir(tmp_path)) == ["stamp.json", "yours"]


@pytest.mark.parametrize("mode", ["wb", "ab", "w"])
@pytest.mark.parametrize("kind", ["link", "dangling", "hard link", "pipe", "device"])
def test_what_is_kept_open_is_a_file_of_one_name(tmp_path, kind, mode):
    file, yours = tmp_path / "out.part", tmp_path / "yours"
    yours.write_text("yours")
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file = Path("/dev/null")
    elif kind == "hard link":
        os.link(yours, file)
    else:
        file.symlink_to(yours if kind == "link" else tmp_path / "new")
    with pytest.raises(OSError, match=r"it is .*; remove it"):
        open_own(file, mode)
    assert yours.read_text() == "yours"
    assert not (tmp_path / "new").exists()


def test_content_that_something_else_removed_is_told(tmp_path):
    with pytest.raises(ClipcliError, match=r"a\.part is gone: something else removed"):  # noqa: SIM117
        with NewFile(tmp_path / "a", part_file(tmp_path / "a")) as part:
            part.unlink()
    assert os.listdir(tmp_path) == []
