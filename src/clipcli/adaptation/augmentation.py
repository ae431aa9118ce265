"""Pictures as training sees them: random parts, mirrored or not, of the model's size."""

from __future__ import annotations

from math import exp, log, sqrt

import numpy as np
from PIL import Image

from clipcli.arrays import Float32
from clipcli.images.decoding import as_seen
from clipcli.images.preprocessing import PreprocessConfig, normalised, resampling

# As CLIP-LoRA's RandomResizedCrop: of the picture's area, and width to height.
_SHARES = (0.08, 1.0)
_NARROWEST, _WIDEST = 3 / 4, 4 / 3
_TRIES = 10

# A part of a quarter of the area is then still as large as the model wants it.
_KEPT_SIDES = 2

Box = tuple[int, int, int, int]


def kept_picture(image: Image.Image, config: PreprocessConfig) -> Image.Image:
    """A picture to learn from, upright and in RGB, no larger than random parts of it need.

    Args:
        image: open.
        config: of the model.

    Raises:
        InputError: damaged, or of numbers whose range is not evident.
    """
    seen = as_seen(image)
    ratio = _KEPT_SIDES * max(config.size) / min(seen.size)
    if ratio >= 1:
        return seen
    size = (max(1, round(seen.width * ratio)), max(1, round(seen.height * ratio)))
    return seen.resize(size, resampling(config))


def random_view(
    image: Image.Image, config: PreprocessConfig, random: np.random.Generator
) -> Float32:
    """A random part of a picture, mirrored half of the time: pixels (3, height, width).

    Args:
        image: in RGB.
        config: of the model.
        random: decides.
    """
    box = random_box(image.size, random)
    height, width = config.size
    view = image.resize((width, height), resampling(config), box=box)
    if random.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return normalised(view, config)


def random_box(size: tuple[int, int], random: np.random.Generator) -> Box:
    """A random part of 8 to 100 % of an image's area, its sides at most 4 to 3.

    Drawn as by torchvision's RandomResizedCrop (Szegedy et al. 2015, 1409.4842, section 6), which
    takes the largest part in the middle of such sides where ten tries do not fit.

    Args:
        size: width and height.
        random: decides.

    Returns:
        Left, top, right, bottom.
    """
    width, height = size
    for _ in range(_TRIES):
        area = width * height * random.uniform(*_SHARES)
        ratio = exp(random.uniform(log(_NARROWEST), log(_WIDEST)))
        across, down = round(sqrt(area * ratio)), round(sqrt(area / ratio))
        if 0 < across <= width and 0 < down <= height:
            left = int(random.integers(width - across + 1))
            top = int(random.integers(height - down + 1))
            return left, top, left + across, top + down
    across = min(width, max(1, round(height * _WIDEST)))
    down = min(height, max(1, round(width / _NARROWEST)))
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down
