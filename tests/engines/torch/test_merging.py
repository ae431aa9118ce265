"""A model with a LoRA in its weights, written as a model of its own."""

import errno
import json

import numpy as np
import open_clip
import pytest
import torch
from lora_weights import some_lora
from safetensors import SafetensorError
from small_models import CLIP, SIGMOID, write_model
from tokenizer_files import save, siglip

from benchmarks.families import FAMILIES, images_of, write_family
from benchmarks.sweep import onnx_engine, spec_of, torch_engine
from clipcli.engines.prompts import encode_prompts
from clipcli.engines.torch import merging
from clipcli.engines.torch.merging import write_merged
from clipcli.errors import ModelError, UsageError

SCALE = 1 / np.sqrt(2)
TEXTS = ["a cat", "a photo of a dog", "rain"]


def adapted(folder):
    """The model of a folder, and the same with a LoRA."""
    engine = torch_engine(folder, "fp32")
    return engine, engine.adapted(some_lora(engine.model_to_change()), SCALE)


def embedded(engine, pixels):
    return np.concatenate([engine.encode_images(pixels), encode_prompts(engine, TEXTS)])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    with torch.random.fork_rng():
        write_model(folder, {**CLIP, "quick_gelu": True})
    return folder


@pytest.mark.parametrize("name", ["ViT with QuickGELU", "timm ConvNeXt"])
def test_prepared_it_is_what_was_trained(name, tmp_path):
    family = next(family for family in FAMILIES if family.name == name)
    with torch.random.fork_rng():
        pixels = images_of(write_family(family, tmp_path / "model"))
    base, engine = adapted(tmp_path / "model")
    write_merged(engine, spec_of(tmp_path / "model"), tmp_path / "merged")
    prepared = onnx_engine(tmp_path / "merged")
    found, expected = embedded(prepared, pixels), embedded(engine, pixels)
    assert np.abs(found - expected).max() <= 1e-5
    # Every row is another than without it, by a hundred times that.
    assert np.abs(embedded(base, pixels) - expected).max(axis=1).min() >= 100 * 1e-5


def test_it_is_open_clips_to_read(model, tmp_path):
    _, engine = adapted(model)
    size = write_merged(engine, spec_of(model), tmp_path / "merged")
    weights = tmp_path / "merged" / "open_clip_model.safetensors"
    assert weights.stat().st_size == size
    theirs = open_clip.create_model(f"local-dir:{tmp_path / 'merged'}").eval()
    pixels = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    with torch.inference_mode():
        features = theirs.encode_image(torch.from_numpy(pixels), normalize=True).numpy()
    np.testing.assert_allclose(features, engine.encode_images(pixels), rtol=0, atol=1e-6)


def test_whoever_may_read_the_configuration_may_read_the_weights(model, tmp_path):
    _, engine = adapted(model)
    write_merged(engine, spec_of(model), tmp_path / "merged")
    modes = {file.stat().st_mode for file in (tmp_path / "merged").iterdir()}
    assert len(modes) == 1


def test_a_tokenizer_of_its_own_goes_along(tmp_path):
    folder = tmp_path / "model"
    config = {**SIGMOID, "text_cfg": {**SIGMOID["text_cfg"], "hf_tokenizer_name": "org/name"}}
    with torch.random.fork_rng():
        write_model(folder, SIGMOID)
    save(folder, *siglip())
    content = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    _, engine = adapted(folder)
    write_merged(engine, spec_of(folder), tmp_path / "merged")
    merged = torch_engine(tmp_path / "merged", "fp32")
    ids = [each.tokenize(TEXTS).ids for each in (engine, merged)]
    np.testing.assert_array_equal(*ids)
    assert merged.info.preprocess == engine.info.preprocess
    assert merged.info.activation == "sigmoid"
    assert merged.info.logit_bias == engine.info.logit_bias


class TestFolder:
    def test_an_empty_one_is_filled_and_parents_are_made(self, model, tmp_path):
        _, engine = adapted(model)
        (tmp_path / "empty").mkdir()
        for folder in (tmp_path / "empty", tmp_path / "a" / "b"):
            write_merged(engine, spec_of(model), folder)
            assert len(list(folder.iterdir())) == 2

    @pytest.mark.parametrize("kind", ["file", "folder"])
    def test_what_is_there_stays(self, model, tmp_path, kind):
        target = tmp_path / "merged"
        mine = target if kind == "file" else target / "mine.txt"
        mine.parent.mkdir(exist_ok=True)
        mine.write_text("mine")
        _, engine = adapted(model)
        with pytest.raises(UsageError, match="merged is there already: name a folder"):
            write_merged(engine, spec_of(model), target)
        assert mine.read_text() == "mine"
        assert list(tmp_path.iterdir()) == [target]

    @pytest.mark.parametrize(
        ("error", "kind", "message"),
        [
            (OSError(errno.ENOSPC, "No space left on device"), ModelError, "make room there"),
            (OSError(errno.EACCES, "Permission denied"), ModelError, r"\(Permission denied\)$"),
            (SafetensorError("No space left on device"), ModelError, "make room there"),
            (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
        ],
    )
    def test_nothing_half_made_is_left(self, model, tmp_path, monkeypatch, error, kind, message):
        def fail(_state, file):
            file.write_bytes(b"half")
            raise error

        monkeypatch.setattr(merging, "write_state", fail)
        _, engine = adapted(model)
        with pytest.raises(kind, match=message):
            write_merged(engine, spec_of(model), tmp_path / "merged")
        assert list(tmp_path.iterdir()) == []

    def test_rounded_weights_are_not_written(self, model, tmp_path):
        with pytest.raises(UsageError, match="merged in fp32"):
            write_merged(torch_engine(model, "bf16"), spec_of(model), tmp_path / "merged")
