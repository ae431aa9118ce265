"""Pictures on a terminal: as kitty, iTerm2 or sixel terminals draw them, in half blocks elsewhere.

Written by hand: of the libraries that do it, one (term-image) excludes today's Pillow, and one
(textual-image) asks the terminal when it is imported and fails where standard input is a pipe.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import chain, product

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipcli.printable import width

# Half blocks have two pixels in a cell, which is about twice as high as wide.
_HALF_BLOCK = "▀"
_GAP = "  "

CELL = (10, 20)
"""Width and height of a cell where a terminal does not say: the VT340's, where sixel comes from."""

# Sixel has 256 registers at most on a VT340's descendants; a photo of this size needs no more.
_SIXEL_COLORS = 128
# Kitty takes at most so many characters at once.
_KITTY_CHUNK = 4096

_STYLES = re.compile(r"\x1b\[[0-9;]*m")
_SIXEL_RUNS = re.compile(rb"(.)\1{3,}")


class Graphics(Enum):
    """How a terminal shows pictures."""

    # https://sw.kovidgoyal.net/kitty/graphics-protocol/
    KITTY = "kitty"
    # https://iterm2.com/documentation-images.html
    ITERM2 = "iterm2"
    # DEC's, VT330/VT340 Programmer Reference Manual, chapter 14
    SIXEL = "sixel"
    TRUE_COLOR = "true color"
    COLORS_256 = "256 colors"


@dataclass(frozen=True)
class Box:
    """So many cells of a terminal.

    Attributes:
        columns: of the terminal's cells.
        rows: of the same.
        cell: width and height of one in pixels.
    """

    columns: int
    rows: int
    cell: tuple[int, int] = CELL

    def fitted(self, size: tuple[int, int]) -> tuple[int, int]:
        """Columns and rows of the largest picture of so many pixels' shape."""
        # In columns, a row is as high as its cell's shape says.
        shape = self.cell[1] / self.cell[0]
        scale = min(self.columns / size[0], self.rows * shape / size[1])
        return max(1, round(size[0] * scale)), max(1, round(size[1] * scale / shape))


@dataclass(frozen=True)
class Drawing:
    """A picture, ready to be written to a terminal.

    Attributes:
        columns: that it takes.
        rows: of the same.
        cells: a text for each row, in half blocks; empty where the terminal draws.
        pixels: what makes the terminal draw, from the cursor on; empty where there are cells.
    """

    columns: int
    rows: int
    cells: tuple[str, ...] = ()
    pixels: str = ""

    def text(self, lines: Sequence[str] = ()) -> str:
        """The picture, with lines on its right; the text ends with a line end."""
        count = max(len(lines), self.rows)
        padded = [*lines, *[""] * (count - len(lines))]
        if self.cells:
            cells = [*self.cells, *[" " * self.columns] * (count - self.rows)]
            rows = zip(cells, padded, strict=True)
            return "".join(f"{cell}{_GAP}{line}".rstrip(" ") + "\n" for cell, line in rows)
        # Room first: a screen that scrolls under the picture would tear it from its lines. Then
        # the cursor is saved (ESC 7) and restored, as terminals leave it in different places.
        room = "\n" * count + f"\x1b[{count}A"
        step = f"\x1b[{self.columns + len(_GAP)}C"
        texts = "".join(f"{step}{line}\n" if line else "\n" for line in padded)
        return f"{room}\x1b7{self.pixels}\x1b8{texts}"


def draw(image: Image.Image, box: Box, graphics: Graphics) -> Drawing:
    """Make a picture ready for a terminal, as large as it fits into a box.

    Args:
        image: of any mode that converts to RGB.
        box: what it may take, at least one cell.
        graphics: how the terminal shows pictures.
    """
    image = image.convert("RGB")
    columns, rows = box.fitted(image.size)
    if graphics in (Graphics.TRUE_COLOR, Graphics.COLORS_256):
        small = image.resize((columns, 2 * rows), Image.Resampling.BOX)
        return Drawing(columns, rows, cells=tuple(_half_blocks(small, graphics)))
    size = columns * box.cell[0], rows * box.cell[1]
    image = image.resize(size, Image.Resampling.LANCZOS)
    encode = {
        Graphics.KITTY: _kitty,
        Graphics.ITERM2: _iterm2,
        Graphics.SIXEL: _sixel,
    }[graphics]
    return Drawing(columns, rows, pixels=encode(image, columns, rows))


