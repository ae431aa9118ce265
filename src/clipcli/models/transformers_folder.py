"""What the transformers library writes of CLIP, MetaCLIP 2 and SigLIP, in open_clip's terms."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from clipcli.models.fields import check
from clipcli.models.model_fields import MEAN, SPREAD
from clipcli.models.siglip_folder import siglip_config
from clipcli.models.specs import DEFAULT_MODEL
from clipcli.models.tokenizers.clip import VOCABULARY_SIZE
from clipcli.models.transformers_fields import (
    OWN_TOKENIZER,
    check_channels,
    heads,
    positive,
    read_tower,
    transformer,
)

# Where a config.json leaves a field out, transformers takes these (its configuration_clip.py).
_SHARED_DEFAULTS = {"num_hidden_layers": 12, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
_VISION_DEFAULTS = {
    **_SHARED_DEFAULTS,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
}
_TEXT_DEFAULTS = {
    **_SHARED_DEFAULTS,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "vocab_size": 49408,
    "max_position_embeddings": 77,
    "eos_token_id": 49407,
}

_END_ID = 49407
# Older configurations name 2 as the end of text; transformers then looks for the highest id, which
# is where CLIP's vocabulary has it, and where open_clip looks.
_LEGACY_END_ID = 2

_CHANNELS = ("mean", "std")
_CHANNEL_RULES = {"image_mean": MEAN, "image_std": SPREAD}

# Pillow's numbers, which are also transformers'.
_RESAMPLING = {2: "bilinear", 3: "bicubic"}


# What reads other kinds that are asked for; open_clip has no twin of the rest.
_TWINS = {
    "chinese_clip": "xlm-roberta-base-ViT-B-32:laion5b_s13b_b90k",
    "altclip": "xlm-roberta-large-ViT-H-14:frozen_laion5b_s13b_b90k",
    "clip_vision_model": DEFAULT_MODEL,
    "clip_text_model": DEFAULT_MODEL,
    "siglip_vision_model": "ViT-B-16-SigLIP:webli",
    "siglip_text_model": "ViT-B-16-SigLIP:webli",
    "siglip2_vision_model": "ViT-B-16-SigLIP2-256:webli",
}


def model_config(content: Any) -> dict[str, Any]:  # noqa: ANN401
    """Translate a `config.json` into open_clip's `model_cfg`.

    One field is not open_clip's: `timm_model_sizes` of a `vision_cfg`, what is other than in timm's
    model of that name.

    Raises:
        ValueError: it is of another kind of model, or of one that open_clip cannot build.
    """
    kind = content.get("model_type") if isinstance(content, dict) else None
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        *kinds, last = (repr(known) for known in _READERS)
        twin = _TWINS.get(kind) if isinstance(kind, str) else None
        hint = f"; open_clip has a model for the same use: {twin}" if twin else ""
        raise ValueError(
            f"its model_type is {kind!r}, and of transformers' only {', '.join(kinds)} and {last}"
            f" are read{hint}"
        )
    return read(content)


def _clip(content: Mapping[str, Any]) -> dict[str, Any]:
    config = _clip_towers(content)
    _check_tokens(read_tower(content, "text_config", _TEXT_DEFAULTS))
    return config


def _metaclip_2(content: Mapping[str, Any]) -> dict[str, Any]:
    """CLIP with a vocabulary of its own, pooled where its end-of-text token is."""
    config = _clip_towers(content)
    text = read_tower(content, "text_config", _TEXT_DEFAULTS)
    vocabulary, end = positive(text, "vocab_size"), text["eos_token_id"]
    if type(end) is not int:
        raise ValueError(f"its texts end with token {end!r}, and not with one alone")
    own = {"vocab_size": vocabulary, "pool_type": "eos", "eos_id": end, **OWN_TOKENIZER}
    return {**config, "text_cfg": {**config["text_cfg"], **own}}


def _clip_towers(content: Mapping[str, Any]) -> dict[str, Any]:
    vision = read_tower(content, "vision_config", _VISION_DEFAULTS)
    text = read_tower(content, "text_config", _TEXT_DEFAULTS)
    check_channels(vision)
    return {
        "embed_dim": positive(content, "projection_dim", 512),
        "quick_gelu": _quick_gelu(vision["hidden_act"], text["hidden_act"]),
        "vision_cfg": {
            **transformer(vision),
            "head_width": positive(vision, "hidden_size") // heads(vision),
            "image_size": positive(vision, "image_size"),
            "patch_size": positive(vision, "patch_size"),
        },
        "text_cfg": {
            **transformer(text),
            "heads": heads(text),
            "context_length": positive(text, "max_position_embeddings"),
            "vocab_size": VOCABULARY_SIZE,
        },
    }


_READERS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "clip": _clip,
    "siglip": siglip_config,
    "siglip2": siglip_config,
    "metaclip_2": _metaclip_2,
}

# What images are prepared like where the file leaves it out, or is missing.
_CLIP_PIXELS = {"resample": 3, "do_center_crop": True}
_SIGLIP_PIXELS = {"do_center_crop": False, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
_PIXELS: Mapping[str, Mapping[str, Any]] = {
    "siglip": {**_SIGLIP_PIXELS, "resample": 3},
    "siglip2": {**_SIGLIP_PIXELS, "resample": 2},
}


def preprocess_config(
    content: Any,  # noqa: ANN401
    image_size: int,
    kind: str = "clip",
) -> dict[str, Any]:
    """Translate a `preprocessor_config.json` into open_clip's `preprocess_cfg`.

    Args:
        content: of the file; in a `processor_config.json` it is one part of several.
        image_size: of the model's input, a side in pixels.
        kind: the model's `model_type`.

    Raises:
        ValueError: it prepares images in a way that open_clip has no words for.
    """
    if not isinstance(content, dict):
        raise ValueError("it is not a table of settings")
    content = content.get("image_processor", content)
    if not isinstance(content, dict):
        raise ValueError("its image_processor is not a table of settings")
    # A null stands for transformers' own choice, too.
    content = {name: value for name, value in content.items() if value is not None}
    square = {"height": image_size, "width": image_size}
    usual = {"size": square} if kind in _PIXELS else {"size": {"shortest_edge": image_size}}
    content = {**usual, **_PIXELS.get(kind, _CLIP_PIXELS), **content}
    for step in ("do_resize", "do_rescale"):
        if not content.get(step, True):
            raise ValueError(f"it switches {step} off, which clipcli always does")
    factor = content.get("rescale_factor", 1 / 255)
    if not isinstance(factor, float) or not math.isclose(factor, 1 / 255, rel_tol=1e-6):
        raise ValueError(f"its rescale_factor is {factor!r}, not 1/255")
    resample = content["resample"]
    if resample not in tuple(_RESAMPLING):
        raise ValueError(f"its resample is {resample!r}: clipcli has 2 (bilinear) and 3 (bicubic)")
    pixels = {
        "interpolation": _RESAMPLING[resample],
        "resize_mode": _resize_mode(content, image_size),
    }
    if not content.get("do_normalize", True):
        return {**pixels, "mean": [0.0] * 3, "std": [1.0] * 3}
    means = {name: content[f"image_{name}"] for name in _CHANNELS if f"image_{name}" in content}
    check({f"image_{name}": value for name, value in means.items()}, _CHANNEL_RULES, "")
    return {**pixels, **means}


def usual_pixels(kind: str) -> dict[str, Any]:
    """open_clip's `preprocess_cfg` of a kind of model that comes without a file of it."""
    # A side as good as any: it is brought to size in the usual way.
    return preprocess_config({}, 1, kind) if kind in _PIXELS else {}


