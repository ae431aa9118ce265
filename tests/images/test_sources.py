"""Arguments, folders, patterns, URLs and lists as a stream of images."""

from __future__ import annotations

import codecs
import inspect
import io
import os
import sys
import threading
from itertools import islice
from pathlib import Path

import pytest

from clipcli.errors import FailureCode, InputError, UsageError
from clipcli.images.files import read_file, read_stream
from clipcli.images.sources import (
    MAX_NAME_BYTES,
    ImageRef,
    SourceOptions,
    Stream,
    Url,
    expand,
    is_url,
    public_name,
    read_names,
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, for tests that name files in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def refs(
    *arguments: str,
    names: bytes | None = None,
    recursive: bool = False,
    null: bool = False,
    hidden: bool = False,
) -> list[ImageRef]:
    name_list = None if names is None else io.BytesIO(names)
    return list(
        expand(arguments, name_list, io.BytesIO(), SourceOptions(recursive, null, hidden=hidden))
    )


def shown(found: list[ImageRef]) -> list[str]:
    return [ref.name for ref in found]


def code(ref: ImageRef) -> FailureCode | None:
    return ref.source.code if isinstance(ref.source, InputError) else None


def test_names_stay_as_given_and_are_numbered(folder):
    found = refs("./a/../b.png", "plain", "b.png")
    assert shown(found) == ["./a/../b.png", "plain", "b.png"]
    assert [ref.index for ref in found] == [0, 1, 2]
    assert found[0].source == Path("./a/../b.png")


def test_a_pattern_gives_its_files_bytewise_sorted(folder):
    make(folder, "b.png", "B.png", "é.png", "a.png", "sub/c.png", "notes.txt")
    assert shown(refs("*.png")) == ["B.png", "a.png", "b.png", "é.png"]
    assert shown(refs("**/c.*")) == ["sub/c.png"]


def test_a_path_that_exists_is_no_pattern(folder):
    make(folder, "[1].png", "1.png", "x[.png")
    (folder / "*.lnk").symlink_to("nowhere")
    assert shown(refs("[1].png", "x[.png", "*.lnk")) == ["[1].png", "x[.png", "*.lnk"]


def test_a_pattern_without_a_match_is_a_failure(folder):
    (ref,) = refs("no*.png")
    assert (ref.name, code(ref)) == ("no*.png", FailureCode.NO_MATCH)


def test_a_pattern_that_matches_a_folder_searches_it_if_recursive(folder):
    make(folder, "d1/a.png", "d2/b.png")
    assert shown(refs("d*", recursive=True)) == ["d1/a.png", "d2/b.png"]
    assert shown(refs("d*")) == ["d1", "d2"]  # to fail when they are read


def test_a_folder_gives_images_of_known_extensions_bytewise_sorted(folder):
    make(folder, "d/b.JPG", "d/B.png", "d/a/z.webp", "d/a.png", "d/notes.txt", "d/noext")
    assert shown(refs("d", recursive=True)) == ["d/B.png", "d/a.png", "d/a/z.webp", "d/b.JPG"]
    assert shown(refs("d/", recursive=True))[0] == "d/B.png"


HIDDEN = ("d/._a.JPG", "d/.git/b.png", "d/.thumbnails/x/c.png", "d/e/.f.webp", "d/e/.g/h.gif")


def test_hidden_files_and_folders_are_passed_over(folder):
    make(folder, "d/a.png", "d/e/i.png", *HIDDEN)
    assert shown(refs("d", recursive=True)) == ["d/a.png", "d/e/i.png"]
    assert shown(refs("d/*/*", "d/*")) == ["d/e/i.png", "d/a.png", "d/e"]
    assert sorted(shown(refs("d", recursive=True, hidden=True))) == sorted(
        ["d/a.png", "d/e/i.png", *HIDDEN]
    )
    assert set(HIDDEN) <= set(shown(refs("d/**/*", hidden=True)))


def test_hidden_ones_that_are_named_are_read(folder):
    make(folder, *HIDDEN, ".h/a.png")
    assert shown(refs("d/._a.JPG", "d/.git", recursive=True)) == ["d/._a.JPG", "d/.git/b.png"]
    assert shown(refs(".h", "./.h/", recursive=True)) == [".h/a.png", "./.h/a.png"]
    assert shown(refs("d/.t*/x", recursive=True)) == ["d/.thumbnails/x/c.png"]
    assert shown(refs(names=b"d/._a.JPG\n")) == ["d/._a.JPG"]


def test_a_folder_of_hidden_images_alone_names_the_way_to_them(folder):
    make(folder, "d/._a.JPG")
    (ref,) = refs("d", recursive=True)
    assert isinstance(ref.source, InputError)
    assert ref.source.code is FailureCode.NO_MATCH
    assert "--hidden" in ref.source.message


def test_links_to_folders_are_followed_only_when_named(folder):
    make(folder, "real/a.png", "d/b.png")
    (folder / "d/link").symlink_to(folder / "real", target_is_directory=True)
    (folder / "d/link.png").symlink_to(folder / "real", target_is_directory=True)
    (folder / "d/file.png").symlink_to(folder / "real/a.png")
    assert shown(refs("d", recursive=True)) == ["d/b.png", "d/file.png"]
    assert shown(refs("d/link", recursive=True)) == ["d/link/a.png"]


def test_broken_links_in_a_folder_are_left_to_fail_and_pipes_are_skipped(folder):
    make(folder, "d/a.png")
    (folder / "d/gone.png").symlink_to("nowhere")
    (folder / "d/loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "d/pipe.png")
    assert shown(refs("d", recursive=True)) == ["d/a.png", "d/gone.png", "d/loop.png"]


def test_a_folder_without_images_is_a_failure(folder):
    make(folder, "d/notes.txt", "d/deeper/more.txt")
    (ref,) = refs("d", recursive=True)
    assert (ref.name, code(ref)) == ("d", FailureCode.NO_MATCH)


def test_a_folder_that_cannot_be_listed_is_a_failure(folder, monkeypatch):
    make(folder, "d/a.png", "d/shut/b.png")
    scandir = os.scandir

    def refuse(path):
        if path == "d/shut":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    readable, shut = refs("d", recursive=True)
    assert code(readable) is None
    assert (shut.name, code(shut)) == ("d/shut", FailureCode.UNREADABLE)


def test_a_folder_is_searched_deeper_than_calls_may_go(folder):
    name = "d/" * 200 + "a.png"
    make(folder, name)
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 150)
    try:
        assert shown(refs("d", recursive=True)) == [name]
    finally:
        sys.setrecursionlimit(before)


def test_a_pattern_that_goes_too_deep_is_a_failure(folder, monkeypatch):
    def too_deep(*_args, **_options):
        raise RecursionError

    monkeypatch.setattr("glob.iglob", too_deep)
    (ref,) = refs("**/*.png")
    assert (ref.name, code(ref)) == ("**/*.png", FailureCode.UNREADABLE)


def test_an_empty_name_is_a_failure_of_its_own(folder):
    (ref,) = refs("", recursive=True)
    assert code(ref) == FailureCode.NOT_FOUND


def test_a_dash_is_standard_input():
    stdin = io.BytesIO(b"bytes")
    (ref,) = expand(["-"], None, stdin, SourceOptions())
    assert (ref.name, ref.source) == ("-", Stream(stdin))


NUL_SEPARATED = SourceOptions(null_separated=True)


@pytest.mark.parametrize(
    "address",
    [
        "http://user:secret@host/cat.jpg",
        "https://user:sec#ret@host/cat.jpg",
        "https://user:sec/ret@host/cat.jpg",
        "https://us/er:secret@host/cat.jpg",
        "https://user:12/secret@host/cat.jpg",
        "https://user:sec?ret@host/cat.jpg",
        "https://user:s@ecret@host/cat.jpg",
        "https://us#er:secret@host/cat.jpg",
        " http://user:secret@host/cat.jpg",
        "\thttp://user:secret@host/cat.jpg",
        "http:/user:secret@host/cat.jpg",
        "http:///user:secret@host/cat.jpg",
        "http:user:secret@host/cat.jpg",
        "http:\\\\user:secret@host/cat.jpg",
        "htp://user:secret@host/cat.jpg",
        "FTP://user:sec/ret@host/cat.jpg",
        "http://user:secret\n@host/cat.jpg",
    ],
)
def test_a_misspelt_address_shows_no_password(address):
    (ref,) = expand([address], None, io.BytesIO(), SourceOptions())
    (listed,) = expand([], io.BytesIO(address.encode() + b"\0"), io.BytesIO(), NUL_SEPARATED)
    for name in (ref.name, listed.name, public_name(address)):
        assert "sec" not in name
        assert "user" not in name
        assert name.endswith("host/cat.jpg")


@pytest.mark.parametrize(
    "name",
    [
        "https://example.org/@name/cat.jpg",
        "https://example.org/cat.jpg?by=me@example.org",
        "https://example.org:8080/cat.jpg",
        "C:/cats@home/cat.jpg",
        "cats@home.jpg",
    ],
)
def test_a_name_without_credentials_stays_whole(name):
    assert public_name(name) == name


def test_a_file_whose_name_is_like_an_address_is_shown_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "time:12@noon.jpg").write_bytes(b"")
    (ref,) = expand(["time:12@noon.jpg"], None, io.BytesIO(), SourceOptions())
    assert ref.name == "time:12@noon.jpg"


