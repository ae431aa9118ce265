"""What every engine offers: images and tokens to unit embeddings, NumPy at the boundary."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args, runtime_checkable

from clipcli.engines.hardware import available_cpus
from clipcli.errors import ModelError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clipcli.arrays import Float32
    from clipcli.images.preprocessing import PreprocessConfig
    from clipcli.models.specs import Activation
    from clipcli.models.tokenizers.clip import Tokens

Precision = Literal["fp32", "fp16", "bf16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
PREPARED_PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
"""Those in which a model can be prepared."""

ENGINE_LOADERS = {
    "onnx": "clipcli.engines.onnx:load",
    "torch": "clipcli.engines.torch.loading:load",
}
"""Engine -> the function that loads a model into it, as `module:function`.

It is imported when the engine is chosen, and no other is. A new engine is such a function
`(ModelSpec, EngineOptions, Bundle | None, *, offline) -> Engine`, and a line here.
"""

ENGINES = ("auto", *ENGINE_LOADERS)

_THREADS_A_PROCESSOR = 4

# Two digits at most: torch keeps a device's number in 8 bits, and cuda:256 would be cuda:0.
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:[0-9]{1,2})?")


@dataclass(frozen=True)
class EngineOptions:
    """Where and how a model runs.

    Attributes:
        device: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.
        precision: of the weights and the arithmetic.
        threads: of the processor; None for as many as the process may use.
        engine: one of `ENGINES`: `onnx` (a prepared model on the CPU), `torch`, or `auto`.
        image_count: how many images come; None where that is not known, or many.

    Raises:
        UsageError: no such device, precision, engine or number of threads, or two of them that
            do not go together.
    """

    device: str = "auto"
    precision: Precision = "fp32"
    threads: int | None = None
    engine: str = "auto"
    image_count: int | None = None

    def __post_init__(self) -> None:
        if not _DEVICE.fullmatch(self.device):
            raise UsageError(f"{self.device!r} is no device: use auto, cpu, mps, cuda or cuda:N")
        # Here, too, and not by click alone: the library has the same options.
        if self.precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise UsageError(f"{self.precision!r} is no precision: use one of {known}")
        if self.threads is not None:
            check_threads(self.threads)
        if self.engine not in ENGINES:
            raise UsageError(f"{self.engine!r} is no engine: use one of {', '.join(ENGINES)}")
        # `auto` may still turn out to be a CPU; the engine asks again when it knows.
        check_precision(self.device, self.precision)
        self._check_engine()

    @property
    def wants_gpu(self) -> bool:
        """Whether a GPU was asked for by name."""
        return self.device not in ("auto", "cpu")

    def _check_engine(self) -> None:
        # ONNX Runtime has engines for GPUs, but the package that is installed has the processor's
        # alone.
        if self.engine == "onnx" and self.wants_gpu:
            raise UsageError(f"--engine onnx runs on the CPU: leave out --device {self.device}")
        if self.engine == "onnx" and self.precision in ("fp16", "bf16"):
            raise UsageError(f"--engine onnx has fp32 and int8: for {self.precision} leave it out")
        if self.precision == "int8" and (self.engine == "torch" or self.wants_gpu):
            raise UsageError("int8 runs on the CPU, from a prepared model, and not in torch")


def check_threads(count: int) -> None:
    """Refuse numbers of processor threads that only slow the machine down.

    Raises:
        UsageError: there are none, or more than four for each processor.
    """
    if count < 1:
        raise UsageError(f"{count} threads: there must be at least one")
    processors = available_cpus()
    most = _THREADS_A_PROCESSOR * processors
    if count > most:
        raise UsageError(
            f"--threads {count}: use {most} at most (this process may use {processors} processors)"
        )


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
        short_context: whether token ids may end where the longest prompt does.
        doubt_below: the cosine below which a best label fits no better than a strange word may;
            None where nobody has measured it.
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
    short_context: bool
    doubt_below: float | None = None

    @property
    def runs_on_cpu(self) -> bool:
        """Whether the model computes in the machine's own memory."""
        return " on cpu" in self.engine


class UnusableDeviceError(ModelError):
    """There is a GPU, and it cannot run the model: too old, too new, too small, or broken."""


class TooLittleMemoryError(UsageError):
    """So many images or prompts do not fit a device at once; fewer may."""


class Engine(Protocol):
    """A loaded model. Its methods may be called from several threads."""

    @property
    def info(self) -> ModelInfo:
        """What was loaded."""
        ...

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        """Token ids of prompts, cut and padded to the model's context length."""
        ...

    def encode_images(self, pixels: Float32) -> Float32:
        """Embed preprocessed pixels: (n, 3, height, width) to (n, embed_dim), unit rows.

        Raises:
            TooLittleMemoryError: so many at once do not fit.
        """
        ...

    def encode_tokens(self, tokens: NDArray[np.int64]) -> Float32:
        """Embed token ids: (n, length) to (n, embed_dim), unit rows.

        The length is the model's context, or less where `info.short_context` is true.

        Raises:
            TooLittleMemoryError: so many at once do not fit.
        """
        ...


@runtime_checkable
class Differentiable(Protocol):
    """An engine that can tell where in an image a score comes from, by gradients."""

    def gradient_maps(self, pixels: Float32, directions: Float32) -> Float32:
        """Where one image's scores come from.

        Args:
            pixels: preprocessed, shape (3, height, width).
            directions: whose product with the unit embedding is a score, shape (n, embed_dim).

        Returns:
            Maps of shape (n, rows, columns), nowhere negative.

        Raises:
            UsageError: there is no such map for this kind of image tower.
        """
        ...


@runtime_checkable
class Adaptable(Protocol):
    """An engine whose weights a LoRA can change."""

    def adapted(self, weights: Mapping[str, Float32], scale: float) -> Engine:
        """An engine of its own, with the changes in its weights.

        Args:
            weights: of the changes, by name.
            scale: of each product of two of them.

        Raises:
            ModelError: they were made for another model.
        """
        ...


def fingerprint(
    weights_sha256: str, config: Mapping[str, Any], preprocess: PreprocessConfig, precision: str
) -> str:
    """A model's identity: equal exactly where weights, configuration and precision are.

    Args:
        weights_sha256: of the weights file, in hexadecimal.
        config: open_clip's `model_cfg`, with its `quick_gelu`.
        preprocess: how pixels are prepared.
        precision: as in `Precision`.

    Returns:
        32 hexadecimal digits.
    """
    import hashlib  # takes three milliseconds, which a start without a model need not spend

    # Sorted keys: two files that say the same in another order are one configuration.
    identity = {"model": dict(config), "preprocess": asdict(preprocess)}
    text = json.dumps([weights_sha256, identity, precision], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
