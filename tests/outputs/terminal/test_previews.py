"""Pictures beside results: whose they are, and where there are none."""

from __future__ import annotations

import io
import re

import pytest
from command import Command
from PIL import Image
from terminal import CLIPCLI, Terminal

from clipcli.outputs.terminal.pictures import Graphics
from clipcli.outputs.terminal.previews import Previews
from clipcli.outputs.terminal.screens import Screen

LINE = ("--preview", "-l", "a photo of a cat", "-l", "a cup of coffee", "--model", "tiny")
SIXEL_ANSWER = b"\x1b[?62;4c"


def jpeg(color: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 16), color).save(file, "JPEG")
    return file.getvalue()


def test_a_picture_is_shown_once_beside_its_own_result():
    previews = Previews(Screen(Graphics.TRUE_COLOR, 80))
    previews.add_thumbnail(8, jpeg("blue"))
    previews.add_thumbnail(7, jpeg("red"))
    assert previews.beside(6, ["six"]) == "six\n"
    first = previews.beside(7, ["seven"]).splitlines()[0]
    assert first.endswith("\x1b[0m  seven")
    assert "\x1b[38;2;254;0;0;" in first
    assert previews.beside(7, ["seven"]) == "seven\n"


def test_a_picture_is_no_wider_than_its_terminal():
    previews = Previews(Screen(Graphics.TRUE_COLOR, columns=10))
    previews.add_thumbnail(0, jpeg("red"))
    assert previews.beside(0, ["text"]).splitlines()[0].count("▀") == 10


def test_each_image_stands_beside_its_bars(photos):
    images = ("chelsea.png", "gone.png", "coffee.png")
    text = Terminal().run(CLIPCLI, *images, *LINE, cwd=photos, code=3)
    plain = re.sub(r"\x1b\[[0-9;]*[mc]", "", text)
    chelsea, coffee = plain.split("\n\n")
    for block, name, best in (
        (chelsea, "chelsea.png", "a photo of a cat"),
        (coffee, "coffee.png", "a cup of coffee"),
    ):
        head, *rows = block.splitlines()
        assert head == name
        assert [row[:24] for row in rows] == ["▀" * 24] * 8
        assert rows[0][26:].startswith(f"  {best}")
        assert rows[2][26:].startswith(f"Best match: {best!r}")


@pytest.mark.parametrize(
    ("terminal", "env", "sign"),
    [
        (Terminal(), {"TERM": "xterm-kitty"}, "\x1b_Ga=T,f=100"),
        (Terminal(), {"TERM_PROGRAM": "iTerm.app"}, "\x1b]1337;File=inline=1"),
        (Terminal(SIXEL_ANSWER), {}, '\x1bPq"1;1;'),
    ],
)
def test_a_terminal_that_draws_gets_pixels(photos, terminal, env, sign):
    text = terminal.run(CLIPCLI, "chelsea.png", *LINE, env=env, cwd=photos)
    assert text.count(sign) == 1
    assert "▀" not in text


@pytest.mark.parametrize(
    ("env", "options"),
    [
        ({"NO_COLOR": "1"}, ()),
        ({"TERM": "dumb"}, ()),
        ({}, ("--no-color",)),
        ({}, ("--format", "jsonl")),
        ({}, ("-o", "results.tsv")),
    ],
)
def test_no_picture_where_none_is_wanted(photos, tmp_path, env, options):
    terminal = Terminal(SIXEL_ANSWER)
    photo = str(photos / "chelsea.png")
    text = terminal.run(CLIPCLI, photo, *LINE, *options, env=env, cwd=tmp_path)
    assert terminal.asked == 0
    assert "▀" not in text
    assert "\x1bP" not in text


def test_a_report_keeps_its_own_pictures(photos, tmp_path):
    page = tmp_path / "report.html"
    text = Terminal().run(CLIPCLI, "chelsea.png", *LINE, "--report", str(page), cwd=photos)
    assert "▀" in text
    assert "/9j/" in page.read_text(encoding="utf-8")  # how every JPEG begins in base 64


def test_a_pipe_gets_no_picture(clipcli: Command, photos):
    human = clipcli("chelsea.png", *LINE, "--format", "human", cwd=photos)
    assert human.returncode == 0
    assert human.stdout == clipcli("chelsea.png", *LINE[1:], "--format", "human", cwd=photos).stdout
