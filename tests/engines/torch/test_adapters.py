"""LoRA on a loaded model, against a merge by hand, in every family of architectures."""

import re

import numpy as np
import open_clip
import pytest
import torch
from lora_weights import some_lora
from safetensors.numpy import save
from small_models import CLIP, TEXT, VISION, write_model

from benchmarks.families import FAMILIES, can_build, images_of, tokens_of, write_family
from benchmarks.sweep import torch_engine
from clipcli.engines.torch.adapters import (
    apply_lora,
    find_layers,
    lora_digest,
    lora_weights,
    merge_lora,
    new_weights,
    sharing_weights,
)
from clipcli.engines.torch.towers import encode_image, encode_text
from clipcli.errors import ModelError

SCALE = 1 / np.sqrt(2)
ALL = ("q", "k", "v", "out")


def embedded(model, pixels, tokens):
    with torch.inference_mode():
        features = (
            encode_image(model, torch.from_numpy(pixels)),
            encode_text(model, torch.from_numpy(tokens)),
        )
    return [torch.nn.functional.normalize(each, dim=-1).numpy() for each in features]


def most_different(one, other):
    return [np.abs(ours - theirs).max() for ours, theirs in zip(one, other, strict=True)]


def layer_names(model, *arguments):
    return [layer.weight for layer in find_layers(model, *arguments)]


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.name)
def built(request, tmp_path_factory):
    """A family's random model, its inputs, and what it makes of them."""
    family = request.param
    if not can_build(family):
        pytest.skip("transformers is not installed")
    with torch.random.fork_rng():
        model = write_family(family, tmp_path_factory.mktemp("family") / "model")
    inputs = images_of(model), tokens_of(family)
    return model.requires_grad_(False), inputs, embedded(model, *inputs)


@pytest.mark.filterwarnings("ignore")  # transformers' own
class TestFamilies:
    def test_an_untrained_one_changes_nothing_at_all(self, built):
        model, inputs, before = built
        changed = sharing_weights(model)
        layers = find_layers(changed, "both", ALL)
        apply_lora(changed, new_weights(changed, layers, 2, np.random.default_rng(0)), SCALE)
        assert most_different(embedded(changed, *inputs), before) == [0.0, 0.0]

    def test_merged_and_beside_the_weights_it_is_the_same(self, built):
        model, inputs, before = built
        keys = model.state_dict().keys()
        changed = sharing_weights(model)
        apply_lora(changed, some_lora(changed, ALL), SCALE)
        beside = embedded(changed, *inputs)
        merge_lora(changed)
        assert max(most_different(embedded(changed, *inputs), beside)) <= 1e-6
        assert min(most_different(beside, before)) >= 100 * 1e-6
        assert changed.state_dict().keys() == keys
        # The model that shares its weights is what it was.
        assert most_different(embedded(model, *inputs), before) == [0.0, 0.0]

    def test_both_towers_have_layers_and_the_image_tower_sees_by_some(self, built):
        model, _, _ = built
        vision, text = (layer_names(model, tower, ALL) for tower in ("vision", "text"))
        assert vision
        assert text
        assert not set(vision) & set(text)
        assert not any(re.search(r"attn_?pool|norm|bn", name) for name in vision if "attn." in name)


def by_hand(model, weights):
    """A state dict in which W + s·B·A stands for W, computed in NumPy."""
    state = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    for name in weights:
        weight, part, side = re.fullmatch(r"(.+?)(?:\.([qkv]))?\.lora_([AB])", name).groups()
        if side == "A":
            change = SCALE * (weights[f"{name[:-1]}B"] @ weights[name])
            whole = state[weight]
            rows = len(change)
            first = "qkv".index(part) * rows if part else 0
            whole[first : first + rows] += change.reshape(whole[first : first + rows].shape)
    return {name: torch.from_numpy(value) for name, value in state.items()}


@pytest.fixture(scope="module", params=["ViT", "timm ViT", "timm EVA02", "timm ConvNeXt"])
def some_model(request, tmp_path_factory):
    family = next(family for family in FAMILIES if family.name == request.param)
    with torch.random.fork_rng():
        model = write_family(family, tmp_path_factory.mktemp("hand") / "model")
    return model.requires_grad_(False), images_of(model), tokens_of(family)


