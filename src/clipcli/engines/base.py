"""What every engine offers: images and tokens to unit embeddings, NumPy at the boundary."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from clipcli.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clipcli.images import PreprocessConfig
    from clipcli.models import Activation
    from clipcli.tokenizer import Tokens

Precision = Literal["fp32", "fp16", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16")

# Two digits at most: torch keeps a device's number in 8 bits, and cuda:256 would be cuda:0.
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:[0-9]{1,2})?")


@dataclass(frozen=True)
class EngineOptions:
    """Where and how a model runs.

    Attributes:
        device: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.
        precision: of the weights and the arithmetic.
        threads: of the processor; None for as many as the process may use.

    Raises:
        UsageError: no such device, precision or number of threads, or fp16 on a processor.
    """

    device: str = "auto"
    precision: Precision = "fp32"
    threads: int | None = None

    def __post_init__(self) -> None:
        if not _DEVICE.fullmatch(self.device):
            raise UsageError(f"{self.device!r} is no device: use auto, cpu, mps, cuda or cuda:N")
        if self.precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise UsageError(f"{self.precision!r} is no precision: use one of {known}")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"{self.threads} threads: there must be at least one")
        check_precision(self.device, self.precision)


def check_precision(device: str, precision: str) -> None:
    """Refuse what a processor cannot do well.

    Raises:
        UsageError: fp16 on a processor: some operations are missing and the rest crawls.
    """
    if device == "cpu" and precision == "fp16":
        raise UsageError("fp16 needs a GPU: on a CPU use --precision fp32 (or bf16, slower)")


@dataclass(frozen=True)
class ModelInfo:
    """A loaded model, as far as the rooms beyond the engine need to know it.

    Attributes:
        name: canonical.
        fingerprint: of the weights, the configuration and the precision; see `fingerprint`.
        engine: the engine's name and its device, for people.
        embed_dim: width of the embeddings.
        preprocess: how pixels must be prepared.
        context_length: of a prompt, in tokens.
        logit_scale: multiplies cosines (already exponentiated).
        logit_bias: is added to them.
        activation: how logits become probabilities.
    """

    name: str
    fingerprint: str
    engine: str
    embed_dim: int
    preprocess: PreprocessConfig
    context_length: int
    logit_scale: float
    logit_bias: float
    activation: Activation


class Engine(Protocol):
    """A loaded model. Its methods may be called from one thread at a time."""

    @property
    def info(self) -> ModelInfo:
        """What was loaded."""
        ...

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        """Token ids of prompts, cut and padded to the model's context length."""
        ...

    def encode_images(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed preprocessed pixels: (n, 3, height, width) to (n, embed_dim), unit rows."""
        ...

    def encode_tokens(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Embed token ids: (n, context) to (n, embed_dim), unit rows."""
        ...


def fingerprint(weights_sha256: str, config: Mapping[str, Any], precision: str) -> str:
    """A model's identity: equal exactly where weights, configuration and precision are.

    Args:
        weights_sha256: of the weights file, in hexadecimal.
        config: everything about the architecture and its preprocessing that JSON can hold.
        precision: as in `Precision`.

    Returns:
        32 hexadecimal digits.
    """
    text = json.dumps([weights_sha256, config, precision], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
