"""The fixed images and prompts on which a prepared model must agree with torch."""

from __future__ import annotations

import numpy as np

from clipcli.arrays import Float32
from clipcli.assets import asset, preset
from clipcli.images.decoding import open_image, preprocess
from clipcli.images.options import ImageOptions
from clipcli.images.preprocessing import PreprocessConfig

_PHOTOS = ("chelsea", "coffee", "rocket")
_CROPS_A_SIDE = 4
_PROMPTS = 80


def check_images(config: PreprocessConfig) -> Float32:
    """Three photos in 16 overlapping crops each, preprocessed: shape (48, 3, height, width)."""
    options = ImageOptions()
    pixels = []
    for name in _PHOTOS:
        photo = open_image(asset("check", f"{name}.jpg").read_bytes(), options)
        # Crops of one photo are near each other: a harder test of the order than other photos.
        # Half the photo's size, moved in even steps over the whole of it.
        width, height = photo.width // 2, photo.height // 2
        for step in range(_CROPS_A_SIDE**2):
            row, column = divmod(step, _CROPS_A_SIDE)
            left = column * width // (_CROPS_A_SIDE - 1)
            top = row * height // (_CROPS_A_SIDE - 1)
            crop = photo.crop((left, top, left + width, top + height))
            pixels.append(preprocess(crop, config, options))
    return np.stack(pixels)


def check_prompts() -> list[str]:
    """80 prompts: each of OpenAI's 80 templates with another ImageNet label."""
    labels, templates = preset("labels", "imagenet"), preset("templates", "openai80")
    step = len(labels) // _PROMPTS
    return [
        template.replace("{}", labels[position * step])
        for position, template in enumerate(templates)
    ]
