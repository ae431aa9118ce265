"""A model's arithmetic in half precision."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

# Their sums of squares, and the variances that batch norms keep, need fp32: in fp16 some are zero
# or infinite, and in bf16 they were the larger part of an embedding's error.
_NORMS = (nn.LayerNorm, nn.GroupNorm, _BatchNorm)
# Rounded to bf16 they would be a percent off, and with them all probabilities.
_SCALARS = ("logit_scale", "logit_bias")


def lower_precision(model: nn.Module, dtype: torch.dtype) -> None:
    """Round a model's weights and buffers, in place; its products and sums then follow.

    Norms, and the model's scale and bias of logits, stay in fp32. open_clip's own mixture of this
    kind leaves parts of CoCa's, of transformers' and of other towers in fp32, which then cannot be
    multiplied with the rest.

    Args:
        model: of open_clip, in fp32.
        dtype: `float16` or `bfloat16`.
    """
    exact = {id(getattr(model, name, None)) for name in _SCALARS}
    for part in model.modules():
        if isinstance(part, _NORMS):
            part.register_forward_pre_hook(_widened)
            part.register_forward_hook(partial(_rounded, dtype))
            continue
        for tensor in (*part.parameters(recurse=False), *part.buffers(recurse=False)):
            if tensor.is_floating_point() and id(tensor) not in exact:
                tensor.data = tensor.data.to(dtype)


def _widened(_norm: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.float() if isinstance(value, torch.Tensor) else value for value in inputs)


def _rounded(
    dtype: torch.dtype, _norm: nn.Module, _inputs: tuple[Any, ...], output: torch.Tensor
) -> torch.Tensor:
    return output.to(dtype)
