"""Engines compute embeddings; `load_engine` picks one and imports no other."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from clipcli.errors import ModelError

if TYPE_CHECKING:
    from clipcli.engines.base import Engine, EngineOptions
    from clipcli.models import ModelSpec


def load_engine(spec: ModelSpec, options: EngineOptions, *, offline: bool = False) -> Engine:
    """Load a model into an engine that can run it.

    Args:
        spec: which model.
        options: where and how it runs.
        offline: its weights are not downloaded.

    Raises:
        ModelError: its weights cannot be had or do not fit, or a library that it needs is not
            installed.
        UsageError: the device is not there, or cannot run the precision.
    """
    # The import of torch and open_clip takes seconds, a download minutes: what cannot work says
    # so before.
    if spec.needs_transformers and find_spec("transformers") is None:
        reason = "its text tower or tokenizer is one of the package transformers"
        raise ModelError(f"{spec.name} cannot run: {reason} (pip install transformers)")

    from clipcli.models import weights_file

    weights = weights_file(spec, offline=offline)

    from clipcli.engines.openclip import OpenClipEngine

    return OpenClipEngine(spec, weights, options)
