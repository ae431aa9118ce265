"""What open_clip's configurations may say: each field's kind and bounds, and what must agree.

The names are those of `CLIP`, `CLIPVisionCfg`, `CLIPTextCfg` and `MultimodalCfg` in open_clip's
model.py and coca_model.py, and of `PreprocessCfg` in its transform.py. The bounds are far beyond
any model that has been published.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from clipcli.models.fields import (
    FLAG,
    NULL,
    TABLE,
    TEXT,
    Rule,
    check,
    choice,
    number,
    row,
    shown,
    whole,
)
from clipcli.models.tokenizers.clip import VOCABULARY_SIZE, CleanMode, check_special_tokens

_WIDTH = whole(1, 1 << 16)
_LAYERS = whole(1, 512)
_SHARE = number(0, 0.999)
_SIDE = whole(1, 1 << 13)
_SIDES = _SIDE | row(_SIDE, 2)
_LAYER_SCALE = number(-1000, 1000) | NULL
_CLEANING = choice(*get_args(CleanMode))

_NORM: Mapping[str, Rule] = {"eps": number(1e-12, 1), "elementwise_affine": FLAG, "bias": FLAG}
_ACTIVATION: Mapping[str, Rule] = {"approximate": choice("none", "tanh")}

# Of both towers.
_TRANSFORMER: Mapping[str, Rule | Mapping[str, Rule]] = {
    "mlp_ratio": number(0.01, 64),
    "ls_init_value": _LAYER_SCALE,
    "final_ln_after_pool": FLAG,
    "output_tokens": FLAG,
    "block_type": choice("default", "custom") | NULL,
    "norm_kwargs": TABLE | NULL,
    "act_kwargs": TABLE | NULL,
    **dict.fromkeys(
        (
            *("qk_norm", "scaled_cosine_attn", "scale_heads"),
            *("scale_attn_inner", "scale_attn", "scale_fc"),
        ),
        FLAG,
    ),
}

_VISION: Mapping[str, Any] = {
    **_TRANSFORMER,
    # Of timm's towers these are null, or not looked at.
    "layers": _LAYERS | row(_LAYERS, 4) | NULL,
    "width": _WIDTH | NULL,
    "head_width": _WIDTH | NULL,
    "patch_size": _SIDES | NULL,
    "image_size": _SIDES,
    "patch_dropout": _SHARE,
    "attentional_pool": FLAG | choice("parallel", "cascade"),
    "attn_pooler_queries": whole(1, 1 << 14),
    "attn_pooler_heads": whole(1, 1 << 10),
    "no_ln_pre": FLAG,
    "pos_embed_type": choice("learnable", "sin_cos_2d"),
    "pool_type": choice("tok", "avg"),
    "timm_model_name": TEXT | NULL,
    # What clipcli itself makes of transformers' models; see `siglip_folder`.
    "timm_model_sizes": {
        "img_size": whole(1, 1 << 13),
        "patch_size": whole(1, 1 << 13),
        "embed_dim": whole(1, 1 << 16),
        "depth": whole(1, 512),
        "num_heads": whole(1, 1 << 10),
        "mlp_ratio": number(1e-3, 1e3),
        "act_layer": choice("gelu", "gelu_tanh"),
        "eps": number(1e-12, 1),
    },
    "timm_model_pretrained": FLAG,
    "timm_pool": TEXT,
    "timm_proj": choice("linear", "mlp", "none", "") | NULL,
    "timm_proj_bias": FLAG,
    "timm_drop": _SHARE,
    "timm_drop_path": _SHARE | NULL,
}

_TEXT: Mapping[str, Any] = {
    **_TRANSFORMER,
    # The mask of a causal tower is a square of it.
    "context_length": whole(3, 1 << 13),
    "vocab_size": whole(3, 1 << 24),
    "hf_tokenizer_name": TEXT | NULL,
    "tokenizer_mode": choice("clips", "") | NULL,
    "tokenizer_kwargs": TABLE | NULL,
    "width": _WIDTH,
    "heads": whole(1, 1 << 10),
    "layers": _LAYERS,
    "embed_cls": FLAG,
    "pad_id": whole(0, 1 << 24),
    "eos_id": whole(0, 1 << 24),
    "no_causal_mask": FLAG,
    "pool_type": choice("argmax", "eos", "first", "last"),
    "proj_bias": FLAG,
    "proj_type": choice("linear", "none"),
    "hf_model_name": TEXT | NULL,
    "hf_model_pretrained": FLAG,
    "hf_proj_type": choice("mlp", "linear") | NULL,
    "hf_pooler_type": choice(
        "mean_pooler", "max_pooler", "cls_pooler", "cls_last_hidden_state_pooler"
    )
    | NULL,
}

_MODEL: Mapping[str, Any] = {
    "embed_dim": _WIDTH,
    "vision_cfg": _VISION,
    "text_cfg": _TEXT,
    "multimodal_cfg": {
        **_TEXT,
        "dim_head": _WIDTH,
        "n_queries": whole(1, 1 << 14),
        "attn_pooler_heads": whole(1, 1 << 10),
    },
    "quick_gelu": FLAG,
    "custom_text": FLAG,
    "init_logit_scale": number(-100, 100),
    "init_logit_bias": number(-1e4, 1e4) | NULL,
    "nonscalar_logit_scale": FLAG,
    "output_dict": FLAG,
    "pad_id": whole(0, 1 << 24),
}

# What a tokenizer may be told; another option would be the transformers library's own, which could
# lead it to other files.
_OWN_TOKENIZER: Mapping[str, Rule] = {
    "clean": _CLEANING,
    "additional_special_tokens": Rule(
        "texts in a list",
        lambda value: isinstance(value, list) and all(isinstance(token, str) for token in value),
    )
    | NULL,
    "reduction_mask": Rule(
        "empty: it takes tokens away at random, in training, and texts that fit the context are"
        " read the same without it",
        lambda value: value in ("", None),
    ),
}
_HUB_TOKENIZER: Mapping[str, Rule] = {"clean": _CLEANING, "strip_sep_token": FLAG}

_ONE_MEAN, _ONE_SPREAD = number(-1000, 1000), number(1e-6, 1000)
MEAN, SPREAD = _ONE_MEAN | row(_ONE_MEAN, 3), _ONE_SPREAD | row(_ONE_SPREAD, 3)
"""Of pixels in 0..1: one number for all channels, or three."""

_PREPROCESS: Mapping[str, Rule] = {
    # The model's own size counts, as in open_clip.
    "size": _SIDES | NULL,
    "mode": choice("RGB") | NULL,
    "mean": MEAN | NULL,
    "std": SPREAD | NULL,
    "interpolation": choice("bicubic", "bilinear", "random") | NULL,
    "resize_mode": choice("shortest", "longest", "squash") | NULL,
    "fill_color": whole(0, 255) | NULL,
}


def check_model(config: Any) -> None:  # noqa: ANN401
    """See that a `model_cfg` is one that open_clip can build, and that clipcli reads as it does.

    Raises:
        ValueError: it is not; the message names the field.
    """
    check(config, _MODEL, "model_cfg", needed=("embed_dim", "vision_cfg", "text_cfg"))
    _check_vision(config["vision_cfg"])
    _check_text(config["text_cfg"])
    for tower in ("vision_cfg", "text_cfg"):
        place = f"model_cfg.{tower}"
        check(config[tower].get("norm_kwargs") or {}, _NORM, f"{place}.norm_kwargs")
        check(config[tower].get("act_kwargs") or {}, _ACTIVATION, f"{place}.act_kwargs")


def check_preprocess(fields: Any) -> None:  # noqa: ANN401
    """See that a `preprocess_cfg` is one; None stands for open_clip's defaults.

    Raises:
        ValueError: it is not; the message names the field.
    """
    check({} if fields is None else fields, _PREPROCESS, "preprocess_cfg")


def least_weights(config: Mapping[str, Any]) -> Mapping[str, int]:
    """How many numbers each tower's weights must at least be, by the sizes in its configuration.

    Of towers that open_clip does not build itself nothing is counted.
    """
    vision, text = config["vision_cfg"], config["text_cfg"]
    return {
        "vision_cfg": 0 if vision.get("timm_model_name") else _least_vision(vision, config),
        "text_cfg": 0 if text.get("hf_model_name") else _least_text(text, config),
    }


def _least_vision(vision: Mapping[str, Any], config: Mapping[str, Any]) -> int:
    width: int = vision.get("width", 768)
    layers = vision.get("layers", 12)
    if isinstance(layers, list):
        # Keys, queries and values of the last pooling; the blocks before it are not counted.
        least: int = 3 * (32 * width) ** 2 + 32 * width * config["embed_dim"]
        return least
    height, side = _pair(vision.get("image_size", 224))
    patch_height, patch_side = _pair(vision.get("patch_size", 16))
    places = (height // patch_height) * (side // patch_side)
    return places * width + 3 * patch_height * patch_side * width + _blocks(vision, width, layers)


def _least_text(text: Mapping[str, Any], config: Mapping[str, Any]) -> int:
    width: int = text.get("width", 512)
    layers: int = text.get("layers", 12)
    rows: int = text.get("vocab_size", VOCABULARY_SIZE) + text.get("context_length", 77)
    projection: int = 0 if text.get("proj_type") == "none" else width * config["embed_dim"]
    return rows * width + projection + _blocks(text, width, layers)


def _blocks(tower: Mapping[str, Any], width: int, layers: int) -> int:
    """Weights of a transformer's products: four of attention, two of its perceptron."""
    return layers * width * (4 * width + 2 * int(width * tower.get("mlp_ratio", 4.0)))


