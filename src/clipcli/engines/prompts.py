"""Prompts to embeddings, through an engine."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from clipcli.arrays import Float32
from clipcli.errors import ClipcliWarning, UsageError

if TYPE_CHECKING:
    from clipcli.engines.base import Engine

_PROMPTS_AT_ONCE = 64


def encode_prompts(engine: Engine, prompts: Sequence[str]) -> Float32:
    """Embed texts: unit rows of shape (n, embed_dim).

    Where a model's text tower is causal and takes the embedding at the end-of-text token,
    positions after it change nothing: prompts are sorted by length, and each batch is cut to its
    longest. Other models get their whole context.

    Raises:
        UsageError: a text cannot be tokenised.
    """
    return encode_truncating(engine, prompts)[0]


def encode_truncating(engine: Engine, prompts: Sequence[str]) -> tuple[Float32, set[str]]:
    """Embed texts as `encode_prompts` does, and say which were too long for the model.

    Returns:
        Unit rows of shape (n, embed_dim), and the prompts of which only the beginning counts.

    Warns:
        ClipcliWarning: for each of these prompts.

    Raises:
        UsageError: a text cannot be tokenised.
    """
    try:
        tokens = engine.tokenize(prompts)
    except ValueError as error:
        # The text is the user's; the tokenizer's words for it are not.
        raise UsageError(f"a label cannot be read: {error}") from error
    for position in tokens.truncated:
        length = engine.info.context_length
        message = f"only the first {length} tokens of this prompt count: {prompts[position]!r}"
        warnings.warn(message, ClipcliWarning, stacklevel=2)
    # Sorted, so that a long prompt makes few short ones wait.
    order = np.argsort(tokens.lengths, kind="stable")
    embeddings = np.empty((len(prompts), engine.info.embed_dim), np.float32)
    for start in range(0, len(order), _PROMPTS_AT_ONCE):
        batch = order[start : start + _PROMPTS_AT_ONCE]
        ids = tokens.ids[batch]
        if engine.info.short_context:
            ids = ids[:, : tokens.lengths[batch].max()]
        embeddings[batch] = engine.encode_tokens(np.ascontiguousarray(ids))
    return embeddings, {prompts[position] for position in tokens.truncated}
