"""Which part of a picture a model sees, and maps brought back onto the whole picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from clipcli.arrays import Float64
from clipcli.images.preprocessing import PreprocessConfig, resized_size


@dataclass(frozen=True)
class View:
    """The part of a picture that the model's square shows.

    In shares of the picture's width and height, from its top left corner: the whole is 0, 0, 1, 1.
    Where the model gets a border beside the picture, the view reaches beyond them.
    """

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def of(cls, size: tuple[int, int], config: PreprocessConfig) -> View:
        """What is left of a picture after the resize and the crop of `preprocessing.fit`.

        Args:
            size: width and height of the picture, upright.
            config: of the model.
        """
        width, height = resized_size(size, config)
        left, right = _cut(width, config.size[1])
        top, bottom = _cut(height, config.size[0])
        return cls(left, top, right, bottom)


def _cut(length: int, target: int) -> tuple[float, float]:
    """The centre of so many pixels of a side, rounded as `fit` does, in shares of the side."""
    missing = max(0, target - length)
    start = round((length + missing - target) / 2.0) - missing // 2
    return start / length, (start + target) / length


def on_picture(values: Float64, view: View, size: tuple[int, int]) -> Float64:
    """A map of the model's square, on the picture.

    Args:
        values: shape (rows, columns), over the view.
        view: which part of the picture they are of.
        size: width and height of the picture, in whatever resolution it is shown.

    Returns:
        Shape (height, width), interpolated; zeros where the model does not look.
    """
    rows, columns = values.shape
    across = columns / (view.right - view.left)
    down = rows / (view.bottom - view.top)
    # Pillow maps each pixel of the result to a place in the map: x' = a x + b y + c.
    matrix = (across / size[0], 0, -view.left * across, 0, down / size[1], -view.top * down)
    # Pillow's float mode: eight bits would round maps of small differences away.
    small = Image.fromarray(values.astype(np.float32))
    whole = small.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    return np.asarray(whole, np.float64)
