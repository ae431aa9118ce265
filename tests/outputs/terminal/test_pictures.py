"""Pictures as terminals draw them: what is written is taken apart again."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from clipcli.outputs.terminal.pictures import Box, Graphics, beside, draw

RED, BLUE = (250, 0, 0), (0, 0, 250)
BLOCKS = [Graphics.TRUE_COLOR, Graphics.COLORS_256]
PIXELS = [Graphics.KITTY, Graphics.ITERM2, Graphics.SIXEL]


def red_over_blue(width: int = 40, height: int = 40) -> Image.Image:
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (0, height // 2, width, height))
    return image


def sixel_pixels(text: str) -> np.ndarray:
    """An image as a sixel terminal would draw it, by DEC's rules, shape (height, width, 3)."""
    size, body = re.fullmatch(r'\x1bPq"1;1;(\d+;\d+)((?s:.*))\x1b\\', text).groups()
    width, height = map(int, size.split(";"))
    image = np.full((-(-height // 6) * 6, width, 3), -1)
    colors: dict[str, list[int]] = {}
    color, x, top = [0, 0, 0], 0, 0
    for sign, number, rgb, count, cell in re.findall(
        r"([$-])|#(\d+)(?:;2;(\d+;\d+;\d+))?|(?:!(\d+))?([?-~])", body
    ):
        if sign:
            x, top = 0, top + 6 * (sign == "-")
        elif rgb:
            colors[number] = [round(int(share) * 2.55) for share in rgb.split(";")]
        elif number:
            color = colors[number]
        else:
            start, x = x, x + int(count or 1)
            for row in range(6):
                if (ord(cell) - 63) >> row & 1:
                    image[top + row, start:x] = color
    return image[:height]


def png_of(graphics: Graphics, text: str) -> Image.Image:
    if graphics is Graphics.KITTY:
        parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text)
        assert "".join(f"\x1b_G{keys};{data}\x1b\\" for keys, data in parts) == text
        assert all(len(data) <= 4096 for _, data in parts)
        assert [keys[-3:] for keys, _ in parts] == ["m=1"] * (len(parts) - 1) + ["m=0"]
        assert "a=T,f=100,q=2,C=1,c=8,r=4," in parts[0][0]
        data = base64.b64decode("".join(data for _, data in parts))
    else:
        keys, encoded = re.fullmatch(r"\x1b\]1337;File=([^:]*):([^\x07]*)\x07", text).groups()
        data = base64.b64decode(encoded)
        assert f"size={len(data)};width=8;height=4" in keys
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("graphics", [Graphics.KITTY, Graphics.ITERM2])
@pytest.mark.parametrize("noise", [False, True])
def test_kitty_and_iterm2_get_a_png(graphics, noise):
    image = red_over_blue(80, 80)
    if noise:  # too much for one chunk
        pixels = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
        image = Image.fromarray(pixels)
    drawing = draw(image, Box(8, 10), graphics)
    assert (drawing.columns, drawing.rows, drawing.cells) == (8, 4, ())
    shown = png_of(graphics, drawing.pixels)
    assert shown.size == (80, 80)
    assert np.array_equal(np.asarray(shown), np.asarray(image))


@pytest.mark.parametrize("height", [40, 36])
def test_sixel_terminals_get_the_picture_in_bands_of_six_rows(height):
    drawing = draw(red_over_blue(40, height), Box(4, 2), Graphics.SIXEL)
    pixels = sixel_pixels(drawing.pixels)
    middle = len(pixels) // 2
    assert pixels.shape == (40, 40, 3)
    assert np.abs(pixels[: middle - 3] - RED).max() <= 3
    assert np.abs(pixels[middle + 3 :] - BLUE).max() <= 3


def test_a_photo_keeps_its_colours_in_sixels(photos):
    with Image.open(photos / "coffee.png") as photo:
        image = photo.convert("RGB").resize((120, 80))
    pixels = sixel_pixels(draw(image, Box(12, 4), Graphics.SIXEL).pixels)
    assert pixels.min() >= 0  # no pixel is left out
    assert np.abs(pixels - np.asarray(image, int)).mean() < 8


@pytest.mark.parametrize(
    ("graphics", "red", "blue"),
    [
        (Graphics.TRUE_COLOR, "2;250;0;0", "2;0;0;250"),
        (Graphics.COLORS_256, "5;196", "5;21"),
    ],
)
def test_a_half_block_is_two_pixels(graphics, red, blue):
    drawing = draw(red_over_blue(), Box(4, 1), graphics)
    assert (drawing.columns, drawing.rows) == (2, 1)
    assert drawing.cells == (f"\x1b[38;{red};48;{blue}m▀" * 2 + "\x1b[0m",)


@pytest.mark.parametrize(
    ("color", "code"),
    [((0, 0, 0), 16), ((128, 128, 128), 244), ((255, 255, 255), 231), ((95, 135, 215), 68)],
)
def test_256_colours_are_the_nearest(color, code):
    (cells,) = draw(Image.new("RGB", (1, 1), color), Box(1, 1), Graphics.COLORS_256).cells
    assert cells == f"\x1b[38;5;{code};48;5;{code}m▀\x1b[0m"


@pytest.mark.parametrize(
    ("size", "box", "cells"),
    [
        ((100, 100), Box(20, 20), (20, 10)),
        ((100, 100), Box(80, 5), (10, 5)),
        ((1, 10_000), Box(24, 8), (1, 8)),
        ((10_000, 1), Box(24, 8), (24, 1)),
        ((100, 100), Box(20, 20, (10, 10)), (20, 20)),
    ],
)
def test_a_picture_keeps_its_shape_in_its_box(size, box, cells):
    assert box.fitted(size) == cells


@pytest.mark.parametrize("graphics", BLOCKS)
def test_lines_stand_beside_half_blocks(graphics):
    drawing = draw(red_over_blue(), Box(4, 2), graphics)
    text = beside(drawing, ["one", "", "three"], 80)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert plain == "▀▀▀▀  one\n▀▀▀▀\n      three\n"


@pytest.mark.parametrize("graphics", PIXELS)
def test_room_is_made_before_the_terminal_draws(graphics):
    drawing = draw(red_over_blue(), Box(4, 2), graphics)
    text = beside(drawing, ["one", "two", "three"], 80)
    before, pixels, after = re.fullmatch(r"(?s)(.*)\x1b7(.*)\x1b8(.*)", text).groups()
    assert before == "\n\n\n\x1b[3A"
    assert pixels == drawing.pixels
    assert after == "\x1b[6Cone\n\x1b[6Ctwo\n\x1b[6Cthree\n"


@pytest.mark.parametrize(("columns", "is_beside"), [(12, True), (11, False)])
def test_lines_that_a_terminal_has_no_room_for_stand_under_the_picture(columns, is_beside):
    drawing = draw(red_over_blue(), Box(4, 2), Graphics.TRUE_COLOR)
    text = beside(drawing, ["\x1b[1mwide寿\x1b[0m"], columns)
    assert text.splitlines()[0].endswith("\x1b[1mwide寿\x1b[0m") is is_beside
    assert text.endswith("wide寿\x1b[0m\n") is not is_beside
