"""Which engine runs a model: chosen without importing any, and then loaded."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING

from clipcli.engines.base import ENGINE_LOADERS, UnusableDeviceError
from clipcli.errors import ClipcliWarning, ModelError, UsageError

if TYPE_CHECKING:
    from clipcli.engines.base import Engine, EngineOptions
    from clipcli.models.bundles import Bundle
    from clipcli.models.specs import ModelSpec

FEW_IMAGES = 114
"""Up to so many, torch's start takes longer than the answer takes without a GPU.

It is what the README's figures give, in full seconds a start and images a second: a prepared model
answers after 0.45 s and goes on with 20.0 images/s, torch after 6.18 s; (6.18 - 0.45) * 20.0 = 114.
A GPU's own time for so few is left out. `python -m benchmarks.break_even` measures it where there
is one.
"""


@dataclass(frozen=True)
class EngineChoice:
    """Which engine runs a model, and why.

    Attributes:
        name: of the engine, as in `ENGINE_LOADERS`.
        bundle: the prepared model that it runs, if it runs one.
        reason: for those who ask.
        worth_preparing: whether `clipcli pull` would make the next start faster.
    """

    name: str
    bundle: Bundle | None
    reason: str
    worth_preparing: bool = False


def for_training(options: EngineOptions, what: str) -> EngineOptions:
    """The same in torch, which alone can change a model's weights.

    Args:
        options: where and how the model runs.
        what: changes them.

    Raises:
        UsageError: another engine was asked for.
    """
    if options.engine == "onnx" or options.precision == "int8":
        raise UsageError(
            f"{what} changes the model's weights, which only torch can: leave out --engine and"
            " --precision, or make a model of it with 'clipcli adapt --merge NAME FOLDER' and"
            " prepare that with 'clipcli pull FOLDER'"
        )
    return replace(options, engine="torch")


def choose_engine(spec: ModelSpec, options: EngineOptions) -> EngineChoice:
    """Choose between a prepared model and torch, without importing either's library.

    Raises:
        ModelError: only a prepared model will do, and there is none, or a damaged one.
    """
    if options.engine not in ("auto", "onnx"):
        return EngineChoice(options.engine, None, f"--engine {options.engine} was asked for")
    asked = _torch_asked_for(options)
    if asked:
        return EngineChoice("torch", None, f"{asked} was asked for")

    from clipcli.models.bundles import check_preparable, find_bundle

    prepared_only = options.engine == "onnx" or options.precision == "int8"
    if prepared_only:
        check_preparable(spec)
    elif _cuda_pays(options):
        return EngineChoice("torch", None, "there is a CUDA device")
    # Of the precision that was asked for, and of no other: int8 is never chosen unasked.
    bundle = find_bundle(spec, options.precision)
    if bundle is not None:
        return EngineChoice("onnx", bundle, f"{bundle.folder} is prepared")
    if prepared_only:
        pull = f"{spec.request.pull_command} --precision {options.precision}"
        raise ModelError(f"{spec.name} is not prepared in {options.precision}: run '{pull}' first")
    # No advice that cannot be followed.
    preparable = not spec.needs_transformers
    return EngineChoice("torch", None, "the model is not prepared", worth_preparing=preparable)


def _torch_asked_for(options: EngineOptions) -> str:
    """The option that only torch can carry out, or an empty text."""
    if options.wants_gpu:
        return f"--device {options.device}"
    return f"--precision {options.precision}" if options.precision in ("fp16", "bf16") else ""


def _cuda_pays(options: EngineOptions) -> bool:
    """Whether there is a CUDA device, and enough work for it to make up for torch's import."""
    from clipcli.engines.hardware import cuda_available, cuda_trouble

    # A number that nobody knows is many: a list or a folder is a bulk run more often than not.
    few = options.image_count is not None and options.image_count <= FEW_IMAGES
    if options.device != "auto" or few:
        return False
    trouble = cuda_trouble()
    if trouble:
        _tell_gpu_unused(trouble)
    return cuda_available()


def _tell_gpu_unused(reason: str) -> None:
    warnings.warn(ClipcliWarning(f"the GPU is not used: {reason}"), stacklevel=2)


def load_engine(
    spec: ModelSpec,
    options: EngineOptions,
    choice: EngineChoice | None = None,
    *,
    offline: bool = False,
) -> Engine:
    """Load a model into an engine that can run it.

    Args:
        spec: which model.
        options: where and how it runs.
        choice: of the engine; made here where there is none.
        offline: its weights are not downloaded.

    Warns:
        ClipcliWarning: a GPU that nobody asked for by name cannot be used; the next engine is.

    Raises:
        ModelError: its weights cannot be had or do not fit, a library that it needs is not
            installed, or the GPU that was asked for cannot run it.
        UsageError: the device is not there, or cannot run the precision.
    """
    choice = choice or choose_engine(spec, options)
    try:
        return _load(spec, options, choice, offline=offline)
    except UnusableDeviceError as error:
        # fp16 was asked for by name, and only a GPU has it.
        if options.device != "auto" or options.precision == "fp16":
            raise
        _tell_gpu_unused(str(error))
    rest = replace(options, device="cpu")
    return _load(spec, rest, choose_engine(spec, rest), offline=offline)


def _load(
    spec: ModelSpec, options: EngineOptions, choice: EngineChoice, *, offline: bool
) -> Engine:
    module, _, function = ENGINE_LOADERS[choice.name].partition(":")
    load: Callable[..., Engine] = getattr(import_module(module), function)
    return load(spec, options, choice.bundle, offline=offline)
