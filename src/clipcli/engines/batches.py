"""How many images a run of the model may take at once, by the memory there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipcli.engines.hardware import available_memory
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.engines.base import ModelInfo

DEFAULT_BATCH_SIZE = 32
"""Larger batches are hardly faster on a CPU and take more memory; on a GPU they may be."""

# How often an image's pixels are held while blocks are read ahead, put together and handed over;
# and what the model makes of them on the way, which on a processor is in the same memory: measured
# 13 times the pixels with the bundled model, and less with vision transformers of large patches.
_COPIES = 5
_IN_THE_MODEL = 15
_SHARE = 0.75  # for batches, of all memory: the model itself and the system have the rest
_FLOAT_BYTES = 4


def largest_batch(info: ModelInfo, memory: int) -> int:
    """How many images fit into a run of a model; no fewer than by default.

    Args:
        info: the model.
        memory: bytes that there are in all.
    """
    height, width = info.preprocess.size
    times = _COPIES + _IN_THE_MODEL * info.runs_on_cpu
    image = 3 * height * width * _FLOAT_BYTES * times
    return max(DEFAULT_BATCH_SIZE, int(memory * _SHARE) // image)


def check_batch_size(size: int, info: ModelInfo) -> None:
    """Refuse a batch that the memory cannot hold, before it takes the machine along.

    Raises:
        UsageError: it cannot; the message says how many images fit.
    """
    memory = available_memory()
    if memory is None:
        return
    most = largest_batch(info, memory)
    if size > most:
        raise UsageError(
            f"a batch of {size:,} images does not fit into the {memory / 1e9:,.1f} GB of memory"
            f" that there are for {info.name}: --batch-size {most} does"
        )
