"""Explanations as pictures: an overlay for each label, and all of them side by side."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from clipcli.arrays import Float64
from clipcli.disk.atomic import NewFile, open_own
from clipcli.disk.outputs import OutputFile
from clipcli.errors import ClipcliWarning
from clipcli.explanation.explain import FAINTEST, Explanation, HeatMap
from clipcli.explanation.names import FIGURE_FILE, file_name
from clipcli.explanation.views import on_picture
from clipcli.images.views import UNSEEN_LIGHT, View
from clipcli.printable import printable

Color = tuple[int, int, int]

# Larger pictures are drawn smaller: a map of ten places a side has no more to show.
_LONGEST_SIDE = 1024
# The picture stays visible under the strongest heat.
_STRONGEST = 0.8

# "Inferno" by Nathaniel J. Smith and Stefan van der Walt (CC0), from its second fifth on: evenly
# growing lightness, told apart by the colour-blind, too, and never as dark as the grey below.
_PALETTE = np.array(
    [
        *((85, 15, 109), (136, 34, 106), (186, 54, 85), (227, 89, 51)),
        *((249, 140, 10), (249, 201, 50), (252, 255, 164)),
    ],
    np.float64,
)

_PANEL_WIDTH, _PANEL_HEIGHT = 300, 340
_PANELS_IN_A_ROW = 4
_GAP, _CAPTION, _LEGEND = 16, 46, 40
_TEXT_SIZE = 18
# No font has a letter for it: it is drawn as what stands for letters that a font has not.
_NO_CHARACTER = "\U0010ffff"
_INK: Color = (32, 32, 32)
_PAPER: Color = (255, 255, 255)


def overlay(picture: Image.Image, heat_map: HeatMap, view: View) -> Image.Image:
    """A picture in grey, with a label's map in colours upon it.

    The more a place speaks for the label, the brighter and the less transparent its colour. What
    speaks against the label has no colour.

    Args:
        picture: RGB.
        heat_map: of one label.
        view: the part of the picture that the model sees; the rest is dark.

    Returns:
        An RGB image of at most 1024 pixels a side.
    """
    picture = _shrunk(picture)
    heat = heat_map.shares(on_picture(heat_map.values, view, picture.size))
    grey = np.asarray(picture.convert("L"), np.float64)[:, :, None]
    seen = on_picture(np.ones((1, 1)), view, picture.size)[:, :, None]
    grey = grey * (UNSEEN_LIGHT + (1 - UNSEEN_LIGHT) * seen)
    opacity = _STRONGEST * np.clip((heat - FAINTEST) / (1 - FAINTEST), 0, 1)[:, :, None] ** 0.7
    mixed = grey * (1 - opacity) + colors(heat) * opacity
    return Image.fromarray(mixed.round().astype(np.uint8))


def colors(heat: Float64) -> Float64:
    """RGB colours of shares: shape (...) to (..., 3), 0..255."""
    stops = np.linspace(0, 1, len(_PALETTE))
    return np.stack([np.interp(heat, stops, channel) for channel in _PALETTE.T], axis=-1)


def figure(explanation: Explanation) -> Image.Image:
    """The picture and the overlay of each label side by side, with names and probabilities."""
    panels = list(_panels(explanation))
    columns = min(len(panels), _PANELS_IN_A_ROW)
    width, height = _panel_size(panels[0].image.size)
    rows = -(-len(panels) // columns)
    size = (
        _GAP + columns * (width + _GAP),
        _GAP + rows * (height + _CAPTION + _GAP) + _LEGEND,
    )
    sheet = Image.new("RGB", size, _PAPER)
    for place, panel in enumerate(panels):
        row, column = divmod(place, columns)
        corner = _GAP + column * (width + _GAP), _GAP + row * (height + _CAPTION + _GAP)
        _draw_panel(sheet, panel, corner, (width, height))
    _draw_legend(sheet)
    return sheet


def write(target: Path, explanation: Explanation) -> list[Path]:
    """Write the overlay of each label, and the figure, as PNG files; or the figure alone.

    Files of an earlier explanation that have the same names are replaced.

    Args:
        target: a folder that is there; anything else is the figure's file.
        explanation: to be drawn.

    Returns:
        The files, the figure last.

    Raises:
        OSError: one cannot be written.
    """
    if not target.is_dir():
        _save(figure(explanation), OutputFile(target))
        _warn_of_boxes(target, explanation, "")
        return [target]
    files = []
    for rank, heat_map in enumerate(explanation.maps, 1):
        files.append(target / file_name(rank, heat_map.label))
        _save(overlay(explanation.picture, heat_map, explanation.view), NewFile(files[-1]))
    files.append(target / FIGURE_FILE)
    _save(figure(explanation), NewFile(files[-1]))
    _warn_of_boxes(files[-1], explanation, ": the other files' names have them")
    return files


def _save(image: Image.Image, file: NewFile) -> None:
    with file as beside, open_own(beside, "wb") as stream:
        image.save(stream, "PNG")


def _warn_of_boxes(file: Path, explanation: Explanation, way_out: str) -> None:
    if not all(_has_letters(printable(heat_map.label)) for heat_map in explanation.maps):
        text = f"captions of {file.name} show boxes for letters that the built-in font has not"
        warnings.warn(text + way_out, ClipcliWarning, stacklevel=3)


@dataclass(frozen=True)
class _Panel:
    image: Image.Image
    title: str
    subtitle: str


def _panels(explanation: Explanation) -> Iterator[_Panel]:
    yield _Panel(_shrunk(explanation.picture), "picture", "")
    for heat_map in explanation.maps:
        image = overlay(explanation.picture, heat_map, explanation.view)
        empty = "  nothing speaks for it" if heat_map.is_empty else ""
        yield _Panel(image, printable(heat_map.label), f"{heat_map.probability:.4f}{empty}")


def _panel_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of a picture in its panel; small ones are enlarged."""
    scale = min(_PANEL_WIDTH / size[0], _PANEL_HEIGHT / size[1])
    # Below this there would be no room for the caption.
    return max(_PANEL_WIDTH // 2, round(size[0] * scale)), max(1, round(size[1] * scale))


def _draw_panel(
    sheet: Image.Image, panel: _Panel, corner: tuple[int, int], size: tuple[int, int]
) -> None:
    left, top = corner
    sheet.paste(panel.image.resize(size, Image.Resampling.LANCZOS), corner)
    font = ImageFont.load_default(_TEXT_SIZE)
    draw = ImageDraw.Draw(sheet)
    title = _fitting(panel.title, font, size[0])
    draw.text((left, top + size[1] + 4), title, _INK, font)
    draw.text((left, top + size[1] + 4 + _TEXT_SIZE + 2), panel.subtitle, _INK, font)


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Text that is no wider than so many pixels; where some is cut off, it ends with dots."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _has_letters(text: str) -> bool:
    """Whether Pillow's own font, which is Latin, can show all of a text."""
    font = ImageFont.load_default(_TEXT_SIZE)
    box = bytes(font.getmask(_NO_CHARACTER))
    return not any(bytes(font.getmask(letter)) == box for letter in text if not letter.isspace())


def _draw_legend(sheet: Image.Image) -> None:
    """What the colours mean."""
    font = ImageFont.load_default(_TEXT_SIZE - 4)
    draw = ImageDraw.Draw(sheet)
    middle = sheet.height - _LEGEND // 2 - 4
    bar = colors(np.tile(np.linspace(0, 1, 100), (12, 1))).round().astype(np.uint8)
    before, after = "speaks for the label: little", "most"
    draw.text((_GAP, middle), before, _INK, font, anchor="lm")
    left = _GAP + round(font.getlength(before)) + 8
    sheet.paste(Image.fromarray(bar), (left, middle - 6))
    draw.text((left + 108, middle), after, _INK, font, anchor="lm")


def _shrunk(picture: Image.Image) -> Image.Image:
    picture = picture.copy()
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return picture
