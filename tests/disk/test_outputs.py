"""What a user names to be written: through links, into devices and pipes, and nothing unasked."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from clipcli.cli.arguments.checks import Outputs, check_output, check_outputs
from clipcli.disk.outputs import OutputFile, behind_links, is_stream, open_stream, write_json
from clipcli.errors import ClipcliError, UsageError


def test_a_link_that_a_user_names_stays_one_and_what_it_leads_to_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "real.json").write_text("{}")
    (tmp_path / "second.json").symlink_to("there/real.json")
    (tmp_path / "link.json").symlink_to("second.json")
    write_json(tmp_path / "link.json", [1])
    assert os.readlink(tmp_path / "link.json") == "second.json"
    assert os.readlink(tmp_path / "second.json") == "there/real.json"
    assert json.loads((tmp_path / "there" / "real.json").read_text()) == [1]
    assert os.listdir(tmp_path / "there") == ["real.json"]


def test_a_link_to_a_file_that_is_not_there_makes_it(tmp_path):
    (tmp_path / "link.json").symlink_to("real.json")
    write_json(tmp_path / "link.json", [1])
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text()) == [1]


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


# Streams.


def test_what_is_a_stream_and_what_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for name, leads in {"to-file": "file", "to-pipe": "pipe", "to-null": "/dev/null"}.items():
        (tmp_path / name).symlink_to(leads)
    (tmp_path / "to-stdout").symlink_to("/dev/stdout")
    streams = ["pipe", "to-pipe", "to-null", "to-stdout", "/dev/null", "/dev/stdout", "/dev/fd/1"]
    streams += ["/proc/self/fd/1", f"/proc/{os.getpid()}/fd/1", "/proc/thread-self/fd/1"]
    files = ["file", "to-file", "missing", ".", "a\0b", "x" * 300, "file/x"]
    assert [name for name in [*streams, *files] if is_stream(tmp_path / name)] == streams


def test_a_file_that_is_open_already_is_written_where_it_stands(tmp_path):
    """As `clipcli … -o /dev/stdout >> file` means it: not from its start, nor in its place."""
    with (tmp_path / "file").open("w+b") as file:
        file.write(b"before\n")
        file.flush()
        name = Path(f"/dev/fd/{file.fileno()}")
        with OutputFile(name) as content:
            content.write_text("whole\n")
        with open_stream(name) as stream:
            stream.write(b"as it comes\n")
        file.write(b"after\n")
    assert (tmp_path / "file").read_text() == "before\nwhole\nas it comes\nafter\n"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_pipe_is_given_the_whole_content_or_nothing(tmp_path, monkeypatch, fails):
    spare = tmp_path / "spare"
    spare.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spare))
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with suppress(KeyError), OutputFile(tmp_path / "pipe") as content:
        content.write_text("whole")
        if fails:
            raise KeyError
    assert os.read(reader, 99) == (b"" if fails else b"whole")
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    assert os.listdir(spare) == []


def test_a_full_device_is_named_and_stays(tmp_path):
    told = r"^cannot write /dev/full \(No space left on device\): make room there, or name"
    with pytest.raises(ClipcliError, match=told):
        write_json(Path("/dev/full"), {})
    assert Path("/dev/full").is_char_device()


# What is refused before a run.


def refused(tmp_path: Path, name: str) -> Path:
    """A name that nothing can be written to, and what it stands for."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    (tmp_path / "away").symlink_to("no/where")
    return tmp_path / name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("folder", r"\(a folder\): name a file"),
        ("no/file", r"\(there is no folder .*no\)"),
        ("away", r"\(there is no folder .*no\)"),
        ("file/x", r"\(there is no folder|\(Not a directory\)"),
        ("one", r"\(a link that leads nowhere\)|\(Too many levels"),
        ("x" * 300, r"\(File name too long\)"),
        ("/dev/fd/99", r"\(Bad file descriptor\)"),
        ("file", r"exists already: --resume goes on, --force replaces it"),
    ],
)
def test_what_cannot_be_written_is_told_before_the_run(tmp_path, name, reason):
    file = refused(tmp_path, name)
    with pytest.raises(UsageError, match=f"^(cannot write )?-o .*{reason}"):
        check_output(f"-o {file}", file, may_be_there=False, ways_on="--resume goes on, ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write")
def test_a_device_that_may_not_be_written_is_told_before_the_run(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o400)
    with pytest.raises(UsageError, match="Permission denied"):
        check_output("-o pipe", tmp_path / "pipe", may_be_there=True)


def test_two_outputs_are_not_one_file_by_whatever_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("link.html").symlink_to("a.html")
    for one, other in [("a.html", "./a.html"), ("link.html", "a.html"), ("a.html", "link.html")]:
        named = {"--report": one, "-o": None, "--json": other}
        with pytest.raises(UsageError, match=r"^--report and --json name the same file: name"):
            check_outputs(Outputs(named, named))
    for beside in ("a.html", "./a.html", "link.html"):
        with pytest.raises(UsageError, match=r"--report a\.html is a file of the run's own"):
            check_outputs(Outputs({"--report": "a.html"}, (), beside=[beside]))
    check_outputs(Outputs({"--report": "/dev/null", "--json": "/dev/null"}, ()))


def test_a_name_that_is_no_link_stays_as_the_user_gave_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "to").symlink_to(".")
    assert behind_links(Path("to/a.json")) == Path("to/a.json")


def test_a_reader_that_goes_away_ends_a_stream_as_a_broken_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; open(sys.argv[1], 'rb').close()", tmp_path / "pipe"]
    ) as reader:
        stream = open_stream(tmp_path / "pipe")
        reader.wait()
    with pytest.raises(BrokenPipeError):
        stream.write(bytes(1 << 20))
    with suppress(BrokenPipeError):
        stream.close()
