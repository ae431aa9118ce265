"""A model into torch: what cannot work is said before torch is imported, which takes seconds."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from clipcli.errors import ModelError
from clipcli.models.weights import fetch_model

if TYPE_CHECKING:
    from clipcli.engines.base import Engine, EngineOptions
    from clipcli.models.bundles import Bundle
    from clipcli.models.specs import ModelSpec


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
    if offline:
        # transformers, which open_clip calls for some text towers, asks the hub by itself; its
        # client reads this once, at its import.
        os.environ["HF_HUB_OFFLINE"] = "1"

    from clipcli.engines.torch.openclip import OpenClipEngine

    return OpenClipEngine(spec, weights, options)
