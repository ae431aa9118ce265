"""Names and shapes of transformers' weights -> open_clip's."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

StateDict = Mapping[str, torch.Tensor]

_KEY = "vision_model.embeddings.class_embedding"

# Names in transformers' modeling_clip.py -> open_clip's, for what is the same in both.
_ENDS = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm": "visual.ln_pre",  # their spelling
    "vision_model.post_layernorm": "visual.ln_post",
    "vision_model.encoder.layers": "visual.transformer.resblocks",
    "text_model.embeddings.token_embedding": "token_embedding",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm": "ln_final",
    "text_model.encoder.layers": "transformer.resblocks",
}
_PARTS = {
    ".layer_norm1.": ".ln_1.",
    ".layer_norm2.": ".ln_2.",
    ".mlp.fc1.": ".mlp.c_fc.",
    ".mlp.fc2.": ".mlp.c_proj.",
    ".self_attn.out_proj.": ".attn.out_proj.",
}
_PROJECTIONS = {
    "visual_projection.weight": "visual.proj",
    "text_projection.weight": "text_projection",
}
_QUERY = re.compile(r"(.+)\.self_attn\.q_proj\.(weight|bias)")


def from_transformers(state: StateDict) -> dict[str, torch.Tensor]:
    """Names and shapes of a `CLIPModel` of transformers as open_clip has them; others as they are.

    What is not known there keeps its name, so that the comparison with the model can name it.
    """
    if _KEY not in state:
        return dict(state)
    rest = dict(state)
    found = {ours: rest.pop(theirs).T for theirs, ours in _PROJECTIONS.items() if theirs in rest}
    for query in [match for key in state if (match := _QUERY.fullmatch(key))]:
        layer, kind = query.groups()
        names = [f"{layer}.self_attn.{part}_proj.{kind}" for part in "qkv"]
        if all(name in rest for name in names):
            # open_clip has one product for the three.
            fused = torch.cat([rest.pop(name) for name in names])
            found[f"{_renamed(layer)}.attn.in_proj_{kind}"] = fused
    return {**found, **{_renamed(key): value for key, value in rest.items()}}


def _renamed(key: str) -> str:
    for theirs, ours in _ENDS.items():
        if key == theirs or key.startswith(f"{theirs}."):
            key = ours + key.removeprefix(theirs)
            break
    for theirs, ours in _PARTS.items():
        key = key.replace(theirs, ours)
    return key
