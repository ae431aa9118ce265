"""Engines compute embeddings; this room chooses one and imports no other."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from clipcli.errors import ModelError

if TYPE_CHECKING:
    from clipcli.engines.base import Engine, EngineOptions
    from clipcli.models.bundles import Bundle
    from clipcli.models.specs import ModelSpec

FEW_IMAGES = 32
"""Up to so many, torch's import takes longer than the answer takes without a GPU."""


@dataclass(frozen=True)
class EngineChoice:
    """Which engine runs a model, and why.

    Attributes:
        bundle: the prepared model that ONNX Runtime runs, or None for torch.
        reason: for those who ask.
        worth_preparing: whether `clipcli pull` would make the next start faster.
    """

    bundle: Bundle | None
    reason: str
    worth_preparing: bool = False


def choose_engine(spec: ModelSpec, options: EngineOptions) -> EngineChoice:
    """Choose between a prepared model and torch, without importing either's library.

    Raises:
        ModelError: only a prepared model will do, and there is none, or a damaged one.
    """
    asked = _torch_asked_for(options)
    if asked:
        return EngineChoice(None, f"{asked} was asked for")

    from clipcli.models.bundles import check_preparable, find_bundle

    prepared_only = options.engine == "onnx" or options.precision == "int8"
    if prepared_only:
        check_preparable(spec)
    elif _cuda_pays(options):
        return EngineChoice(None, "there is a CUDA device")
    bundle = find_bundle(spec, options.precision)
    if bundle is not None:
        return EngineChoice(bundle, f"{bundle.folder} is prepared")
    if prepared_only:
        pull = f"{spec.pull_command} --precision {options.precision}"
        raise ModelError(f"{spec.name} is not prepared in {options.precision}: run '{pull}' first")
    preparable = not spec.needs_transformers
    return EngineChoice(None, "the model is not prepared", worth_preparing=preparable)


def _torch_asked_for(options: EngineOptions) -> str:
    """The option that only torch can carry out, or an empty text."""
    if options.engine == "torch":
        return "--engine torch"
    if options.wants_gpu:
        return f"--device {options.device}"
    return f"--precision {options.precision}" if options.precision in ("fp16", "bf16") else ""


def _cuda_pays(options: EngineOptions) -> bool:
    """Whether there is a CUDA device, and enough work for it to make up for torch's import."""
    from clipcli.engines.hardware import cuda_available

    few = options.image_count is not None and options.image_count <= FEW_IMAGES
    return options.device == "auto" and not few and cuda_available()


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

    Raises:
        ModelError: its weights cannot be had or do not fit, or a library that it needs is not
            installed.
        UsageError: the device is not there, or cannot run the precision.
    """
    choice = choice or choose_engine(spec, options)
    if choice.bundle is not None:
        from clipcli.engines.onnx import OnnxEngine

        return OnnxEngine(choice.bundle, options)

    # The import of torch and open_clip takes seconds, a download minutes: what cannot work says
    # so before.
    if spec.needs_transformers and find_spec("transformers") is None:
        reason = "its text tower is one of the package transformers"
        raise ModelError(f"{spec.name} cannot run: {reason} (pip install transformers)")

    from clipcli.models.weights import fetch_model

    weights = fetch_model(spec, offline=offline)

    if offline:
        # transformers, which open_clip calls for some text towers, asks the hub by itself; its
        # client reads this once, at its import.
        os.environ["HF_HUB_OFFLINE"] = "1"

    from clipcli.engines.torch.openclip import OpenClipEngine

    return OpenClipEngine(spec, weights, options)