def test_urls_are_told_from_paths_and_shown_without_credentials():
    (ref,) = refs("HTTPS://user:p%40ss@host:8/a@b.png?q=[1]*")
    assert ref.source == Url("HTTPS://user:p%40ss@host:8/a@b.png?q=[1]*")
    assert ref.name == "HTTPS://host:8/a@b.png?q=[1]*"
    assert not is_url("ftp://host/a.png")
    assert not is_url("http:/a.png")
    assert public_name("http://host/path@home") == "http://host/path@home"
    assert public_name("s3://key:secret@bucket/a.png") == "s3://bucket/a.png"


def test_names_of_a_list_are_literal_and_follow_the_arguments(folder):
    make(folder, "a.png", "-x")
    found = refs("*.png", names=b"*.png\n-x\n-\nhttp://host/b.png\n")
    assert shown(found) == ["a.png", "*.png", "-x", "-", "http://host/b.png"]
    assert [type(ref.source) for ref in found[1:]] == [type(Path())] * 3 + [Url]


@pytest.mark.parametrize(
    ("text", "separator", "names"),
    [
        (b"a b\r\n\n \t\r\nc\rd\n-e", b"\n", ["a b", "c\rd", "-e"]),
        (b"a\nb\0\0 \0c\r\0", b"\0", ["a\nb", " ", "c\r"]),
        (b"", b"\n", []),
        (b"\xff.png\n", b"\n", [os.fsdecode(b"\xff.png")]),
    ],
)
def test_lists_are_split_and_blank_names_skipped(text, separator, names):
    assert list(read_names(io.BytesIO(text), separator)) == names


