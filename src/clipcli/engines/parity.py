"""Whether a prepared model and torch agree on a fixed set of images and prompts.

It is the check that a bundle must pass before it counts.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from clipcli.arrays import Float32
from clipcli.assets import asset, preset
from clipcli.engines.prompts import encode_prompts
from clipcli.errors import ClipcliWarning, ModelError
from clipcli.images.decoding import open_image, preprocess
from clipcli.images.options import ImageOptions
from clipcli.images.preprocessing import PreprocessConfig

if TYPE_CHECKING:
    from clipcli.engines.base import Engine


# A hundred times what rounding makes of it, and far below what changes a probability's third digit.
_LARGEST_DIFFERENCE = 1e-4  # of fp32 embeddings' components
_LEAST_COSINE = 0.99  # of int8 embeddings and torch's
_LEAST_AGREEMENT = 0.98  # share of questions with torch's best prompt
_LABELS_IN_A_QUESTION = 10

_PHOTOS = ("chelsea", "coffee", "rocket")
_CROPS_A_SIDE = 4
_PROMPTS = 80


def check_parity(prepared: Engine, reference: Engine, precision: str) -> dict[str, float]:
    """Compare a prepared model with torch on the check set.

    Args:
        prepared: the model in ONNX Runtime.
        reference: the same in torch.
        precision: of the prepared one, `fp32` or `int8`.

    Returns:
        The largest difference of an embedding's component and the least cosine, for images and
        texts, and the share of questions with the same answer.

    Raises:
        ModelError: they differ by more than they may.
    """
    images = check_images(reference.info.preprocess)
    ours, theirs = prepared.encode_images(images), reference.encode_images(images)
    prompts = check_prompts()
    with warnings.catch_warnings():
        # Not the user's prompts: whether all of their tokens fit is no news.
        warnings.simplefilter("ignore", ClipcliWarning)
        our_text = encode_prompts(prepared, prompts)
        their_text = encode_prompts(reference, prompts)
    parity = {
        "image_difference": float(np.abs(ours - theirs).max()),
        "text_difference": float(np.abs(our_text - their_text).max()),
        "image_cosine": float((ours * theirs).sum(1).min()),
        "text_cosine": float((our_text * their_text).sum(1).min()),
        "agreement": _agreement(ours @ our_text.T, theirs @ their_text.T),
    }
    _judge(parity, precision)
    return parity


def _agreement(ours: Float32, theirs: Float32) -> float:
    """How often two engines name the same best label, asked with ten labels at a time.

    Args:
        ours: cosines, shape (images, prompts).
        theirs: the same of the other engine.
    """
    questions = ours.shape[1] // _LABELS_IN_A_QUESTION
    same = [
        ours[:, first::questions].argmax(1) == theirs[:, first::questions].argmax(1)
        for first in range(questions)
    ]
    return float(np.mean(same))


def _judge(parity: dict[str, float], precision: str) -> None:
    # One by one: max() and min() may pass over a NaN, which no comparison here does.
    if precision == "fp32":
        differences = parity["image_difference"], parity["text_difference"]
        agrees = all(difference <= _LARGEST_DIFFERENCE for difference in differences)
    else:
        cosines = parity["image_cosine"], parity["text_cosine"]
        agrees = all(cosine >= _LEAST_COSINE for cosine in cosines)
        agrees = agrees and parity["agreement"] >= _LEAST_AGREEMENT
    if not agrees:
        figures = ", ".join(f"{name} {figure:.4g}" for name, figure in parity.items())
        raise ModelError(f"the prepared model does not agree with torch ({figures}); use torch")


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
