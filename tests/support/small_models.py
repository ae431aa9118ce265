"""Small random models of open_clip's own kinds."""

import json

import open_clip
import torch
from safetensors.torch import save_file

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
VISION = {"image_size": 32, "patch_size": 16, "width": 32, "head_width": 16, "layers": 1}
CLIP = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}
# As open_clip's SigLIP configurations, with CLIP's tokenizer.
SIGMOID = {
    "embed_dim": 16,
    "init_logit_scale": 2.3,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": VISION,
    "text_cfg": {
        **TEXT,
        "no_causal_mask": True,
        "pool_type": "last",
        "proj_type": "none",
        "width": 16,
    },
}


def write_model(folder, config):
    """A random model of this configuration, as open_clip publishes one; returns it, too."""
    folder.mkdir()
    content = {"model_cfg": config, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False).eval()
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return model