def beside(drawing: Drawing, lines: Sequence[str], columns: int) -> str:
    """Lines with a picture on their left, or above them where a terminal is too narrow.

    Args:
        drawing: the picture.
        lines: with styles, without line ends.
        columns: of the terminal.

    Returns:
        Text that ends with a line end.
    """
    widest = max((width(_STYLES.sub("", line)) for line in lines), default=0)
    if drawing.columns + len(_GAP) + widest > columns:
        return drawing.text() + "".join(f"{line}\n" for line in lines)
    return drawing.text(lines)


def _half_blocks(image: Image.Image, graphics: Graphics) -> Iterator[str]:
    """A text for two rows of pixels: the upper one in the foreground, the lower one behind."""
    colors = _true_colors(image) if graphics is Graphics.TRUE_COLOR else _256_colors(image)
    for upper, lower in zip(colors[::2], colors[1::2], strict=True):
        cells = (
            f"\x1b[38;{above};48;{below}m{_HALF_BLOCK}"
            for above, below in zip(upper, lower, strict=True)
        )
        yield "".join(cells) + "\x1b[0m"


def _true_colors(image: Image.Image) -> list[list[str]]:
    """The colour codes of an image's pixels, row by row."""
    return [[f"2;{red};{green};{blue}" for red, green, blue in row] for row in np.asarray(image)]


def _256_colors(image: Image.Image) -> list[list[str]]:
    """The code of the nearest of xterm's colours from 16 on: 6 x 6 x 6, and 24 greys."""
    levels = (0, 95, 135, 175, 215, 255)
    greys = [(value, value, value) for value in range(8, 248, 10)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*chain(*product(levels, repeat=3), *greys)])
    # Not dithered: among so few pixels that is noise.
    indexed = image.quantize(palette=palette, dither=Image.Dither.NONE)
    return [[f"5;{16 + index}" for index in row] for row in np.asarray(indexed).tolist()]


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _kitty(image: Image.Image, columns: int, rows: int) -> str:
    """PNG data (f=100) shown at once (a=T), without an answer (q=2) or a moved cursor (C=1)."""
    data = base64.b64encode(_png(image)).decode()
    chunks = [data[start : start + _KITTY_CHUNK] for start in range(0, len(data), _KITTY_CHUNK)]
    keys = f"a=T,f=100,q=2,C=1,c={columns},r={rows},"
    parts = []
    for number, chunk in enumerate(chunks, 1):
        parts.append(f"\x1b_G{keys}m={int(number < len(chunks))};{chunk}\x1b\\")
        keys = "q=2,"
    return "".join(parts)


def _iterm2(image: Image.Image, columns: int, rows: int) -> str:
    data = _png(image)
    keys = f"inline=1;size={len(data)};width={columns};height={rows};preserveAspectRatio=1"
    return f"\x1b]1337;File={keys}:{base64.b64encode(data).decode()}\x07"


def _sixel(image: Image.Image, _columns: int, _rows: int) -> str:
    """Bands of six rows, each drawn once for every colour in it."""
    indexed = image.quantize(_SIXEL_COLORS)
    palette = np.array(indexed.getpalette(), np.float64).reshape(-1, 3)
    names = [
        f"#{number};2;{';'.join(map(str, (color / 255 * 100).round().astype(int)))}"
        for number, color in enumerate(palette)
    ]
    pixels = np.asarray(indexed)
    bands = (_band(pixels[top : top + 6]) for top in range(0, len(pixels), 6))
    size = f'"1;1;{image.width};{image.height}'
    return f"\x1bPq{size}{''.join(names)}{'-'.join(bands)}\x1b\\"


def _band(rows: NDArray[np.uint8]) -> str:
    """One band: for each of its colours, a character for each column, whose bits are rows."""
    bits = 1 << np.arange(len(rows), dtype=np.uint8)[:, None]
    parts = []
    for color in np.unique(rows):
        columns = ((rows == color) * bits).sum(axis=0, dtype=np.uint8) + 63
        runs = _SIXEL_RUNS.sub(
            lambda run: b"!%d%s" % (len(run[0]), run[1]), columns.tobytes().rstrip(b"?")
        )
        parts.append(f"#{color}{runs.decode()}")
    return "$".join(parts)
