"""The command line as a report shows it: for a shell to take, and without passwords."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess

import pytest

from clipcli.cli.running.command_line import command_line


@pytest.mark.parametrize(
    "word",
    [
        *("--proxy=http://me:geheim@host:80", "http://me:geheim@host:80", "https://geheim@host/x"),
        *(
            "HTTPS://me:geheim@host/x.jpg?a=b",
            "http://me:ge/he?im#geheim@host",
            "http:/me:geheim@h",
        ),
        *(" http://me:geheim@host", "http:me:geheim@host", "ftp://me:geheim@host/cat.jpg"),
        *("--proxy=http://a:geheim@b@host", "-ohttp://me:geheim@host", "me:geheim@host"),
        *("see http://me:geheim@host and http://you:geheim@other/", "http://me:geheim\x1b@host"),
        *("http:\\\\me:geheim@host", "socks5h://me:geheim@host", "http://me:geheim@host/a@b"),
    ],
)
def test_no_password_is_shown_wherever_an_address_stands(word):
    shown = command_line(["--proxy", word, "cat.jpg"])
    assert "geheim" not in shown
    assert "***@" in shown
    assert shown.startswith("clipcli --proxy ")
    assert shown.endswith(" cat.jpg")


def test_what_comes_before_and_behind_a_password_stays():
    words = ["--proxy=http://me:geheim@host:8080", "https://a:b@example.org/cat.jpg?x=1"]
    assert shlex.split(command_line(words)) == [
        *("clipcli", "--proxy=http://***@host:8080", "https://***@example.org/cat.jpg?x=1")
    ]


def test_a_file_whose_name_looks_like_an_address_keeps_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "to:me@home.jpg").write_bytes(b"")
    assert command_line(["to:me@home.jpg"]) == "clipcli to:me@home.jpg"


WORDS = (
    *(
        "cat.jpg",
        "-l",
        "a photo of a {}",
        "it's",
        'say "hi"',
        "$HOME",
        "`id`",
        "*",
        "",
        "--",
        "a;b",
    ),
    *("line\nbreak", "\x1b[31m", "back\\slash\t'quoted'", "\u202egnp", "\xe9", "caf\xe9\n"),
    *("undecodable\udcff0", "https://example.org/@name/cat.jpg", "me@example.org", "12:30"),
)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_reads_the_line_as_it_was_given(shell):
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"needs {shell}")
    line = command_line(WORDS)
    assert line.isprintable()
    script = "clipcli() { printf '%s\\0' \"$@\"; }\n" + line
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [found, "-c", script], stdout=subprocess.PIPE, env=environment, check=True
    )
    assert done.stdout.split(b"\0")[:-1] == [*map(os.fsencode, WORDS)]


def test_a_long_line_tells_how_much_is_left_out():
    words = [f"{place}.jpg" for place in range(10_000)]
    shown = command_line(words).split(" ")
    assert shown[:3] == ["clipcli", "0.jpg", "1.jpg"]
    assert shown[-1] == "9999.jpg"
    assert "[… 9,920 more …]" in " ".join(shown)
    assert len(shown) < 100
    assert "more" not in command_line(words[:80])
