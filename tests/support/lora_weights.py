"""LoRA that changes something, as training would leave it."""

import numpy as np

from clipcli.engines.torch.adapters import find_layers, new_weights


def some_lora(model, targets=("q", "k", "v"), towers="both", last=None, rank=2):
    """Weights of every layer that LoRA changes, B filled with random numbers."""
    random = np.random.default_rng(0)
    layers = find_layers(model, towers, targets, last)
    weights = new_weights(model, layers, rank, random)
    return {
        name: value + random.normal(scale=0.2, size=value.shape).astype(np.float32)
        for name, value in weights.items()
    }
