"""Every family of architectures that open_clip builds, made small, with random weights.

None of the weights are the trivial ones that models begin with: scales of norms and of layers,
biases and running statistics are uneven, so that nothing is hidden behind a zero or a one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from timm.models import register_model
from torch import nn

Float32 = NDArray[np.float32]

PROMPTS = ("a cat", "a photo of a small dog", "rockets", "a cup of coffee on a table, and more")
_IMAGES = 4
_END = 49407  # of a text, in CLIP's own vocabulary

_VISION = {"image_size": 32, "patch_size": 8, "width": 64, "head_width": 32, "layers": 3}
_TEXT = {"context_length": 24, "width": 64, "heads": 2, "layers": 3}
_SIDE = 64  # of timm's small models

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """An architecture, made small.

    Attributes:
        name: for people.
        vision: of open_clip's `vision_cfg`, beside the usual ones.
        text: of its `text_cfg`, likewise.
        more: of its `model_cfg`.
        foreign: the configuration of a text tower of transformers, and its class there.
    """

    name: str
    vision: Config = field(default_factory=dict)
    text: Config = field(default_factory=dict)
    more: Config = field(default_factory=dict)
    foreign: tuple[str, Config] | None = None

    def config(self, folder: Path) -> dict[str, Any]:
        """open_clip's `model_cfg`; a tower of transformers is described in the folder."""
        text = {**_TEXT, **self.text}
        if self.foreign is not None:
            text = {"context_length": 24, **self.text, "hf_model_name": str(folder / "text")}
        config = {"embed_dim": 48, **self.more}
        return {**config, "vision_cfg": {**_VISION, **self.vision}, "text_cfg": text}


def _timm(base: str, **sizes: Any) -> dict[str, Any]:  # noqa: ANN401
    """A `vision_cfg` with one of timm's models in another size, which timm then knows by name."""
    name = f"small_{base}"

    def build(pretrained: bool = False, **settings: Any) -> nn.Module:  # noqa: ANN401, ARG001
        model: nn.Module = timm.create_model(base, **{**sizes, **settings})
        return model

    build.__name__ = name
    register_model(build)
    side = sizes.get("img_size", _SIDE)
    return {"timm_model_name": name, "image_size": side, "timm_proj": "linear"}


def _transformer(base: str, **sizes: Any) -> dict[str, Any]:  # noqa: ANN401
    usual = {"img_size": _SIDE, "embed_dim": 64, "depth": 2, "num_heads": 2}
    return _timm(base, **{**usual, **sizes})


