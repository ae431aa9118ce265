"""timm's models in other sizes than those that it has names for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import timm
from timm.models import register_model
from torch import nn


def with_named_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """A `model_cfg` whose `timm_model_sizes`, which open_clip does not know, are a model's name.

    open_clip gives timm a name alone. The name that stands for these sizes is made known to timm.
    """
    vision = dict(config["vision_cfg"])
    sizes = vision.pop("timm_model_sizes", None)
    if sizes is None:
        return dict(config)
    base = vision["timm_model_name"]
    digest = hashlib.sha256(json.dumps(sizes, sort_keys=True).encode()).hexdigest()[:16]
    name = f"clipcli_{base}_{digest}"
    if not timm.is_model(name):
        register_model(_entry(name, base, sizes))
    return {**config, "vision_cfg": {**vision, "timm_model_name": name}}


def _entry(name: str, base: str, sizes: Mapping[str, Any]) -> Any:  # noqa: ANN401
    rest = {key: value for key, value in sizes.items() if key != "eps"}
    norm = partial(nn.LayerNorm, eps=sizes["eps"])

    def build(pretrained: bool = False, **settings: Any) -> nn.Module:  # noqa: ANN401, ARG001
        model: nn.Module = timm.create_model(base, norm_layer=norm, **{**rest, **settings})
        return model

    build.__name__ = name
    return build
