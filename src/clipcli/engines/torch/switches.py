"""Torch's switches belong to the process: an engine borrows them for as long as it computes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from clipcli.process import ProcessLock, is_inherited

# One engine at a time: two would put each other's switches back.
_ALONE = ProcessLock()

# What may be rounded, to 10 bits of mantissa (TF32) on a GPU, to 7 (bf16) on a processor.
_BACKENDS: Any = torch.backends  # whose annotations lag behind it
_ALL = (_BACKENDS, _BACKENDS.cudnn)
_PRODUCTS = (_BACKENDS.cuda.matmul, _BACKENDS.mkldnn.matmul)
_OTHERS = (
    _BACKENDS.cudnn.conv,
    _BACKENDS.cudnn.rnn,
    _BACKENDS.mkldnn.conv,
    _BACKENDS.mkldnn.rnn,
)
# With each value of the older switch one of these agrees.
_AGREEING = (("ieee", "ieee"), ("tf32", "tf32"), ("tf32", "bf16"))


@contextmanager
def borrowed(device: torch.device, threads: int) -> Iterator[None]:
    """Compute as clipcli does: exactly, in the types that the engine says, on so many threads.

    What the host program (or its environment) has set counts again afterwards: TF32 and the like,
    autocast, inference mode, the default dtype, the number of threads.

    A process that was forked after torch was imported has one thread: those that torch started
    are the parent's, and it would wait for them for ever.
    """
    with (
        _ALONE,
        torch.inference_mode(mode=False),
        torch.autocast(device.type, enabled=False),
        _exact(),
        _threads(1 if is_inherited("torch") else threads),
    ):
        yield


@contextmanager
def _exact() -> Iterator[None]:
    dtype = torch.get_default_dtype()
    settings: list[tuple[Any, str]] = []
    # Each says what the one above it says while it says nothing itself, so from above.
    for part in (*_ALL, *_PRODUCTS):
        settings.append((part, part.fp32_precision))
        part.fp32_precision = "none"
    products = _older_switch()
    try:
        torch.set_default_dtype(torch.float32)
        torch.set_float32_matmul_precision("highest")
        for part in (*_ALL, *_PRODUCTS):
            part.fp32_precision = "ieee"
        # Only those that say something themselves: once told, they never listen again.
        for part in _OTHERS:
            if part.fp32_precision != "ieee":
                settings.append((part, part.fp32_precision))
                part.fp32_precision = "ieee"
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_float32_matmul_precision(products)  # changes the settings, too, and comes first
        for part, setting in settings:
            part.fp32_precision = setting


def _older_switch() -> str:
    """What `torch.set_float32_matmul_precision` was told.

    It is kept beside the settings of both kinds of products, and torch refuses to say it where
    they disagree with it: so these are tried until they do not.
    """
    gpu, processor = _PRODUCTS
    for gpu.fp32_precision, processor.fp32_precision in _AGREEING:
        with suppress(RuntimeError):
            return torch.get_float32_matmul_precision()
    raise AssertionError("one of them agrees")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def without_fast_path() -> Iterator[None]:
    """Attention is computed step by step: its one fast operation ONNX and gradients do not know."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def silence() -> Iterator[None]:
    """Nothing is logged: libraries tell of what is done on purpose here."""
    before = logging.root.manager.disable
    # open_clip logs by functions that give the root logger a handler where it has none.
    nowhere = logging.NullHandler()
    logging.root.addHandler(nowhere)
    logging.disable(max(before, logging.ERROR))
    try:
        yield
    finally:
        logging.disable(before)
        logging.root.removeHandler(nowhere)
