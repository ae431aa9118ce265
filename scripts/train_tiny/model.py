"""What is trained: a linear projection of the backbone's features, and a small text tower."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from scripts.train_tiny.backbone import ARCHITECTURE, FEATURES, IMAGE_SIZE

DIMENSIONS = 256
WIDTH = 128
CONTEXT = 77
CONFIG: dict[str, Any] = {
    "embed_dim": DIMENSIONS,
    "vision_cfg": {
        "timm_model_name": ARCHITECTURE,
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "timm_proj_bias": True,
        "image_size": IMAGE_SIZE,
    },
    "text_cfg": {
        "context_length": CONTEXT,
        "vocab_size": 49408,
        "width": WIDTH,
        "heads": 4,
        "layers": 2,
    },
}
TOKENIZER = open_clip.SimpleTokenizer(context_length=CONTEXT)


def tokenized(texts: list[str]) -> Tensor:
    """Tokens (n, 77) of texts."""
    return torch.stack([tokens_of(text) for text in texts])


@lru_cache(100_000)
def tokens_of(text: str) -> Tensor:
    """Tokens (77,) of a text."""
    tokens: Tensor = TOKENIZER([text])[0]
    return tokens


class TinyClip(nn.Module):
    """Both towers, the image tower from the backbone's features on; embeddings are unit rows."""

    def __init__(self) -> None:
        super().__init__()
        text = open_clip.model._build_text_tower(
            DIMENSIONS, open_clip.CLIPTextCfg(**CONFIG["text_cfg"])
        )
        self.text = text
        self.projection = nn.Linear(FEATURES, DIMENSIONS)
        self.logit_scale = nn.Parameter(torch.tensor(25.0).log())

    def encode_features(self, features: Tensor) -> Tensor:
        """Features (n, 1280) -> (n, 256)."""
        return functional.normalize(self.projection(features), dim=-1)

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Tokens (n, length), no longer than the longest text needs -> (n, 256)."""
        return functional.normalize(self.ends(tokens) @ self.text.text_projection, dim=-1)

    def ends(self, tokens: Tensor) -> Tensor:
        """Tokens (n, length) -> the tower's states (n, 128) at the texts' ends.

        The tower is causal: what comes after a text's end changes nothing.
        """
        text, length = self.text, tokens.shape[1]
        states = text.token_embedding(tokens) + text.positional_embedding[:length]
        states = text.ln_final(text.transformer(states, attn_mask=text.attn_mask[:length, :length]))
        ends: Tensor = states[torch.arange(len(tokens)), tokens.argmax(dim=1)]
        return ends

    def encode_texts(self, texts: list[str], parts: int = 3) -> Tensor:
        """Texts -> (n, 256); in parts of similar length, so that little is padding."""
        tokens = tokenized(texts)
        lengths = tokens.argmax(dim=1) + 1
        order = lengths.argsort()
        encoded = [
            self.encode_tokens(tokens[part, : int(lengths[part].max())])
            for part in order.tensor_split(parts)
            if len(part)
        ]
        return torch.cat(encoded)[order.argsort()]


def from_folder(folder: Path) -> TinyClip:
    """The trained parts of a model that `write_model` wrote."""
    stored = load_file(folder / "open_clip_model.safetensors")
    model = TinyClip()
    state = {place: stored[name].float() for place, name in stored_names(model).items()}
    model.load_state_dict(state, strict=False)
    return model


def stored_names(model: TinyClip) -> dict[str, str]:
    """Name of each trained tensor in an open_clip model's state."""
    ours = {
        "projection.weight": "visual.head.proj.weight",
        "projection.bias": "visual.head.proj.bias",
    }
    return {
        name: ours.get(name, name.removeprefix("text."))
        for name in model.state_dict()
        if not name.endswith("attn_mask")
    }


def encoded(model: TinyClip, words: list[str], template: str = "a photo of a {}.") -> Tensor:
    """Embeddings (n, 256) of many words in a template, without gradients' memory."""
    parts = [words[first : first + 512] for first in range(0, len(words), 512)]
    return torch.cat(
        [model.encode_texts([template.format(word) for word in part]) for part in parts]
    )
