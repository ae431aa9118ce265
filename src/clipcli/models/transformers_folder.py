"""What the transformers library writes of a CLIP model, in open_clip's terms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from clipcli.models.tokenizers.clip import VOCABULARY_SIZE

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
_USUAL_EPSILON = 1e-5  # of torch's own LayerNorm, and so of open_clip's

_END_ID = 49407
# Older configurations name 2 as the end of text; transformers then looks for the highest id, which
# is where CLIP's vocabulary has it, and where open_clip looks.
_LEGACY_END_ID = 2

# Pillow's numbers, which are also transformers'.
_RESAMPLING = {2: "bilinear", 3: "bicubic"}


def model_config(content: Any) -> dict[str, Any]:  # noqa: ANN401
    """Translate a `config.json` into open_clip's `model_cfg`.

    Raises:
        ValueError: it is of another kind of model, or of a CLIP that open_clip cannot build.
    """
    kind = content.get("model_type") if isinstance(content, dict) else None
    if kind != "clip":
        raise ValueError(f"its model_type is {kind!r}, and of transformers' only 'clip' is read")
    vision = _tower(content, "vision_config", _VISION_DEFAULTS)
    text = _tower(content, "text_config", _TEXT_DEFAULTS)
    if vision["num_channels"] != 3:
        raise ValueError(f"its images have {vision['num_channels']!r} channels, not 3")
    _check_tokens(text)
    return {
        "embed_dim": _positive(content, "projection_dim", 512),
        "quick_gelu": _quick_gelu(vision["hidden_act"], text["hidden_act"]),
        "vision_cfg": {
            **_transformer(vision),
            "head_width": _positive(vision, "hidden_size") // _heads(vision),
            "image_size": _positive(vision, "image_size"),
            "patch_size": _positive(vision, "patch_size"),
        },
        "text_cfg": {
            **_transformer(text),
            "heads": _heads(text),
            "context_length": _positive(text, "max_position_embeddings"),
            "vocab_size": VOCABULARY_SIZE,
        },
    }


def preprocess_config(content: Any, image_size: int) -> dict[str, Any]:  # noqa: ANN401
    """Translate a `preprocessor_config.json` into open_clip's `preprocess_cfg`.

    Args:
        content: of the file; in a `processor_config.json` it is one part of several.
        image_size: of the model's input, a side in pixels.

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
    for step in ("do_resize", "do_rescale"):
        if not content.get(step, True):
            raise ValueError(f"it switches {step} off, which clipcli always does")
    factor = content.get("rescale_factor", 1 / 255)
    if not isinstance(factor, float) or not math.isclose(factor, 1 / 255, rel_tol=1e-6):
        raise ValueError(f"its rescale_factor is {factor!r}, not 1/255")
    resample = content.get("resample", 3)
    if resample not in tuple(_RESAMPLING):
        raise ValueError(f"its resample is {resample!r}: clipcli has 2 (bilinear) and 3 (bicubic)")
    pixels = {
        "interpolation": _RESAMPLING[resample],
        "resize_mode": _resize_mode(content, image_size),
    }
    if not content.get("do_normalize", True):
        return {**pixels, "mean": [0.0] * 3, "std": [1.0] * 3}
    means = {"mean": content.get("image_mean"), "std": content.get("image_std")}
    return {**pixels, **{name: value for name, value in means.items() if value is not None}}


def _tower(content: Mapping[str, Any], name: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    # Where both are given, transformers takes the one with the longer name, and nothing else.
    fields = content.get(f"{name}_dict")
    fields = content.get(name) if fields is None else fields
    if not isinstance(fields, dict | None):
        raise ValueError(f"its {name} is not a table of settings")
    return {**defaults, **(fields or {})}


def _transformer(tower: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that open_clip's two towers share."""
    width = _positive(tower, "hidden_size")
    inner = _positive(tower, "intermediate_size")
    ratio = inner / width
    if int(width * ratio) != inner:  # as open_clip multiplies: a rounding must not cost a row
        ratio = math.nextafter(ratio, math.inf)
    epsilon = tower["layer_norm_eps"]
    usual = epsilon == _USUAL_EPSILON
    return {
        "layers": _positive(tower, "num_hidden_layers"),
        "width": width,
        "mlp_ratio": ratio,
        **({} if usual else {"norm_kwargs": {"eps": epsilon}}),
    }


def _heads(tower: Mapping[str, Any]) -> int:
    width, heads = _positive(tower, "hidden_size"), _positive(tower, "num_attention_heads")
    if width % heads:
        raise ValueError(f"its width {width} is no multiple of its {heads} heads")
    return heads


def _positive(fields: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = fields.get(name, default)
    if type(value) is not int or value < 1:
        raise ValueError(f"it has an unusable {name}: {value!r}")
    return value


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
    size = content.get("size", {"shortest_edge": image_size})
    if isinstance(size, int):  # as the first versions wrote it
        size = {"shortest_edge": size}
    crop = content.get("crop_size", image_size)
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    square = {"height": image_size, "width": image_size}
    crops = content.get("do_center_crop", True)
    if size == square and (crop == square or not crops):
        return "squash"
    if size == {"shortest_edge": image_size} and crop == square and crops:
        return "shortest"
    how = f"cropped to {crop!r}" if crops else "not cropped"
    raise ValueError(f"images are resized to {size!r} and {how}: the model takes {image_size}")