def _pair(size: int | list[int]) -> tuple[int, int]:
    height, width = size if isinstance(size, list) else (size, size)
    return height, width


def _check_vision(vision: Mapping[str, Any]) -> None:
    place = "model_cfg.vision_cfg"
    if vision.get("timm_model_name"):
        return
    is_resnet = isinstance(vision.get("layers"), list)
    for name in ("layers", "width", "head_width", "patch_size"):
        # A ResNet has no patches.
        if vision.get(name, 1) is None and not (is_resnet and name == "patch_size"):
            raise ValueError(f"{place}.{name} is null: only towers of timm go without it")
    if is_resnet:
        if isinstance(vision.get("image_size", 224), list):
            raise ValueError(f"{place}.image_size is a list: a ResNet takes one number")
        return
    width, head_width = vision.get("width", 768), vision.get("head_width", 64)
    if width % head_width:
        raise ValueError(f"{place}.width is {width}, no multiple of its head_width {head_width}")
    sizes, patches = _pair(vision.get("image_size", 224)), _pair(vision.get("patch_size", 16))
    if any(patch > size for size, patch in zip(sizes, patches, strict=True)):
        reason = "larger than its image_size"
        raise ValueError(f"{place}.patch_size is {shown(vision.get('patch_size', 16))}, {reason}")


