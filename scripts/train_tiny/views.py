"""Views of a picture: what the network is shown of it."""

import random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from scripts.train_tiny.backbone import IMAGE_SIZE

SMALLEST, LARGEST = 32, 96
"""Shortest sides of the small versions, in pixels."""
VIEWS = ("plain", "varied")


def views(picture: Image.Image, seed: int) -> list[NDArray[np.uint8]]:
    """As the model will see it; and either enlarged from few pixels or a part of it."""
    draw = random.Random(seed)
    picture = picture.convert("RGB")
    varied = smaller(picture, draw) if draw.random() < 0.5 else part(picture, draw)
    return [np.asarray(centre(view)) for view in (picture, varied)]


def smaller(picture: Image.Image, draw: random.Random) -> Image.Image:
    """The picture with a shortest side of 32 to 96 pixels."""
    side = draw.randint(SMALLEST, LARGEST)
    return shortest_side(picture, side) if min(picture.size) > side else picture


def centre(picture: Image.Image) -> Image.Image:
    """Shortest side to 240 pixels, then the middle square: the model's own preprocessing."""
    resized = shortest_side(picture, IMAGE_SIZE)
    left, top = ((side - IMAGE_SIZE) // 2 for side in resized.size)
    return resized.crop((left, top, left + IMAGE_SIZE, top + IMAGE_SIZE))


def shortest_side(picture: Image.Image, side: int) -> Image.Image:
    """The picture resized so that its shortest side has `side` pixels."""
    scale = side / min(picture.size)
    width, height = (max(side, round(length * scale)) for length in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def part(picture: Image.Image, draw: random.Random) -> Image.Image:
    """A part of 55 to 90 % of each side, anywhere, mirrored half the time."""
    share = draw.uniform(0.55, 0.9)
    width, height = (max(1, round(length * share)) for length in picture.size)
    left, top = draw.randint(0, picture.width - width), draw.randint(0, picture.height - height)
    cut = picture.crop((left, top, left + width, top + height))
    return ImageOps.mirror(cut) if draw.random() < 0.5 else cut
