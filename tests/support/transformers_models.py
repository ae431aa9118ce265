"""Small CLIPs as the transformers library writes them."""

import json
from functools import reduce

import numpy as np
import open_clip
import torch

from clipcli.models import transformers_folder

CONFIG = {
    "model_type": "clip",
    "projection_dim": 16,
    "vision_config": {
        "hidden_size": 32,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
    },
    "text_config": {
        "hidden_size": 24,
        "intermediate_size": 100,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "max_position_embeddings": 16,
    },
}
PIXELS = {
    "size": {"shortest_edge": 32},
    "crop_size": {"height": 32, "width": 32},
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.4, 0.5, 0.6],
    "resample": 2,
}
NAMES = {
    "class_embedding": "vision_model.embeddings.class_embedding",
    "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "ln_pre": "vision_model.pre_layrnorm",
    "ln_post": "vision_model.post_layernorm",
    "token_embedding": "text_model.embeddings.token_embedding",
    "ln_final": "text_model.final_layer_norm",
    "transformer.resblocks": "encoder.layers",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "c_fc": "fc1",
    "c_proj": "fc2",
    "attn.out_proj": "self_attn.out_proj",
}


def to_transformers(state):
    """open_clip's state dict as transformers would write it: the other way round, on its own."""
    found = {}
    for full, value in state.items():
        tower = "vision_model." if full.startswith("visual.") else "text_model."
        key = full.removeprefix("visual.")
        if key == "logit_scale":
            found[key] = value
        elif key in ("proj", "text_projection"):
            name = "visual_projection" if key == "proj" else "text_projection"
            found[f"{name}.weight"] = value.T.contiguous()
        elif key == "positional_embedding":
            found[f"{tower}embeddings.position_embedding.weight"] = value
        elif "in_proj" in key:
            layer, kind = key.split(".")[2], key.rpartition("_")[2]
            for part, rows in zip("qkv", value.chunk(3), strict=True):
                name = f"{tower}encoder.layers.{layer}.self_attn.{part}_proj.{kind}"
                found[name] = rows.clone()
        else:
            theirs = reduce(lambda name, pair: name.replace(*pair), NAMES.items(), key)
            found[theirs if theirs.startswith(tower) else tower + theirs] = value
    return found


def translated(**change):
    return transformers_folder.model_config({**CONFIG, **change})


def write_folder(folder, config=CONFIG, **files):
    """A folder without weights: write_folder(path, preprocessor_config={...})."""
    folder.mkdir(exist_ok=True)
    for name, content in {"config": config, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def write_config(folder, config):
    folder.mkdir(exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))


def random_model(folder, config):
    """open_clip's model, none of its parameters as they usually begin (zeros, ones)."""
    write_config(folder, config)
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False).eval()
    for parameter in model.requires_grad_(False).parameters():
        parameter.normal_(std=0.3)
    return model


def pixels(count=3, side=32):
    return np.random.default_rng(0).normal(size=(count, 3, side, side)).astype(np.float32)
