"""Prompt templates, so that the template changes little."""

import numpy as np

from scripts.train_tiny.vocabulary import LONGEST_WORD

TEMPLATES = (
    "{}",
    "{}",
    "a {}",
    "the {}",
    "a photo of a {}",
    "a photo of a {}.",
    "a photo of a {}.",
    "a photo of the {}.",
    "a photo of {}",
    "a picture of a {}",
    "an image of a {}",
    "this is a {}",
    "a close-up photo of a {}.",
    "a blurry photo of a {}.",
    "{} photo",
    "a low resolution photo of a {}.",
    "a cropped photo of a {}.",
    "a photo of a small {}.",
    "a photo of one {}",
    "there is a {} in the picture",
    "a good photo of the {}.",
    "a snapshot of {}",
)
SHARE = 0.6
"""Share of the words that get a template; the others stand alone."""


class Templates:
    """Draws templates."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random

    def around(self, words: list[str]) -> list[str]:
        """The words, most of them in a template; captions as they are."""
        return [self.drawn().format(word) if len(word) <= LONGEST_WORD else word for word in words]

    def drawn(self) -> str:
        """A template, or none."""
        if self.random.random() >= SHARE:
            return "{}"
        return TEMPLATES[self.random.integers(len(TEMPLATES))]
