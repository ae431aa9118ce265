"""The model's architecture, and its weights between one script and the next."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from open_clip import CLIP
from torch import Tensor

EMBED_DIM = 128

ARCHITECTURE: dict[str, Any] = {
    "embed_dim": EMBED_DIM,
    "vision_cfg": {
        "timm_model_name": "resnet10t",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": 64,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 64,
        "heads": 4,
        "layers": 3,
    },
}
"""The tiny model, as open_clip describes one."""


@dataclass(frozen=True)
class Checkpoint:
    """A model's description and weights.

    Attributes:
        architecture: The arguments of `open_clip.CLIP`.
        weights: The model's state dict.
    """

    architecture: dict[str, Any]
    weights: dict[str, Tensor]

    @classmethod
    def of(cls, model: CLIP) -> Self:
        """Return the present state of a model of `ARCHITECTURE`."""
        return cls(ARCHITECTURE, model.state_dict())

    def model(self) -> CLIP:
        """Build the model, in train mode."""
        model = CLIP(**self.architecture)
        model.load_state_dict(self.weights)
        return model

    def save(self, path: Path) -> None:
        """Write the checkpoint to a file."""
        torch.save({"architecture": self.architecture, "weights": self.weights}, path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a checkpoint from a file, tensors and plain values only."""
        return cls(**torch.load(path, weights_only=True))
