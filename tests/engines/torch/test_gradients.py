"""Maps of gradients, against attention written out and pictures with a known answer."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch

from clipcli.engines.torch.gradients import gradient_maps
from clipcli.errors import UsageError

TEXT = {"context_length": 8, "vocab_size": 100, "width": 32, "heads": 2, "layers": 1}
RED, BLUE = (2.0, 0.0, 0.0), (0.0, 0.0, 2.0)


def own_vit(size=(64, 64)):
    vision = {"image_size": size, "patch_size": 16, "width": 64, "layers": 3, "head_width": 16}
    return open_clip.model.CLIP(32, vision, TEXT)


def timm_tower(name, pool=""):
    vision = {"timm_model_name": name, "image_size": 224, "timm_pool": pool}
    projection = {"timm_proj": "none" if pool == "map" else "linear"}
    return open_clip.model.CustomTextCLIP(192, {**vision, **projection}, TEXT)


TOWERS = {
    "open_clip": own_vit,
    "timm": lambda: timm_tower("vit_tiny_patch16_224"),
    "timm with attention pooling": lambda: timm_tower("vit_tiny_patch16_224", "map"),
    "convolutions": lambda: timm_tower("convnext_atto"),
}


def seeded(make, *arguments):
    torch.manual_seed(0)
    return make(*arguments).eval().requires_grad_(False)


def plain(color, size=(64, 64)) -> torch.Tensor:
    return torch.tensor(color)[None, :, None, None].expand(1, 3, *size).clone()


def unit(features: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(features, dim=-1)


@pytest.mark.parametrize("name", TOWERS)
def test_each_half_of_a_picture_speaks_for_what_looks_like_it(name):
    """Labels are what the model makes of a red and of a blue picture; both are shown at once."""
    model = seeded(TOWERS[name])
    size = (64, 64) if name == "open_clip" else (224, 224)
    red, blue = plain(RED, size), plain(BLUE, size)
    embeddings = unit(model.encode_image(torch.cat([red, blue])))
    both = torch.cat([red[..., : size[1] // 2], blue[..., size[1] // 2 :]], dim=-1)
    difference = embeddings[0] - embeddings[1]
    maps = gradient_maps(model, both, torch.stack([difference, -difference])).numpy()
    left = maps[:, :, : maps.shape[2] // 2].sum(axis=(1, 2)) / maps.sum(axis=(1, 2))
    assert left[0] > 0.6
    assert left[1] < 0.4
    assert maps.min() >= 0


def test_le_grad_is_the_gradient_by_attention_written_out():
    model = seeded(own_vit)
    pixels = torch.randn(1, 3, 64, 64)
    directions = torch.randn(2, 32)
    visual = model.visual
    tokens = visual._embeds(pixels)
    expected = torch.zeros(2, 17)
    for block in visual.transformer.resblocks:
        weights, bias = block.attn.in_proj_weight, block.attn.in_proj_bias
        stacked = torch.nn.functional.linear(block.ln_1(tokens), weights, bias)
        query, key, value = stacked[0].reshape(17, 3, 4, 16).permute(1, 2, 0, 3)
        attention = (query @ key.transpose(1, 2) / 4).softmax(dim=-1).requires_grad_()
        mixed = block.attn.out_proj((attention @ value).permute(1, 0, 2).reshape(1, 17, 64))
        tokens = tokens + mixed
        tokens = tokens + block.mlp(block.ln_2(tokens))
        features = unit(visual.ln_post(tokens)[:, 0] @ visual.proj)
        for row, direction in enumerate(directions):
            score = (features[0] * direction).sum()
            (gradient,) = torch.autograd.grad(score, attention, retain_graph=True)
            expected[row] += gradient.relu().mean(dim=(0, 1)) / 3
        tokens = tokens.detach()
    found = gradient_maps(model, pixels, directions)
    assert found.shape == (2, 4, 4)
    np.testing.assert_allclose(found.flatten(1), expected[:, 1:], rtol=1e-4, atol=1e-7)
    # Nothing stays behind in the model.
    assert not any(module._forward_hooks for module in model.modules())


def test_a_model_whose_input_is_no_square_has_a_map_of_that_shape():
    model = seeded(own_vit, (32, 96))
    assert gradient_maps(model, plain(RED, (32, 96)), torch.eye(32)[:1]).shape == (1, 2, 6)


def test_a_tower_without_places_has_no_map():
    visual = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 8))
    model = SimpleNamespace(visual=visual, encode_image=visual)
    with pytest.raises(UsageError, match="use --method occlusion"):
        gradient_maps(model, torch.zeros(1, 3, 4, 4), torch.eye(8))
