"""What a terminal can show, by its name or its answer."""

from __future__ import annotations

import io
import os

import pytest
from terminal import START, Terminal

from clipcli.outputs.terminal import screens as terminals
from clipcli.outputs.terminal.screens import find_screen

FIND = START + (
    "from clipcli.outputs.terminal.screens import find_screen; screen = find_screen(sys.stdout);"
    "print(screen and (screen.graphics.name, screen.columns, screen.cell))"
)
ECHO = FIND + "; print(termios.tcgetattr(1)[3] & (termios.ECHO | termios.ICANON) != 0)"
SIXEL_ANSWER = b"\x1b[?62;4;22c"


@pytest.mark.parametrize(
    ("env", "graphics"),
    [
        ({"TERM": "xterm-kitty"}, "KITTY"),
        ({"TERM": "xterm-ghostty"}, "KITTY"),
        ({"TERM_PROGRAM": "iTerm.app"}, "ITERM2"),
        ({"TERM_PROGRAM": "WezTerm"}, "ITERM2"),
        ({"LC_TERMINAL": "iTerm2"}, "ITERM2"),
        ({"TERM": "linux"}, "COLORS_256"),
        ({"TERM": "tmux-256color", "TERM_PROGRAM": "iTerm.app"}, "COLORS_256"),
        ({"TERM": "screen", "COLORTERM": "truecolor"}, "TRUE_COLOR"),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux-0/default,1,0"}, "COLORS_256"),
    ],
)
def test_a_terminal_that_is_known_by_its_name_is_not_asked(env, graphics):
    terminal = Terminal(SIXEL_ANSWER)
    assert terminal.run(FIND, env=env) == f"('{graphics}', 100, (10, 20))\n"
    assert terminal.asked == 0


@pytest.mark.parametrize(
    ("answer", "graphics"),
    [
        (SIXEL_ANSWER, "SIXEL"),
        (b"\x1b[?4c", "SIXEL"),
        (b"\x1b[?62;22;44c", "COLORS_256"),
        (b"", "COLORS_256"),
        (b"ls -l\r", "COLORS_256"),
    ],
)
def test_another_terminal_is_asked_once_and_left_as_it_was(answer, graphics):
    terminal = Terminal(answer)
    shown = terminal.run(ECHO)
    assert terminal.asked == 1
    # The answer is not echoed, and echo is on again.
    assert shown == f"\x1b[c('{graphics}', 100, (10, 20))\nTrue\n"


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_no_picture_where_there_are_no_colours(env):
    terminal = Terminal(SIXEL_ANSWER)
    assert terminal.run(FIND, env=env) == "None\n"
    assert terminal.asked == 0


def test_a_job_in_the_background_asks_nothing():
    behind = "import os, sys; os.setpgid(0, 0); " + FIND.removeprefix(START)
    program = START + f"import subprocess; subprocess.run([sys.executable, '-c', {behind!r}])"
    terminal = Terminal(SIXEL_ANSWER)
    assert terminal.run(program) == "('COLORS_256', 100, (10, 20))\n"
    assert terminal.asked == 0


@pytest.mark.parametrize("pieces", [[b"\x1b[?6", b"2;4c"], [b"\x1b[", b"?6", b"2;4;22c"]])
def test_an_answer_may_come_in_pieces(monkeypatch, pieces):
    monkeypatch.setattr("clipcli.outputs.terminal.screens._readable", lambda _file, _seconds: True)
    monkeypatch.setattr(
        "clipcli.outputs.terminal.screens.os.read", lambda _file, _count: pieces.pop(0)
    )
    assert terminals._answer(0).split(b";")[:2] == [b"62", b"4"]


def test_a_terminal_that_is_closed_is_not_waited_for(monkeypatch):
    monkeypatch.setattr("clipcli.outputs.terminal.screens._readable", lambda _file, _seconds: True)
    monkeypatch.setattr("clipcli.outputs.terminal.screens.os.read", lambda _file, _count: b"")
    assert terminals._answer(0) == b""


def test_true_colour_is_told_by_the_environment():
    assert "TRUE_COLOR" in Terminal().run(FIND, env={"COLORTERM": "truecolor"})


def test_the_size_of_a_cell_is_what_the_terminal_says():
    size = "import os, struct; pixels = struct.pack('HHHH', 40, 100, 900, 720); "
    size += "fcntl.ioctl(1, termios.TIOCSWINSZ, pixels); "
    shown = Terminal().run(START + size + FIND.removeprefix(START), env={"TERM": "xterm-kitty"})
    assert shown == "('KITTY', 100, (9, 18))\n"


def test_what_is_no_terminal_shows_no_picture(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-kitty")
    with open(os.devnull, encoding="utf-8") as file:
        for stream in (io.StringIO(), file):
            assert find_screen(stream) is None
