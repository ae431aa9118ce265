"""Files that are replaced whole or not at all, whoever reads or breaks off meanwhile."""

import json
import os

import pytest

from clipcli.disk.atomic import NewFile, part_file, write_text
from clipcli.disk.outputs import write_json


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


def test_a_link_that_a_user_names_stays_one_and_what_it_leads_to_is_written(tmp_path):
    (tmp_path / "real.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("real.json")
    write_json(tmp_path / "link.json", [1])
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text()) == [1]


def test_a_file_of_clipclis_own_is_not_written_through_a_link(tmp_path):
    (tmp_path / "real").write_text("yours")
    (tmp_path / "stamp.json").symlink_to("real")
    write_text(tmp_path / "stamp.json", "mine")
    assert (tmp_path / "real").read_text() == "yours"


def test_a_json_file_is_replaced_whole_or_not_at_all(tmp_path):
    file = tmp_path / "a.json"
    write_json(file, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(file, {"a": float("nan")})
    with pytest.raises(TypeError):
        write_json(file, {"a": object()})
    assert json.loads(file.read_bytes()) == {"a": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_json_file_that_cannot_be_put_in_place_leaves_nothing_beside_it(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(OSError, match=r"a\.json"):
        write_json(tmp_path / "a.json", {})
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_json_file_has_the_permissions_of_any_new_file(tmp_path):
    write_json(tmp_path / "a.json", {})
    (tmp_path / "b").touch()
    assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "b").stat().st_mode