def _quick_gelu(vision: object, text: object) -> bool:
    if vision != text or vision not in ("quick_gelu", "gelu"):
        acts = f"{vision!r} for images and {text!r} for texts"
        raise ValueError(f"its hidden_act is {acts}: clipcli has 'gelu' or 'quick_gelu' for both")
    return vision == "quick_gelu"


def _check_tokens(text: Mapping[str, Any]) -> None:
    if text["vocab_size"] != VOCABULARY_SIZE:
        size = text["vocab_size"]
        raise ValueError(f"its vocabulary has {size!r} tokens, and CLIP's own {VOCABULARY_SIZE}")
    if text["eos_token_id"] not in (_LEGACY_END_ID, _END_ID):
        end = text["eos_token_id"]
        raise ValueError(f"its texts end with token {end!r}, and CLIP's own with {_END_ID}")


def _resize_mode(content: Mapping[str, Any], image_size: int) -> str:
    """Which side is brought to size, if the outcome is the square that the model takes."""
    size = content["size"]
    if isinstance(size, int):  # as the first versions wrote it
        size = {"shortest_edge": size}
    crop = content.get("crop_size", image_size)
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    square = {"height": image_size, "width": image_size}
    crops = content["do_center_crop"]
    if size == square and (crop == square or not crops):
        return "squash"
    if size == {"shortest_edge": image_size} and crop == square and crops:
        return "shortest"
    how = f"cropped to {crop!r}" if crops else "not cropped"
    raise ValueError(f"images are resized to {size!r} and {how}: the model takes {image_size}")