_EPSILON = {"norm_kwargs": {"eps": 1e-3}, "block_type": "custom"}
_CUSTOM = {"block_type": "custom"}
_NORMS = dict.fromkeys(
    ("qk_norm", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc"), True
)
_DECODER = {"multimodal_cfg": {"width": 64, "context_length": 24, "heads": 2, "layers": 1}}
_POOLER = {"attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 4}
_TOKENS = {"output_tokens": True}
_OWN_TEXT = {"custom_text": True}
_SIGMOID = {**_OWN_TEXT, "init_logit_scale": 2.3, "init_logit_bias": -10}
_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
_ROBERTA = {**_SIZES, "intermediate_size": 64, "vocab_size": 600, "max_position_embeddings": 32}
_MT5 = {"vocab_size": 600, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
_M2M = {
    "vocab_size": 600,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}

FAMILIES = (
    Family("ViT"),
    Family("ViT with QuickGELU", more={"quick_gelu": True}),
    Family("ViT, text tower apart", more=_OWN_TEXT),
    Family("ViT for wide images", {"image_size": [32, 48]}),
    Family("layer scale", {"ls_init_value": 0.1}, {"ls_init_value": 0.1}),
    Family("layer scale, text tower apart", {}, {"ls_init_value": 0.1}, _OWN_TEXT),
    Family("custom blocks", _CUSTOM, _CUSTOM),
    Family("custom blocks with every norm", _NORMS, _NORMS),
    Family("another epsilon", _EPSILON, _EPSILON),
    Family(
        "tanh GELU",
        {"act_kwargs": {"approximate": "tanh"}},
        {"act_kwargs": {"approximate": "tanh"}},
    ),
    Family("patch dropout", {"patch_dropout": 0.5, "pos_embed_type": "sin_cos_2d"}),
    Family("attentional pool", _POOLER),
    Family("attentional pool, averaged", {**_POOLER, "pool_type": "avg"}),
    Family(
        "CLIPA",
        {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
        {"pool_type": "last", "no_causal_mask": True},
    ),
    Family("text pooled at its end", {}, {"pool_type": "eos", "eos_id": _END}, _OWN_TEXT),
    Family("text pooled first", {}, {"pool_type": "first", "no_causal_mask": True}),
    Family("text projection with bias", {}, {"proj_bias": True}),
    Family("no text projection", {}, {"proj_type": "none", "width": 48}, _SIGMOID),
    Family("class token in the text", {}, {"embed_cls": True}, _OWN_TEXT),
    Family(
        "class token, no causal mask", {}, {"embed_cls": True, "no_causal_mask": True}, _OWN_TEXT
    ),
    Family("scale in a row", more={"nonscalar_logit_scale": True, "init_logit_bias": -10}),
    Family("tokens given out", _TOKENS, _TOKENS, _OWN_TEXT),
    Family(
        "CoCa",
        {**_POOLER, **_TOKENS},
        {"embed_cls": True, **_TOKENS},
        {**_OWN_TEXT, **_DECODER},
    ),
    Family("CoCa, base", _TOKENS, {"embed_cls": True, **_TOKENS}, {**_OWN_TEXT, **_DECODER}),
    Family("ModifiedResNet", {"image_size": 64, "layers": [1, 2, 1, 1], "width": 16}),
    Family("timm ConvNeXt", _timm("convnext_base", depths=(1, 1, 2, 1), dims=(16, 24, 32, 48))),
    Family("timm ConvNeXt, MLP", {**_timm("test_convnext"), "timm_proj": "mlp"}),
    Family("timm ViT", _transformer("vit_large_patch14_clip_224", patch_size=16)),
    Family("timm ViT, averaged", _transformer("vit_medium_patch16_gap_256")),
    Family("timm ViT, relative positions", _transformer("vit_relpos_medium_patch16_cls_224")),
    Family("timm EVA", _transformer("eva_giant_patch14_224", patch_size=16, mlp_ratio=2)),
    Family("timm EVA02", _transformer("eva02_base_patch16_clip_224"), more=_OWN_TEXT),
    Family(
        "timm PE-Core",
        {**_transformer("vit_pe_core_tiny_patch16_384"), "timm_pool": "map"},
        more=_OWN_TEXT,
    ),
    Family(
        "timm Swin",
        _timm(
            "swin_base_patch4_window7_224",
            img_size=_SIDE,
            window_size=4,
            embed_dim=16,
            depths=(1, 1, 2, 1),
            num_heads=(1, 1, 2, 2),
        ),
    ),
    Family(
        "timm ViTamin",
        _timm("vitamin_small_224", img_size=_SIDE, depth=2),
    ),
    Family(
        "MobileCLIP",
        _timm("fastvit_mci0", layers=(1,) * 4, embed_dims=(16, 32, 64, 128)),
        {"no_causal_mask": True},
        _OWN_TEXT,
    ),
    Family(
        "MobileCLIP2",
        _timm("fastvit_mci3", layers=(1,) * 5, embed_dims=(16, 32, 64, 128, 256)),
        more=_OWN_TEXT,
    ),
    Family(
        "MobileCLIP-B",
        {**_timm("vit_base_mci_224", img_size=_SIDE, depth=1), "timm_pool": "token"},
        more=_OWN_TEXT,
    ),
    Family(
        "SigLIP",
        {**_transformer("vit_base_patch16_siglip_224", embed_dim=48), "timm_pool": "map"},
        {"no_causal_mask": True, "pool_type": "last", "proj_type": "none", "width": 48},
        _SIGMOID,
    ),
    Family(
        "SigLIP2",
        {
            **_transformer("vit_giantopt_patch16_siglip_256", embed_dim=48),
            "timm_pool": "map",
            "timm_proj": "none",
        },
        {
            "no_causal_mask": True,
            "pool_type": "last",
            "proj_bias": True,
            "norm_kwargs": {"eps": 1e-6},
            "act_kwargs": {"approximate": "tanh"},
            "mlp_ratio": 3.7362,
        },
        _SIGMOID,
    ),
    Family(
        "timm ResNet, attention pool",
        {
            **_timm("test_resnet", channels=(32, 32, 64, 64)),
            "timm_pool": "rot_attn",
            "timm_proj": "",
        },
        more={"embed_dim": 64},
    ),
    Family("RoBERTa", text={"hf_pooler_type": "mean_pooler"}, foreign=("RobertaConfig", _ROBERTA)),
    Family(
        "XLM-RoBERTa",
        text={"hf_pooler_type": "cls_pooler", "hf_proj_type": "linear"},
        foreign=("XLMRobertaConfig", _ROBERTA),
    ),
    Family("mT5", text={"hf_pooler_type": "mean_pooler"}, foreign=("MT5Config", _MT5)),
    Family(
        "NLLB",
        {**_transformer("vit_base_patch16_siglip_384", embed_dim=48), "timm_pool": "map"},
        {"hf_pooler_type": "cls_pooler", "hf_proj_type": "linear"},
        _SIGMOID,
        ("M2M100Config", _M2M),
    ),
    Family(
        "CoCa with RoBERTa",
        {**_POOLER, **_TOKENS},
        {"hf_pooler_type": "cls_pooler", "hf_proj_type": "linear", **_TOKENS},
        {**_OWN_TEXT, **_DECODER},
        ("RobertaConfig", _ROBERTA),
    ),
)


def can_build(family: Family) -> bool:
    """Whether what the family needs is installed."""
    return family.foreign is None or find_spec("transformers") is not None


def write_family(family: Family, folder: Path) -> nn.Module:
    """A model's folder with uneven random weights, and open_clip's own model of it in fp32."""
    folder.mkdir(parents=True)
    if family.foreign is not None:
        _write_text_tower(*family.foreign, folder / "text")
    content = {"model_cfg": family.config(folder)}
    (folder / "open_clip_config.json").write_text(json.dumps(content), encoding="utf-8")
    torch.manual_seed(1)
    model: nn.Module = open_clip.create_model(
        f"local-dir:{folder}", load_weights=False, pretrained_text=False
    ).eval()
    make_uneven(model)
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return model


def _write_text_tower(kind: str, config: Config, folder: Path) -> None:
    import transformers

    getattr(transformers, kind)(**config).save_pretrained(folder)


def make_uneven(model: nn.Module) -> None:
    """Draw every parameter and every running statistic anew, none as models begin."""
    embeddings = {id(part.weight) for part in model.modules() if isinstance(part, nn.Embedding)}
    with torch.no_grad():
        for name, value in model.state_dict(keep_vars=True).items():
            last = name.rpartition(".")[2]
            if not value.is_floating_point() or last in ("logit_scale", "logit_bias"):
                continue
            if "gamma" in last or "layer_scale" in last:
                value.uniform_(0.2, 0.6)
            elif last.endswith("bias"):
                value.normal_(std=0.2)
            elif value.numel() == max(value.shape, default=1) and "emb" not in last:
                value.uniform_(0.6, 1.2)  # scales, and variances
            elif id(value) in embeddings or "emb" in last or last in ("query", "latent"):
                value.normal_(std=0.5)
            else:
                value.normal_(std=value[0].numel() ** -0.5)
    _measure_statistics(model)


def _measure_statistics(model: Any) -> None:  # noqa: ANN401
    """Give batch norms the spread of what they see, and a little of its average.

    With another spread activations would explode; without their whole average, in random models,
    little more than rounding errors would be left.
    """
    norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    for norm in norms:
        norm.momentum = None  # the average of all batches
        norm.reset_running_stats()
        norm.train()
    with torch.no_grad():
        model.encode_image(torch.from_numpy(images_of(model, 16)))
        for norm in norms:
            norm.eval()
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean *= torch.empty_like(norm.running_mean).uniform_(0.0, 0.1)
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.8, 1.25)


def images_of(model: Any, count: int = _IMAGES) -> Float32:  # noqa: ANN401  open_clip has no types
    """Random pixels in the model's own size, shape (n, 3, height, width).

    Each image has its own light, colours and patches: noise alone would look the same everywhere.
    """
    size = model.visual.image_size
    height, width = size if isinstance(size, Sequence) else (size, size)
    random = np.random.default_rng(0)
    patches = random.normal(size=(count, 3, 4, 4)).repeat(-(-height // 4), 2)
    pixels = patches.repeat(-(-width // 4), 3)[:, :, :height, :width]
    pixels *= random.uniform(0.2, 1.5, size=(count, 3, 1, 1))
    pixels += random.normal(size=(count, 3, 1, 1))
    return (pixels + random.normal(size=pixels.shape, scale=0.2)).astype(np.float32)


def tokens_of(family: Family) -> NDArray[np.int64]:
    """Token ids of the prompts; random ones, padded, for a text tower of transformers."""
    length = int(family.text.get("context_length", 24))
    if family.foreign is None:
        ids: NDArray[np.int64] = open_clip.SimpleTokenizer(context_length=length)(PROMPTS).numpy()
        return ids
    random = np.random.default_rng(0)
    ids = random.integers(5, 600, size=(len(PROMPTS), length))
    for row, used in enumerate(range(4, 4 + 5 * len(PROMPTS), 5)):
        ids[row, used:] = 0 if family.foreign[0] == "MT5Config" else 1
    return ids