def test_a_long_list_is_read_in_pieces_of_any_size():
    names = [f"{number:->{number % 97 + 6}}.png" for number in range(20_000)]
    assert list(read_names(io.BytesIO("\n".join(names).encode()), b"\n")) == names


@pytest.mark.parametrize(
    ("separator", "way_out"), [(b"\n", "NUL: add -0"), (b"\0", "newlines: leave -0 out")]
)
def test_a_list_with_another_separator_is_not_gathered_into_one_name(separator, way_out):
    other = b"\0" if separator == b"\n" else b"\n"
    stream = io.BytesIO((b"a.png" + other) * MAX_NAME_BYTES)
    with pytest.raises(UsageError, match=way_out):
        list(read_names(stream, separator))
    assert stream.tell() < 2 * MAX_NAME_BYTES


def test_a_list_is_read_no_further_than_needed():
    """A slow writer's names come as they are written."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream, os.fdopen(writer, "wb", buffering=0) as pipe:
        names = expand([], stream, io.BytesIO(), SourceOptions())
        pipe.write(b"a.png\nb.png\nhalf")
        assert shown(list(islice(names, 2))) == ["a.png", "b.png"]
        pipe.write(b" a name\n")
        assert next(names).name == "half a name"


def test_a_folder_is_walked_no_further_than_needed(folder, monkeypatch):
    make(folder, "d/1/a.png", "d/2/b.png")
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    next(expand(["d"], None, io.BytesIO(), SourceOptions(recursive=True)))
    assert listed == ["d", "d/1"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gone.png", FailureCode.NOT_FOUND),
        ("file/below.png", FailureCode.NOT_FOUND),
        (".", FailureCode.IS_A_FOLDER),
        ("n" * 300, FailureCode.UNREADABLE),
        ("nul\0.png", FailureCode.UNREADABLE),
    ],
)
def test_a_file_that_cannot_be_read_says_why(folder, name, expected):
    make(folder, "file")
    with pytest.raises(InputError) as caught:
        read_file(Path(name), 10)
    assert caught.value.code == expected


def test_a_name_with_nul_in_it_says_how_such_lists_are_read(folder):
    with pytest.raises(InputError, match="-0 reads a list whose names end with it"):
        read_file(Path("a.png\0b.png\0"), 10)


def test_a_pipe_is_read_when_something_comes(folder):
    os.mkfifo("pipe.png")
    writer = threading.Thread(target=Path("pipe.png").write_bytes, args=(b"late",))
    writer.start()
    assert read_file(Path("pipe.png"), 10) == b"late"
    writer.join()


def test_a_pipe_into_which_nobody_writes_is_not_waited_for_without_end(folder, monkeypatch):
    monkeypatch.setattr("clipcli.images.files._PIPE_SECONDS", 0.01)
    os.mkfifo("pipe.png")
    with pytest.raises(InputError, match=r"nobody has written for 0\.01 s") as caught:
        read_file(Path("pipe.png"), 10)
    assert caught.value.code is FailureCode.UNREADABLE


def test_no_more_than_the_limit_is_read(folder):
    (folder / "ten").write_bytes(b"0123456789")
    assert read_file(Path("ten"), 10) == b"0123456789"
    with pytest.raises(InputError, match="larger than 9 bytes"):
        read_file(Path("ten"), 9)
    endless = io.BytesIO(b"x" * 1000)
    with pytest.raises(InputError):
        read_stream(endless, 9)
    assert endless.tell() == 10


def test_only_web_addresses_are_fetched_and_others_say_so():
    for name in ("ftp://example.org/cat.jpg", "file:///cat.jpg"):
        (ref,) = expand([name], None, io.BytesIO(), SourceOptions())
        assert isinstance(ref.source, InputError)
        assert ref.source.code is FailureCode.URL_REFUSED


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be-marked", "utf-32"], ids=str)
@pytest.mark.parametrize("separator", ["\r\n", "\n", "\0"], ids=["windows", "unix", "nul"])
@pytest.mark.parametrize("at_once", [1, 3, 1 << 16])
def test_a_list_may_begin_with_a_byte_order_mark(encoding, separator, at_once):
    """As PowerShell and Windows' editors write it, in pieces of any size."""
    text = f"cät.png{separator}寿司.png{separator}"
    if encoding == "utf-16-be-marked":
        data = codecs.BOM_UTF16_BE + text.encode("utf-16-be")
    else:
        data = text.encode(encoding)
    stream = io.BytesIO(data)
    stream.read1 = lambda size: io.BytesIO.read(stream, min(size, at_once))
    assert list(read_names(stream, separator[-1].encode())) == ["cät.png", "寿司.png"]
