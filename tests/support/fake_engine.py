"""An engine whose embeddings a test can foresee: a unit vector for each grey level."""

from __future__ import annotations

import io
from collections.abc import Sequence
from zlib import crc32

import numpy as np
from PIL import Image

from clipcli.engines.base import ModelInfo
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.models.tokenizers.clip import Tokens


class FakeEngine:
    """Embeds an image by its mean value and a text by its length, on a quarter circle.

    Attributes:
        batches: how many images each run had.
        prompts: all texts that were embedded, shorter ones of a run first.
    """

    def __init__(self, activation: str = "softmax", logit_scale: float = 10.0) -> None:
        self.batches: list[int] = []
        self.prompts: list[str] = []
        self._texts: dict[int, str] = {}
        self.info = ModelInfo(
            name="fake",
            fingerprint="0" * 32,
            engine="fake",
            embed_dim=2,
            preprocess=PreprocessConfig((8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
            context_length=10,
            logit_scale=logit_scale,
            logit_bias=-1.0 if activation == "sigmoid" else 0.0,
            activation=activation,  # type: ignore[arg-type]
            short_context=False,
        )

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        lengths = np.array([len(prompt) for prompt in prompts])
        cut = tuple(int(position) for position in np.flatnonzero(lengths > 10))
        # Texts of one length are different tokens, as far as they are read.
        read = [crc32(prompt[:10].encode()) for prompt in prompts]
        self._texts.update(zip(read, prompts, strict=True))
        ids = np.stack([np.minimum(lengths, 10), np.array(read)], axis=1)
        return Tokens(ids, np.minimum(lengths, 10), cut)

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        self.batches.append(len(pixels))
        return self._on_circle(pixels.mean(axis=(1, 2, 3)))

    def encode_tokens(self, tokens: np.ndarray) -> np.ndarray:
        self.prompts += [self._texts[int(text)] for text in tokens[:, 1]]
        return self._on_circle(tokens[:, 0] / 10)

    @staticmethod
    def _on_circle(shares: np.ndarray) -> np.ndarray:
        angles = shares * np.pi / 2
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def grey_png(value: int) -> bytes:
    """A small PNG of one grey level."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (value, value, value)).save(file, "PNG")
    return file.getvalue()
