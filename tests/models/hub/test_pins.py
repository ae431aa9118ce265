"""Notes of commits and hashes: nothing is lost, and nothing is believed that cannot be."""

import json

import pytest

from clipcli.models.hub.pins import Pins, pin, read_pins

OLD, NEW = "0" * 40, "1" * 40
HASH = "a" * 64


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPCLI_CACHE_DIR", str(tmp_path))
    return tmp_path / "pins"


def test_notes_add_up_and_the_last_commit_of_a_name_counts():
    assert read_pins("org/name") == Pins()
    pin("org/name", "main", OLD, {"a.txt": HASH})
    pin("org/name", "main", NEW, {"a.txt": HASH, "b.txt": None})
    pin("org/name", OLD, OLD, {"c/d.txt": HASH})
    pin("org/other", "main", OLD, {})
    files = {f"{OLD}/a.txt": HASH, f"{NEW}/a.txt": HASH, f"{NEW}/b.txt": None}
    assert read_pins("org/name") == Pins({"main": NEW}, {**files, f"{OLD}/c/d.txt": HASH})


def test_what_is_known_is_not_written_again(folder):
    pin("org/name", "main", OLD, {"a.txt": HASH})
    (note,) = folder.iterdir()
    before = note.stat().st_ino
    pin("org/name", "main", OLD, {"a.txt": HASH})
    assert note.stat().st_ino == before


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        json.dumps({"commits": [], "files": {}}),
        json.dumps({"commits": {"main": 1}, "files": {}}),
        json.dumps({"commits": {"main": "../x"}, "files": {"a": "0"}}),
    ],
)
def test_a_note_that_is_none_says_nothing(folder, content):
    folder.mkdir()
    (folder / "org--name.json").write_text(content)
    assert read_pins("org/name") == Pins()
    pin("org/name", "main", OLD, {})
    assert read_pins("org/name") == Pins({"main": OLD})
