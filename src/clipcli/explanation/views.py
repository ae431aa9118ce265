"""Maps of what a model sees, brought back onto the whole picture."""

from __future__ import annotations

import numpy as np
from PIL import Image

from clipcli.arrays import Float64
from clipcli.images.views import View


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
