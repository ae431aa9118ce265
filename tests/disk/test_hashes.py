"""A file's sha256: worked out once, and again as soon as the file looks different."""

import hashlib
import os

import pytest

from clipcli.disk import hashes
from clipcli.disk.hashes import hash_file, known_hash


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPCLI_CACHE_DIR", str(tmp_path / "clipcli"))
    return tmp_path / "clipcli" / "hashes"


@pytest.fixture
def reads(monkeypatch):
    """The files that were read through, one after the other."""
    files = []

    def hash_and_note(path):
        files.append(path)
        return hash_file(path)

    monkeypatch.setattr(hashes, "hash_file", hash_and_note)
    return files


def write(path, content=b"content"):
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def test_a_file_is_read_once_however_it_is_named(tmp_path, reads, monkeypatch):
    sha256 = write(tmp_path / "a")
    (tmp_path / "link").symlink_to("a")
    monkeypatch.chdir(tmp_path)
    for name in ("a", "./a", "link", str(tmp_path / "link")):
        assert known_hash(type(tmp_path)(name)) == sha256
    assert reads == [tmp_path / "a"]


def test_a_name_may_hold_anything(tmp_path, reads):
    path = tmp_path / os.fsdecode(b"\xff\n.safetensors")
    sha256 = write(path)
    assert [known_hash(path), known_hash(path)] == [sha256] * 2
    assert len(reads) == 1


@pytest.mark.parametrize("change", ["size", "time", "file"])
def test_a_file_that_looks_different_is_read_again(tmp_path, reads, change):
    path = tmp_path / "a"
    write(path)
    status = path.stat()
    known_hash(path)
    if change == "size":
        sha256 = write(path, b"contents")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "time":
        sha256 = write(path, b"CONTENT")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    else:
        sha256 = write(tmp_path / "b", b"CONTENT")
        os.utime(tmp_path / "b", ns=(status.st_atime_ns, status.st_mtime_ns))
        (tmp_path / "b").replace(path)
    assert known_hash(path) == sha256
    assert known_hash(path) == sha256
    assert len(reads) == 2


def test_a_file_that_is_written_meanwhile_is_not_noted(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write(path)

    def hash_while_it_grows(file):
        sha256 = hash_file(file)
        write(file, b"contents")
        return sha256

    monkeypatch.setattr(hashes, "hash_file", hash_while_it_grows)
    known_hash(path)
    monkeypatch.undo()
    assert known_hash(path) == hashlib.sha256(b"contents").hexdigest()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"sha256": 1}'])
def test_a_note_that_is_none_is_replaced(tmp_path, folder, reads, content):
    path = tmp_path / "a"
    sha256 = write(path)
    known_hash(path)
    (note,) = folder.iterdir()
    note.write_text(content)
    assert [known_hash(path), known_hash(path)] == [sha256] * 2
    assert len(reads) == 2


def test_without_a_place_for_notes_there_is_only_more_work(tmp_path, reads):
    (tmp_path / "clipcli").write_text("in the way of a folder")
    path = tmp_path / "a"
    sha256 = write(path)
    assert [known_hash(path), known_hash(path)] == [sha256] * 2
    assert len(reads) == 2


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        known_hash(tmp_path / "a")