def _check_text(text: Mapping[str, Any]) -> None:
    place = "model_cfg.text_cfg"
    options = text.get("tokenizer_kwargs") or {}
    is_own = not text.get("hf_tokenizer_name")
    check(options, _OWN_TOKENIZER if is_own else _HUB_TOKENIZER, f"{place}.tokenizer_kwargs")
    if is_own:
        _check_own_tokenizer(text, place)
    if text.get("hf_model_name"):
        return
    width, heads = text.get("width", 512), text.get("heads", 8)
    if width % heads:
        raise ValueError(f"{place}.width is {width}, no multiple of its {heads} heads")


def _check_own_tokenizer(text: Mapping[str, Any], place: str) -> None:
    """What must be so where the tokenizer is CLIP's own."""
    options = text.get("tokenizer_kwargs") or {}
    special = options.get("additional_special_tokens") or []
    try:
        check_special_tokens(special)
    except ValueError as error:
        field = f"{place}.tokenizer_kwargs.additional_special_tokens"
        raise ValueError(f"{field} cannot be used: {error}") from error
    if text.get("tokenizer_mode"):
        raise ValueError(f"{place}.tokenizer_mode goes with a hf_tokenizer_name")
    tokens = VOCABULARY_SIZE + len(special)
    size = text.get("vocab_size", VOCABULARY_SIZE)
    if size < tokens and not text.get("hf_model_name"):
        reason = f"fewer than the {tokens:,} of CLIP's own tokenizer"
        raise ValueError(f"{place}.vocab_size is {size:,}, {reason}")
