"""Pictures beside results on a terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

from clipcli.outputs.terminal.pictures import Box, beside, draw
from clipcli.outputs.terminal.screens import Screen

# As high as the usual five bars and what is around them.
_COLUMNS, _ROWS = 24, 8


class Previews:
    """Thumbnails of images that are on their graphics, each shown beside its result.

    Args:
        screen: the terminal.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._box = Box(min(_COLUMNS, screen.columns), _ROWS, screen.cell)
        self._waiting: dict[int, bytes] = {}

    @property
    def wants_large(self) -> bool:
        """No: there are a few hundred pixels beside a result."""
        return False

    def add_thumbnail(self, index: int, jpeg: bytes, _large: bytes = b"") -> None:
        """Keep an image's thumbnail until its result is shown; from any thread."""
        self._waiting[index] = jpeg

    def beside(self, index: int, lines: Sequence[str]) -> str:
        """Lines about an image with its picture on their left, where there is one.

        Args:
            index: of the image.
            lines: with styles, without line ends.

        Returns:
            Text that ends with a line end.
        """
        jpeg = self._waiting.pop(index, None)
        if jpeg is None:
            return "".join(f"{line}\n" for line in lines)
        with Image.open(io.BytesIO(jpeg)) as image:
            drawing = draw(image, self._box, self._screen.graphics)
        return beside(drawing, lines, self._screen.columns)
