"""Weights of another image size or context length than a model's: what would load them."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch

from clipcli.models import catalogue
from clipcli.models.configurations import CONFIG_FILE
from clipcli.models.specs import ModelSpec

_IMAGE_KEYS = (
    "visual.positional_embedding",
    "visual.attnpool.positional_embedding",
    "visual.trunk.pos_embed",
)
_TEXT_KEYS = ("positional_embedding", "text.positional_embedding")
_RESNET_STRIDE = 32


def size_advice(
    model: Any,  # noqa: ANN401  open_clip has no types
    spec: ModelSpec,
    state: Mapping[str, torch.Tensor],
    file: Path,
) -> str:
    """The sizes that weights were trained with and the configuration that loads them.

    Nothing is interpolated: positions that were not trained give other answers, and no warning.

    Args:
        model: of open_clip.
        spec: what it was built from.
        state: weights that do not fit it, by its names.
        file: of these.

    Returns:
        A text, or an empty one where more than the sizes is another.
    """
    wanted = model.state_dict()
    if wanted.keys() != state.keys():
        return ""
    others = {key for key, value in wanted.items() if value.shape != state[key].shape}
    if not others or not others <= {*_IMAGE_KEYS, *_TEXT_KEYS}:
        return ""
    facts, config = [], json.loads(json.dumps(dict(spec.config)))
    for key in sorted(others):
        places = _places(wanted[key], state[key])
        if places is None:
            return ""
        if key in _TEXT_KEYS:
            length = spec.context_length + places[1] - places[0]
            facts.append(f"a context of {length} tokens and not {spec.context_length}")
            config["text_cfg"]["context_length"] = length
            continue
        size = _image_size(model, *places)
        if size is None:
            return ""
        facts.append(f"images of {size} pixels and not {spec.config['vision_cfg']['image_size']}")
        config["vision_cfg"]["image_size"] = size
    advice = _way_out(spec, config, file)
    return f"It was trained with {' and '.join(facts)}, and nothing is interpolated here. {advice}"


def _places(ours: torch.Tensor, theirs: torch.Tensor) -> tuple[int, int] | None:
    """How many places two tables of positions have, if they are alike in all else."""
    if ours.ndim != theirs.ndim or ours.shape[-1] != theirs.shape[-1]:
        return None
    return ours.shape[-2], theirs.shape[-2]


def _image_size(model: Any, ours: int, theirs: int) -> int | None:  # noqa: ANN401
    """The side of the square images whose patches, and some tokens before them, are so many."""
    visual = model.visual
    patch: int = _RESNET_STRIDE
    grid = [side // patch for side in _pair(visual.image_size)]
    embed = getattr(getattr(visual, "trunk", None), "patch_embed", None)
    if embed is not None:
        patch, grid = _pair(embed.patch_size)[0], list(embed.grid_size)
    elif hasattr(visual, "grid_size"):
        patch, grid = visual.patch_size[0], list(visual.grid_size)
    prefix = ours - math.prod(grid)
    side = math.isqrt(max(theirs - prefix, 0))
    return side * patch if side and side * side == theirs - prefix else None


def _pair(size: Any) -> tuple[int, int]:  # noqa: ANN401
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _way_out(spec: ModelSpec, config: dict[str, Any], file: Path) -> str:
    """A name of open_clip's, where it has these sizes, and the configuration to be pasted."""
    vision = config["vision_cfg"]
    if "timm_model_sizes" in vision:
        vision["timm_model_sizes"]["img_size"] = vision["image_size"]
    elif name := vision.get("timm_model_name"):
        # timm's models are of the size that their names say.
        vision["timm_model_name"] = re.sub(r"\d+$", str(vision["image_size"]), name)
        if not timm.is_model(vision["timm_model_name"]):
            return "timm has no model of this size"
    named = [name for name in catalogue.architectures() if _is(name, config)]
    content = {"model_cfg": config, "preprocess_cfg": dict(spec.preprocess)}
    return (
        (f"open_clip has that as {named[0]}. Otherwise w" if named else "W")
        + f"rite this line to FOLDER/{CONFIG_FILE}, and the model is ./FOLDER with"
        f" --checkpoint {shlex.quote(str(file))}: " + json.dumps(content)
    )


def _is(architecture: str, config: Mapping[str, Any]) -> bool:
    """Whether an architecture of open_clip's is of this configuration."""
    return {"quick_gelu": False, **catalogue.architecture_config(architecture)} == config
