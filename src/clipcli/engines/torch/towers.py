"""open_clip's towers, whichever class they are part of: pixels and tokens to embeddings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def encode_image(model: Any, pixels: Tensor) -> Tensor:  # noqa: ANN401  open_clip has no types
    """Embed pixels: (n, 3, height, width) to (n, embed_dim), not of unit length."""
    return _embedding(model.visual(pixels))


def encode_text(model: Any, tokens: Tensor) -> Tensor:  # noqa: ANN401
    """Embed token ids that may be fewer than the context: (n, length) to (n, embed_dim).

    open_clip adds its whole mask, and `CLIP` its whole table of positions; for a shorter text they
    are lent their first rows.
    """
    length = tokens.shape[1]
    tower = getattr(model, "text", model)  # `CLIP` is its own text tower
    if not hasattr(tower, "positional_embedding") or length == tower.context_length:
        return _embedding(model.encode_text(tokens) if tower is model else tower(tokens))
    lent = {
        "positional_embedding": tower.positional_embedding[:length],
        "attn_mask": tower.attn_mask[:length, :length],
    }
    if tower is not model:
        return _embedding(torch.func.functional_call(tower, lent, (tokens,)))
    outputs: tuple[Tensor, ...] = torch.func.functional_call(model, lent, (None, tokens))
    return outputs[1]


def _embedding(features: Any) -> Tensor:  # noqa: ANN401
    # Some towers give out their tokens behind it, for CoCa's captions.
    embedding: Tensor = features[0] if isinstance(features, tuple) else features
    return embedding
