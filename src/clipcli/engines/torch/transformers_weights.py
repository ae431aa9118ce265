"""Names and shapes of transformers' weights -> open_clip's."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch

StateDict = Mapping[str, torch.Tensor]

_CLIP_KEY = "vision_model.embeddings.class_embedding"
_SIGLIP_KEY = "vision_model.head.probe"
_FUSED = "self_attn.in_proj_"  # between the two

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
    f".{_FUSED}": ".attn.in_proj_",
}
# Likewise in modeling_siglip.py, and timm's for the image tower.
_SIGLIP_ENDS = {
    "vision_model.embeddings.patch_embedding": "visual.trunk.patch_embed.proj",
    "vision_model.embeddings.position_embedding.weight": "visual.trunk.pos_embed",
    "vision_model.post_layernorm": "visual.trunk.norm",
    "vision_model.encoder.layers": "visual.trunk.blocks",
    "vision_model.head.probe": "visual.trunk.attn_pool.latent",
    "vision_model.head.attention.out_proj": "visual.trunk.attn_pool.proj",
    "vision_model.head.layernorm": "visual.trunk.attn_pool.norm",
    "vision_model.head.mlp": "visual.trunk.attn_pool.mlp",
    "text_model.embeddings.token_embedding": "text.token_embedding",
    "text_model.embeddings.position_embedding.weight": "text.positional_embedding",
    "text_model.final_layer_norm": "text.ln_final",
    "text_model.encoder.layers": "text.transformer.resblocks",
    "text_model.head": "text.text_projection",
}
_TIMM_PARTS = {
    ".layer_norm1.": ".norm1.",
    ".layer_norm2.": ".norm2.",
    ".self_attn.out_proj.": ".attn.proj.",
    f".{_FUSED}": ".attn.qkv.",
}
_PROBE = "vision_model.head.attention.in_proj_"
_PROJECTIONS = {
    "visual_projection.weight": "visual.proj",
    "text_projection.weight": "text_projection",
}
_QUERY = re.compile(r"(.+)\.self_attn\.q_proj\.(weight|bias)")


def from_transformers(state: StateDict) -> dict[str, torch.Tensor]:
    """Names and shapes of transformers' CLIP, MetaCLIP 2 and SigLIP as open_clip has them.

    Of another model they stay as they are. What is not known keeps its name, so that the comparison
    with the model can name it.
    """
    if _CLIP_KEY in state:
        return _from_clip(state)
    return _from_siglip(state) if _SIGLIP_KEY in state else dict(state)


def _from_clip(state: StateDict) -> dict[str, torch.Tensor]:
    rest = dict(state)
    found = {ours: rest.pop(theirs).T for theirs, ours in _PROJECTIONS.items() if theirs in rest}
    rest = _fused(rest)
    return {**found, **{_renamed(key, _ENDS, _PARTS): value for key, value in rest.items()}}


def _from_siglip(state: StateDict) -> dict[str, torch.Tensor]:
    rest = _fused(state)
    found: dict[str, torch.Tensor] = {}
    for kind in ("weight", "bias"):  # timm has the probe's question apart from keys and values
        if f"{_PROBE}{kind}" in rest:
            query, *others = rest.pop(f"{_PROBE}{kind}").chunk(3)
            pool = "visual.trunk.attn_pool"
            found |= {f"{pool}.q.{kind}": query, f"{pool}.kv.{kind}": torch.cat(others)}
    for key, value in rest.items():
        parts = _TIMM_PARTS if key.startswith("vision_model.") else _PARTS
        found[_renamed(key, _SIGLIP_ENDS, parts)] = value
    return {key: _in_timms_shape(key, value) for key, value in found.items()}


def _in_timms_shape(key: str, value: torch.Tensor) -> torch.Tensor:
    if key == "visual.trunk.pos_embed":
        return value[None]
    if key == "visual.trunk.patch_embed.proj.weight" and value.ndim == 2:
        # SigLIP 2 takes patches as rows of numbers: place by place, colours last.
        side = math.isqrt(value.shape[1] // 3)
        if 3 * side * side == value.shape[1]:
            return value.reshape(-1, side, side, 3).permute(0, 3, 1, 2)
    return value


def _fused(state: StateDict) -> dict[str, torch.Tensor]:
    """Queries, keys and values of each layer as one product, as open_clip and timm have it."""
    rest = dict(state)
    for query in [match for key in state if (match := _QUERY.fullmatch(key))]:
        layer, kind = query.groups()
        names = [f"{layer}.self_attn.{part}_proj.{kind}" for part in "qkv"]
        if all(name in rest for name in names):
            fused = torch.cat([rest.pop(name) for name in names])
            rest[f"{layer}.{_FUSED}{kind}"] = fused
    return rest


def _renamed(key: str, ends: Mapping[str, str], parts: Mapping[str, str]) -> str:
    for theirs, ours in ends.items():
        if key == theirs or key.startswith(f"{theirs}."):
            key = ours + key.removeprefix(theirs)
            break
    for theirs, ours in parts.items():
        key = key.replace(theirs, ours)
    return key