class TestByHand:
    """One merge too many in a library's own forward, or one too few, no round trip shows."""

    @pytest.mark.parametrize("targets", [*((target,) for target in ALL), ("v", "q"), ALL])
    def test_it_is_what_numpy_makes_of_it(self, some_model, targets):
        model, *inputs = some_model
        beside, expected = sharing_weights(model), sharing_weights(model)
        weights = some_lora(model, targets)
        apply_lora(beside, weights, SCALE)
        # A copy, since what is loaded is written into shared weights.
        expected.load_state_dict(by_hand(model, weights), assign=True)
        assert max(most_different(embedded(beside, *inputs), embedded(expected, *inputs))) <= 1e-6
        merge_lora(beside)
        for name, value in expected.state_dict().items():
            np.testing.assert_allclose(beside.state_dict()[name], value, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def vit():
    vision = {**VISION, "layers": 3}
    return open_clip.model.CLIP(16, vision, {**TEXT, "layers": 2, "vocab_size": 100}).eval()


class TestLayers:
    def test_only_what_was_asked_for_is_changed(self, vit):
        vision = [f"visual.transformer.resblocks.{i}.attn.in_proj_weight" for i in range(3)]
        text = [f"transformer.resblocks.{i}.attn.in_proj_weight" for i in range(2)]
        assert layer_names(vit, "vision", ("q", "v")) == vision
        assert layer_names(vit, "text", ("k",)) == text
        assert layer_names(vit, "both", ("q",), 1) == [vision[-1], text[-1]]
        assert layer_names(vit, "both", ("q",), 2) == [*vision[-2:], *text]
        out = layer_names(vit, "vision", ("out",), 1)
        assert out == ["visual.transformer.resblocks.2.attn.out_proj.weight"]
        assert find_layers(vit, "vision", ("v", "q"))[0].parts == ("q", "v")

    def test_of_a_tower_without_attention_layers_and_ungrouped_convolutions(self, tmp_path):
        engine = torch_engine_of("timm ConvNeXt", tmp_path)
        model = engine.model_to_change()
        names = layer_names(model, "vision", ("q",))
        kinds = {type(model.get_submodule(name.removesuffix(".weight"))) for name in names}
        assert kinds == {torch.nn.Linear, torch.nn.Conv2d}
        modules = [model.get_submodule(name.removesuffix(".weight")) for name in names]
        assert all(getattr(module, "groups", 1) == 1 for module in modules)
        grouped = [part for part in model.visual.modules() if getattr(part, "groups", 1) > 1]
        assert grouped
        last = layer_names(model, "vision", ("q",), 1)
        assert last[0].startswith("visual.trunk.stages.3.blocks.0.")
        # And what stands behind the last block.
        assert last[-1].startswith("visual.head.")

    def test_a_residual_network_is_not_only_changed_where_it_pools(self, tmp_path):
        model = torch_engine_of("ModifiedResNet", tmp_path).model_to_change()
        names = layer_names(model, "vision", ALL)
        assert "visual.layer1.0.conv1.weight" in names
        assert layer_names(model, "vision", ALL, 1)[0].startswith("visual.layer4.0.")

    @pytest.mark.slow
    def test_it_has_as_many_parameters_as_clip_loras_on_vit_b_32(self):
        model = open_clip.create_model("ViT-B-32", pretrained=None)
        layers = find_layers(model, "both", ("q", "k", "v"))
        weights = new_weights(model, layers, 2, np.random.default_rng(0))
        assert sum(value.size for value in weights.values()) == 184_320
        assert len(save(weights)) <= 1.1e6


def torch_engine_of(name, folder):
    family = next(family for family in FAMILIES if family.name == name)
    with torch.random.fork_rng():
        write_family(family, folder / "model")
    return torch_engine(folder / "model", "fp32")


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    with torch.random.fork_rng():
        write_model(folder, CLIP)
    return torch_engine(folder, "fp32")


class TestEngine:
    def test_an_adapted_one_answers_otherwise_under_a_name_of_its_own(self, engine):
        pixels = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
        before = engine.encode_images(pixels)
        weights = some_lora(engine.model_to_change())
        adapted = engine.adapted(weights, SCALE)
        assert np.abs(adapted.encode_images(pixels) - before).max() > 1e-3
        assert np.array_equal(engine.encode_images(pixels), before)
        stronger = engine.adapted(weights, 2 * SCALE)
        fingerprints = {each.info.fingerprint for each in (engine, adapted, stronger)}
        assert len(fingerprints) == 3
        assert {len(each) for each in fingerprints} == {32}
        assert engine.adapted(dict(reversed(weights.items())), SCALE).info == adapted.info

    def test_in_half_precision_it_is_near(self, engine, tmp_path):
        with torch.random.fork_rng():
            write_model(tmp_path / "model", CLIP)
        half = torch_engine(tmp_path / "model", "bf16")
        weights = some_lora(engine.model_to_change())
        pixels = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
        found = half.adapted(weights, 9 * SCALE).encode_images(pixels)
        exact = engine.adapted(weights, 9 * SCALE).encode_images(pixels)
        assert (found * exact).sum(1).min() > 0.998
        assert (engine.encode_images(pixels) * exact).sum(1).max() < 0.99

    def test_weights_come_back_as_they_were_given(self, engine):
        weights = some_lora(engine.model_to_change(), ("q", "v", "out"))
        changes = apply_lora(engine.model_to_change(), weights, SCALE)
        found = lora_weights(changes)
        assert found.keys() == weights.keys()
        assert all(np.array_equal(found[name], weights[name]) for name in found)
        assert lora_digest(found, SCALE) == lora_digest(weights, SCALE)


BLOCK = "visual.transformer.resblocks.0.attn.in_proj_weight"
QUERY = f"{BLOCK}.q.lora_A"


def changed(**names):
    """A change of the weights: a name -> an array in its place, or None to leave it out."""

    def change(weights):
        kept = {**weights, **names}
        return {name: value for name, value in kept.items() if value is not None}

    return change


def array(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


MISFITS = {
    "of nothing": (lambda _: {}, "it changes nothing"),
    "without its A": (changed(**{QUERY: None}), r"1 missing \(visual.*q\.lora_A\)"),
    "without its B": (changed(**{f"{BLOCK}.q.lora_B": None}), r"1 missing .*q\.lora_B"),
    "of a wider model": (changed(**{QUERY: array(2, 64)}), "2 x 64 instead of 2 x 32"),
    "of two ranks": (changed(**{QUERY: array(3, 32)}), "of another shape"),
    "a vector": (changed(**{QUERY: array(64)}), "of another shape"),
    "a number": (changed(**{QUERY: array()}), "a scalar instead of"),
    "of a deeper model": (
        changed(
            **{
                QUERY.replace("resblocks.0", "resblocks.7"): array(2, 32),
                QUERY.replace("resblocks.0", "resblocks.7")[:-1] + "B": array(32, 2),
            }
        ),
        "2 unknown",
    ),
    "of a part that there is not": (
        changed(**{"visual.conv1.weight.q.lora_A": array(2, 768)}),
        "1 unknown",
    ),
    "of a vector of weights": (
        changed(**{"visual.ln_post.weight.lora_A": array(2, 1)}),
        "1 unknown",
    ),
    "of no weight": (changed(epochs=array(1)), r"1 unknown \(epochs\)"),
    "under a weight's own name": (changed(**{BLOCK: array(96, 32)}), "7 unknown"),
    "whole numbers": (changed(**{QUERY: array(2, 32, dtype=np.int64)}), "int64 instead of"),
    "not finite": (changed(**{QUERY: np.full((2, 32), np.nan, np.float32)}), "not finite"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_is_named_and_nothing_is_changed(engine, name):
    change, message = MISFITS[name]
    model = engine.model_to_change()
    weights = change(some_lora(model))
    with pytest.raises(ModelError, match=message):
        apply_lora(model, weights, SCALE)
    assert not any(hasattr(module, "parametrizations") for module in model.modules())
    with pytest.raises(ModelError, match=message):
        engine.adapted(weights, SCALE)
