"""The text tower: prompts in, unit embeddings out, and no padding computed."""

from collections.abc import Sequence
from functools import cache

import torch
from open_clip import CLIP, SimpleTokenizer
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import normalize

CONTEXT_LENGTH = 77


def tokenize(prompts: Sequence[str]) -> Tensor:
    """Return CLIP's tokens, cut after the longest prompt's end-of-text token.

    The tower is causal, so what follows that token has no bearing on its embedding.

    Returns:
        Shape (n, length), int64, length at most 77.
    """
    tokens: Tensor = _tokenizer()(list(prompts))
    length = int(_ends(tokens).max()) + 1
    return tokens[:, :length]


def encode(model: CLIP, prompts: Sequence[str]) -> Tensor:
    """Return the prompts' embeddings: what `model.encode_text` gives, at a shorter context.

    Returns:
        Shape (n, embed_dim), float32, rows of length 1.
    """
    tokens = tokenize(prompts)
    length = tokens.shape[1]
    hidden = model.token_embedding(tokens) + model.positional_embedding[:length]
    hidden = model.transformer(hidden, attn_mask=model.attn_mask[:length, :length])
    pooled = model.ln_final(hidden)[torch.arange(len(tokens)), _ends(tokens)]
    return normalize(pooled @ model.text_projection, dim=-1)


def parameters(model: CLIP) -> list[Parameter]:
    """Return the text tower's own parameters: all but the image tower's and the logit scale."""
    return [
        parameter
        for name, parameter in model.named_parameters()
        if not name.startswith("visual") and name != "logit_scale"
    ]


def _ends(tokens: Tensor) -> Tensor:
    # End-of-text is the last entry of the vocabulary.
    return tokens.argmax(dim=1)


@cache
def _tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer(context_length=CONTEXT_LENGTH)
