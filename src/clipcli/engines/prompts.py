"""Prompts to embeddings, through an engine."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from clipcli.arrays import Float32
from clipcli.engines.base import TooLittleMemoryError
from clipcli.errors import ClipcliWarning, UsageError
from clipcli.printable import printable, shortened

if TYPE_CHECKING:
    from clipcli.engines.base import Engine
    from clipcli.models.tokenizers.clip import Tokens

_PROMPTS_AT_ONCE = 64
# Of a prompt in a message: enough to know it by.
_SHOWN_COLUMNS = 60


def encode_prompts(engine: Engine, prompts: Sequence[str]) -> Float32:
    """Embed texts: unit rows of shape (n, embed_dim).

    Where a model's text tower is causal and takes the embedding at the end-of-text token,
    positions after it change nothing: prompts are sorted by length, and each batch is cut to its
    longest. Other models get their whole context.

    Warns:
        ClipcliWarning: as `warn_of_cut` does.

    Raises:
        UsageError: a text cannot be tokenised.
    """
    embeddings, cut = encode_truncating(engine, prompts)
    warn_of_cut(cut, engine.info.context_length)
    return embeddings


def encode_truncating(engine: Engine, prompts: Sequence[str]) -> tuple[Float32, list[str]]:
    """Embed texts as `encode_prompts` does, and say which were too long for the model.

    Returns:
        Unit rows of shape (n, embed_dim), and the prompts of which only the beginning counts.

    Raises:
        UsageError: a text cannot be tokenised.
    """
    tokens = tokenize(engine, prompts)
    embeddings = np.empty((len(prompts), engine.info.embed_dim), np.float32)
    # Sorted, so that a long prompt makes few short ones wait.
    left, at_once = np.argsort(tokens.lengths, kind="stable"), _PROMPTS_AT_ONCE
    while left.size:
        batch = left[:at_once]
        ids = tokens.ids[batch]
        if engine.info.short_context:
            ids = ids[:, : tokens.lengths[batch].max()]
        try:
            embeddings[batch] = engine.encode_tokens(np.ascontiguousarray(ids))
        except TooLittleMemoryError:
            # Nobody who gives labels knows of batches. Those to come are of longer prompts still.
            if len(batch) == 1:
                raise
            at_once = len(batch) // 2
            continue
        left = left[at_once:]
    return embeddings, [prompts[position] for position in tokens.truncated]


def tokenize(engine: Engine, prompts: Sequence[str]) -> Tokens:
    """Texts as the model reads them.

    Raises:
        UsageError: one cannot be tokenised.
    """
    try:
        return engine.tokenize(prompts)
    except ValueError as error:
        # The text is the user's; the tokenizer's words for it are not.
        raise UsageError(f"a label cannot be read: {error}") from error


def warn_of_cut(prompts: Sequence[str], context_length: int) -> None:
    """Tell of prompts of which only the beginning counts, all in one line.

    Warns:
        ClipcliWarning: there are some.
    """
    if not prompts:
        return
    first = repr(shortened(printable(prompts[0]), _SHOWN_COLUMNS))
    if len(prompts) == 1:
        which = f"this prompt count: {first}"
    else:
        which = f"{len(prompts):,} prompts count, the first of them {first}"
    message = f"only the first {context_length} tokens of {which}"
    warnings.warn(message, ClipcliWarning, stacklevel=2)
