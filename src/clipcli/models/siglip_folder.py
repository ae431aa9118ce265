"""What the transformers library writes of SigLIP and SigLIP 2, in open_clip's terms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from clipcli.models.transformers_fields import (
    OWN_TOKENIZER,
    check_channels,
    heads,
    positive,
    read_tower,
    transformer,
)

# Where a config.json leaves a field out, transformers takes these (configuration_siglip.py and
# configuration_siglip2.py).
_SIGLIP_SHARED = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
_SIGLIP_VISION = {
    **_SIGLIP_SHARED,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 16,
    "num_patches": 256,
    "vision_use_head": True,
}
_SIGLIP_TEXT = {**_SIGLIP_SHARED, "vocab_size": 32000, "max_position_embeddings": 64}
_SIGLIP_MODEL = "vit_base_patch16_siglip_224"  # timm's; every size of it is changed
_SIGLIP_ACTS = {"gelu_pytorch_tanh": True, "gelu": False}


def siglip_config(content: Mapping[str, Any]) -> dict[str, Any]:
    """SigLIP: a vision transformer of timm's with attentive pooling, and a text tower both ways."""
    vision = read_tower(content, "vision_config", _SIGLIP_VISION)
    text = read_tower(content, "text_config", _SIGLIP_TEXT)
    check_channels(vision)
    if vision["vision_use_head"] is not True:
        raise ValueError("its images are not pooled (vision_use_head): they have no embedding")
    width, size = positive(vision, "hidden_size"), _siglip_size(content["model_type"], vision)
    projection = text.get("projection_size") or text["hidden_size"]
    if projection != width:
        raise ValueError(f"its texts have {projection!r} numbers, and its images {width}")
    return {
        "embed_dim": width,
        "quick_gelu": False,
        "custom_text": True,
        # Trained with a sigmoid; the values are the checkpoint's.
        "init_logit_scale": math.log(10),
        "init_logit_bias": -10,
        "vision_cfg": {
            "image_size": size,
            "timm_model_name": _SIGLIP_MODEL,
            "timm_model_sizes": {
                "img_size": size,
                "patch_size": positive(vision, "patch_size"),
                "embed_dim": width,
                "depth": positive(vision, "num_hidden_layers"),
                "num_heads": heads(vision),
                "mlp_ratio": transformer(vision)["mlp_ratio"],
                "act_layer": "gelu_tanh" if _is_tanh(vision) else "gelu",
                "eps": vision["layer_norm_eps"],
            },
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": {
            **transformer(text),
            "heads": heads(text),
            "context_length": positive(text, "max_position_embeddings"),
            "vocab_size": positive(text, "vocab_size"),
            "no_causal_mask": True,
            "pool_type": "last",
            "proj_bias": True,
            **({"act_kwargs": {"approximate": "tanh"}} if _is_tanh(text) else {}),
            **OWN_TOKENIZER,
        },
    }


def _siglip_size(kind: str, vision: Mapping[str, Any]) -> int:
    """The side of its images; SigLIP 2, which takes others, too, has positions for a square."""
    if kind == "siglip":
        return positive(vision, "image_size")
    patches = positive(vision, "num_patches")
    side = math.isqrt(patches)
    if side * side != patches:
        raise ValueError(f"its {patches} patches are no square")
    return side * positive(vision, "patch_size")


def _is_tanh(tower: Mapping[str, Any]) -> bool:
    if tower["hidden_act"] not in tuple(_SIGLIP_ACTS):
        known = " or ".join(map(repr, _SIGLIP_ACTS))
        act = tower["hidden_act"]
        raise ValueError(f"its hidden_act is {act!r}: for SigLIP there is {known}")
    return _SIGLIP_ACTS[tower["hidden_act"]]
