"""A model into torch: what cannot work is said before torch is imported, which takes seconds."""

from __future__ import annotations

import os
from contextlib import nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING

from clipcli.errors import ModelError
from clipcli.models.hub.offline import client_offline
from clipcli.models.weights import fetch_model
from clipcli.process import unchanged

if TYPE_CHECKING:
    from clipcli.engines.base import Engine, EngineOptions
    from clipcli.models.bundles import Bundle
    from clipcli.models.specs import ModelSpec

# Of cuBLAS and cuDNN, and of oneDNN by its two names -> the value that rounds nothing.
_ROUNDING = {
    "NVIDIA_TF32_OVERRIDE": "0",
    "ONEDNN_DEFAULT_FPMATH_MODE": "STRICT",
    "DNNL_DEFAULT_FPMATH_MODE": "STRICT",
}


def load(
    spec: ModelSpec, options: EngineOptions, _bundle: Bundle | None, *, offline: bool
) -> Engine:
    """Load a model's own weights, downloaded where they are not here.

    Args:
        spec: which model.
        options: where and how it runs.
        offline: its weights are not downloaded.

    Raises:
        ModelError: its weights cannot be had or do not fit, or a library that it needs is not
            installed.
        UsageError: the device is not there, or cannot run the precision.
    """
    if spec.needs_transformers and find_spec("transformers") is None:
        reason = "its text tower is one of the package transformers"
        raise ModelError(f"{spec.name} cannot run: {reason} (pip install transformers)")
    weights = fetch_model(spec, offline=offline)
    with unchanged(), client_offline() if offline else nullcontext():
        _leave_fp32_exact()
        from clipcli.engines.torch.openclip import OpenClipEngine

        return OpenClipEngine(spec, weights, options)


def _leave_fp32_exact() -> None:
    """Take out of the environment what the libraries that compute would round fp32 for.

    They read it once, at their start, and heed it more than what a program says.
    """
    for name, exact in _ROUNDING.items():
        if os.environ.get(name, exact) != exact:
            del os.environ[name]
