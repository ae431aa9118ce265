"""Explanations on a terminal: a coarse map for each label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from clipcli.explanation.explain import Explanation, HeatMap
from clipcli.explanation.heatmaps import figure, overlay
from clipcli.explanation.views import on_picture
from clipcli.outputs.terminal.pictures import Box, Graphics, draw
from clipcli.outputs.terminal.screens import Screen
from clipcli.printable import printable, shortened, width

_GAP = "  "
# Three side by side on 80 columns; a map has no more to show.
_PANEL = Box(25, 12)
_FIGURE_COLUMNS, _FIGURE_ROWS = 110, 30
_PLAIN_COLUMNS = 80

_UNSEEN = " "
_SHADES = "·░▒▓█"


def terminal_maps(explanation: Explanation, screen: Screen | None) -> str:
    """The maps of an explanation: in pixels, in coloured half blocks, or in characters.

    Args:
        explanation: to be shown.
        screen: what the terminal can; None for plain text.

    Returns:
        Text that ends with a line end.
    """
    if screen is not None and screen.graphics not in (
        Graphics.TRUE_COLOR,
        Graphics.COLORS_256,
    ):
        box = Box(min(_FIGURE_COLUMNS, screen.columns), _FIGURE_ROWS, screen.cell)
        return draw(figure(explanation), box, screen.graphics).text() + _empty(explanation)
    columns = _PLAIN_COLUMNS if screen is None else screen.columns
    panels = [_panel(explanation, heat_map, screen) for heat_map in explanation.maps]
    in_a_row = max(1, (columns + len(_GAP)) // (len(_GAP) + _PANEL.columns))
    starts = range(0, len(panels), in_a_row)
    rows = ["\n".join(_side_by_side(panels[start : start + in_a_row])) for start in starts]
    text = "\n\n".join(rows) + "\n" + _empty(explanation)
    # Colours explain themselves beside a picture; characters do not.
    return (
        text if screen else f"{text}{_SHADES[0]} little {_SHADES[-1]} most speaks for the label\n"
    )


def _empty(explanation: Explanation) -> str:
    """A line for each map in which there is nothing to see: that is no fault of the terminal."""
    return "".join(
        f"nothing in the picture speaks for {printable(heat_map.label)!r}\n"
        for heat_map in explanation.maps
        if heat_map.is_empty
    )


def _panel(explanation: Explanation, heat_map: HeatMap, screen: Screen | None) -> list[str]:
    """A line with label and probability, and the map under it."""
    probability = f"{heat_map.probability:.4f}"
    room = _PANEL.columns - len(probability) - 1
    # A label from a stranger's file may be of any length, and holds whatever it likes.
    title = f"{shortened(printable(heat_map.label), room)} {probability}"
    title += " " * (_PANEL.columns - width(title))
    if screen is None:
        return [title, *_characters(explanation, heat_map)]
    image = overlay(explanation.picture, heat_map, explanation.view)
    box = Box(_PANEL.columns, _PANEL.rows, screen.cell)
    drawing = draw(image, box, screen.graphics)
    missing = " " * (_PANEL.columns - drawing.columns)
    return [title, *(cells + missing for cells in drawing.cells)]


def _characters(explanation: Explanation, heat_map: HeatMap) -> Iterator[str]:
    """The fuller a character, the more its place speaks for the label; blank is not seen."""
    columns, rows = _PANEL.fitted(explanation.picture.size)
    heat = heat_map.shares(on_picture(heat_map.values, explanation.view, (columns, rows)))
    seen = on_picture(np.ones((1, 1)), explanation.view, (columns, rows)) > 0
    steps = np.minimum(heat * len(_SHADES), len(_SHADES) - 1).astype(int)
    for row, row_seen in zip(steps.tolist(), seen.tolist(), strict=True):
        line = "".join(
            _SHADES[step] if is_seen else _UNSEEN
            for step, is_seen in zip(row, row_seen, strict=True)
        )
        yield line.ljust(_PANEL.columns)


def _side_by_side(panels: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of panels of one height."""
    for lines in zip(*panels, strict=True):
        yield _GAP.join(lines).rstrip(" ")
