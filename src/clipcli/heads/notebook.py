"""A prediction as a notebook shows it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from clipcli.printable import printable

_SHOWN = 5
_TRACK = "background:#8884;border-radius:3px;width:16em;height:0.8em"
_BAR = "background:#2a7de1;border-radius:3px;height:100%"


def bars_html(title: str, name: str, scores: Sequence[tuple[str, float, float]]) -> str:
    """A table with a bar for each of the best labels, in the notebook's own colours.

    Args:
        title: of it.
        name: of the picture.
        scores: label, probability and cosine, best first.
    """
    rows = "".join(_row(*score) for score in scores[:_SHOWN])
    more = len(scores) - _SHOWN
    rest = f"<caption style='caption-side:bottom'>and {more:,} more</caption>" if more > 0 else ""
    head = f"<b>{_text(title)}</b> <small>{_text(name)}</small>"
    return f"<div>{head}<table>{rest}{rows}</table></div>"


def _row(label: str, probability: float, similarity: float) -> str:
    width = f"width:{100 * probability:.2f}%"
    bar = f"<div style='{_TRACK}'><div style='{_BAR};{width}'></div></div>"
    figures = f"<td>{probability:.4f}</td><td>cosine {similarity:.2f}</td>"
    return f"<tr><td style='text-align:left'>{_text(label)}</td><td>{bar}</td>{figures}</tr>"


def _text(text: str) -> str:
    return escape(printable(text))
