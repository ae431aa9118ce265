"""The engine: what loads, what is refused and in which words, and what it leaves alone."""

import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from numpy.testing import assert_allclose
from safetensors.torch import load_file, save_file
from small_models import CLIP, SIGMOID, TEXT, VISION, write_model

from clipcli.engines.base import EngineOptions, fingerprint
from clipcli.engines.choice import FEW_IMAGES, choose_engine, load_engine
from clipcli.engines.torch import openclip
from clipcli.errors import ClipcliWarning, ModelError, UsageError
from clipcli.heads.labels import LabelSet
from clipcli.heads.text_cache import TextCache
from clipcli.heads.zero_shot import build_head
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.images.sources import ImageRef
from clipcli.models.bundles import Bundle
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest
from clipcli.runs.options import PipelineOptions
from clipcli.runs.pipeline import classify


def load(folder, checkpoint=None, **options):
    request = ModelRequest(str(folder), checkpoint)
    return load_engine(resolve_model(request), EngineOptions("cpu", **options), offline=True)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "clip"
    write_model(folder, CLIP)
    return folder


@pytest.fixture(scope="module")
def state(clip):
    return load_file(clip / "open_clip_model.safetensors")


@pytest.fixture
def changed(tmp_path, clip, state):
    """Loads the model from a changed copy of its weights: changed(lambda state: …)."""

    def load_changed(change):
        copy = dict(state)
        change(copy)
        save_file(copy, tmp_path / "changed.safetensors")
        return load(clip, tmp_path / "changed.safetensors")

    return load_changed


def images(count):
    return np.random.default_rng(0).normal(size=(count, 3, 32, 32)).astype(np.float32)


class TestModel:
    @pytest.mark.parametrize(
        "config",
        [
            CLIP,
            SIGMOID,
            {**CLIP, "custom_text": True},
            {**CLIP, "vision_cfg": {**VISION, "layers": [1, 1, 1, 1]}},
            {**CLIP, "quick_gelu": True, "nonscalar_logit_scale": True},
            {**CLIP, "text_cfg": {**TEXT, "tokenizer_kwargs": {"clean": "canonicalize"}}},
        ],
        ids=["clip", "sigmoid", "custom-text", "resnet", "row-scale", "canonicalize"],
    )
    def test_embeddings_and_tokens_are_open_clips(self, tmp_path, config):
        model = write_model(tmp_path / "model", config)
        engine = load(tmp_path / "model")
        prompts = ["A photo, of a CAT!", "word " * 40]
        tokens = engine.tokenize(prompts)
        theirs = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'model'}")(prompts)
        assert np.array_equal(tokens.ids, theirs.numpy())
        with torch.inference_mode():
            expected_texts = model.encode_text(theirs, normalize=True).numpy()
            expected_images = model.encode_image(
                torch.from_numpy(images(3)), normalize=True
            ).numpy()
        assert_allclose(engine.encode_tokens(tokens.ids), expected_texts, rtol=0, atol=1e-6)
        assert_allclose(engine.encode_images(images(3)), expected_images, rtol=0, atol=1e-6)
        assert engine.info.logit_scale == pytest.approx(float(model.logit_scale.detach().exp()))
        assert engine.info.embed_dim == config["embed_dim"]
        assert engine.info.context_length == 16

    def test_nothing_of_the_model_is_left_random(self, clip):
        # Its parameters are not even drawn; what is no parameter must still be computed.
        expected = open_clip.create_model(f"local-dir:{clip}")
        found = load(clip)._model
        assert found.state_dict().keys() == expected.state_dict().keys()
        pairs = zip(
            [*found.state_dict().values(), *found.buffers()],
            [*expected.state_dict().values(), *expected.buffers()],
            strict=True,
        )
        assert all(torch.equal(ours, theirs) for ours, theirs in pairs)

    def test_it_only_infers(self, clip):
        model = load(clip)._model
        assert not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())

    @pytest.mark.parametrize(("asked", "expected"), [(1, 1), (None, 3)])
    def test_threads_are_as_asked_for_or_as_many_as_there_are(
        self, clip, monkeypatch, asked, expected
    ):
        monkeypatch.setattr(openclip, "available_cpus", lambda: 3)
        engine, before, seen = load(clip, threads=asked), torch.get_num_threads(), []
        hook = engine._model.visual.register_forward_hook(
            lambda *_: seen.append(torch.get_num_threads())
        )
        engine.encode_images(images(1))
        hook.remove()
        assert seen == [expected]
        assert torch.get_num_threads() == before

    def test_too_little_memory_asks_for_a_smaller_batch(self, clip, monkeypatch):
        engine = load(clip)

        def fail(_pixels):
            raise torch.OutOfMemoryError

        monkeypatch.setattr(engine._model.visual, "forward", fail)
        with pytest.raises(UsageError, match=r"not enough memory on cpu for 2 .* --batch-size"):
            engine.encode_images(images(2))

    def test_logging_is_as_it_was(self, clip):
        load(clip)
        assert logging.root.manager.disable == logging.NOTSET


def test_under_a_sigmoid_labels_are_scored_each_on_its_own(tmp_path, photos):
    write_model(tmp_path / "model", SIGMOID)
    engine = load(tmp_path / "model")
    assert engine.info.activation == "sigmoid"
    assert engine.info.logit_bias == -10
    refs = [ImageRef(0, "cat", photos / "chelsea.png")]
    (two,), (one,) = (
        classify(refs, engine, build_head(engine, LabelSet(labels)), PipelineOptions())
        for labels in (("a cat", "a dog"), ("a cat",))
    )
    (alone,) = one.scores
    beside = next(score for score in two.scores if score.label == "a cat")
    assert alone.probability == pytest.approx(beside.probability, rel=1e-5)
    logit = engine.info.logit_scale * alone.similarity - 10
    assert alone.probability == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-9)


class TestWeights:
    def test_tensors_that_are_missing_or_unknown_are_named(self, changed):
        def rename(state):
            state["visual.mine"] = state.pop("visual.proj")
            del state["ln_final.bias"]

        message = r"2 missing \(ln_final\.bias, visual\.proj\); 1 unknown \(visual\.mine\)$"
        with pytest.raises(ModelError, match=message):
            changed(rename)

    def test_tensors_of_another_shape_are_named(self, changed):
        def cut(state):
            # open_clip's own loader would resize it without a word.
            state["positional_embedding"] = state["positional_embedding"][:8].clone()

        with pytest.raises(
            ModelError,
            match=r"1 of another shape \(positional_embedding 8 x 32 instead of 16 x 32\)\. It was"
            " trained with a context of 8 tokens and not 16",
        ):
            changed(cut)

    @pytest.mark.parametrize("dtype", [torch.int8, torch.complex64])
    def test_tensors_of_another_kind_are_named(self, changed, dtype):
        def quantise(state):
            # torch would make floats of whole numbers that mean something else.
            state["visual.proj"] = state["visual.proj"].to(dtype)

        with pytest.raises(ModelError, match=r"1 of another kind \(visual\.proj \w+ instead of fl"):
            changed(quantise)

    def test_many_differences_are_shown_in_part(self, changed):
        with pytest.raises(
            ModelError, match=r"37 missing \((\w[\w.]+, ){4}\w[\w.]+ and 32 more\)$"
        ):
            changed(lambda state: state.clear() or state.update(logit_scale=torch.ones([])))

    def test_a_missing_bias_is_not_invented(self, tmp_path):
        write_model(tmp_path / "model", SIGMOID)
        state = load_file(tmp_path / "model" / "open_clip_model.safetensors")
        del state["logit_bias"]
        save_file(state, tmp_path / "model" / "open_clip_model.safetensors")
        with pytest.raises(ModelError, match=r"1 missing \(logit_bias\)"):
            load(tmp_path / "model")

    def test_half_precision_weights_load_in_full(self, changed):
        engine = changed(
            lambda state: state.update({key: value.half() for key, value in state.items()})
        )
        assert {tensor.dtype for tensor in engine._model.state_dict().values()} == {torch.float32}

    def test_what_openai_keeps_beside_the_weights_is_no_weight(self, changed):
        def add(state):
            for name in ("input_resolution", "context_length", "vocab_size"):
                state[name] = torch.tensor(1)

        assert changed(add).info.embed_dim == 16

    def test_the_plain_layout_fits_a_model_with_a_text_tower_of_its_own(
        self, tmp_path, clip, state
    ):
        custom = write_model(tmp_path / "custom", {**CLIP, "custom_text": True})
        assert "text.positional_embedding" in custom.state_dict()
        save_file(
            {**state, "logit_scale": state["logit_scale"].reshape(1)},
            tmp_path / "plain.safetensors",
        )
        engine = load(tmp_path / "custom", tmp_path / "plain.safetensors")
        tokens = engine.tokenize(["a cat"]).ids
        assert_allclose(engine.encode_tokens(tokens), load(clip).encode_tokens(tokens), atol=1e-6)

    @pytest.mark.parametrize("size", [0, 4, 100, -1])
    def test_a_truncated_file_is_no_whole_one(self, tmp_path, clip, size):
        content = (clip / "open_clip_model.safetensors").read_bytes()
        (tmp_path / "cut.safetensors").write_bytes(content[:size])
        with pytest.raises(ModelError, match=r"cut\.safetensors is not a whole safetensors file"):
            load(clip, tmp_path / "cut.safetensors")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_text_tower_that_is_not_finite_is_the_models_fault(clip, state, tmp_path, precision):
    spoilt = {**state, "text_projection": torch.full_like(state["text_projection"], torch.nan)}
    save_file(spoilt, tmp_path / "spoilt.safetensors")
    engine = load(clip, tmp_path / "spoilt.safetensors", precision=precision)
    cache = TextCache(tmp_path / "texts.sqlite3")
    with pytest.raises(ModelError, match="its embeddings of texts are not finite"):
        build_head(engine, LabelSet(("a cat", "a dog")), cache)
    assert cache.count() == 0


class TestRefused:
    @pytest.mark.parametrize("device", ["cuda:256", "cuda:-1", "cuda:٣", "gpu", "", "cpu:0"])
    def test_a_device_that_is_none(self, device):
        with pytest.raises(UsageError, match="is no device: use auto, cpu, mps, cuda or cuda:N"):
            EngineOptions(device)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
    @pytest.mark.parametrize("device", ["cuda", "cuda:1"])
    def test_cuda_where_there_is_none(self, clip, device):
        spec = resolve_model(ModelRequest(str(clip)))
        with pytest.raises(UsageError, match=f"--device {device}: torch .* finds no CUDA device"):
            load_engine(spec, EngineOptions(device))

    @pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is an Apple GPU")
    def test_mps_where_there_is_none(self, clip):
        with pytest.raises(UsageError, match="--device mps: torch finds no Apple GPU"):
            load_engine(resolve_model(ModelRequest(str(clip))), EngineOptions("mps"))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"precision": "int4"}, "'int4' is no precision: use one of fp32, fp16, bf16, int8"),
            ({"engine": "tflite"}, "'tflite' is no engine: use one of auto, onnx, torch"),
            ({"engine": "onnx", "device": "cuda"}, "--engine onnx runs on the CPU: leave out"),
            ({"engine": "onnx", "precision": "bf16"}, "--engine onnx has fp32 and int8: for bf16"),
            ({"engine": "torch", "precision": "int8"}, "int8 runs on the CPU, from a prepared"),
            ({"device": "cuda", "precision": "int8"}, "int8 runs on the CPU, from a prepared"),
            ({"threads": 0}, "0 threads: there must be at least one"),
        ],
    )
    def test_options_without_a_meaning(self, options, message):
        with pytest.raises(UsageError, match=message):
            EngineOptions(**options)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"vision_cfg": {**VISION, "wings": 2}}, r"vision_cfg\.wings is unknown"),
            ({"vision_cfg": {"timm_model_name": "no_such_model"}}, "cannot build .*no_such_model"),
            ({"text_cfg": {**TEXT, "context_length": "16"}}, "context_length is '16'"),
            (
                {"text_cfg": {**TEXT, "tokenizer_kwargs": {"clean": "upper"}}},
                "clean is 'upper': it must be",
            ),
            ({"embed_dim": -3}, "embed_dim is -3: it must be"),
            ({"multimodal_cfg": {}}, "cannot build .*multimodal_cfg"),
        ],
    )
    def test_a_configuration_that_open_clip_cannot_build(self, tmp_path, clip, change, message):
        content = {"model_cfg": {**CLIP, **change}}
        (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
        weights = clip / "open_clip_model.safetensors"
        with pytest.raises(ModelError, match=message) as caught:
            load(tmp_path, weights)
        assert "\n" not in str(caught.value)

    def test_a_foreign_text_tower_without_transformers(self, clip, monkeypatch):
        monkeypatch.setattr("clipcli.engines.torch.loading.find_spec", lambda package: None)
        spec = resolve_model(ModelRequest(str(clip)))
        spec = replace(spec, config={**CLIP, "text_cfg": {**TEXT, "hf_model_name": "a/b"}})
        # Before anything is downloaded.
        spec = replace(spec, weights=Path("not there"))
        with pytest.raises(ModelError, match=r"cannot run: .* transformers \(pip install transf"):
            load_engine(spec, EngineOptions("cpu"), offline=True)

    def test_a_foreign_tokenizer_that_is_not_in_its_folder(self, tmp_path):
        config = {**CLIP, "text_cfg": {**TEXT, "hf_tokenizer_name": "somebody/something"}}
        write_model(tmp_path / "model", config)
        message = r"holds no tokenizer\.json, and its hf_tokenizer_name is .*--allow-remote-names"
        with pytest.raises(ModelError, match=message):
            load(tmp_path / "model")


class TestFingerprint:
    def test_it_is_the_weights_and_the_configuration_wherever_they_lie(self, clip, state, tmp_path):
        expected = load(clip).info.fingerprint
        assert len(expected) == 32
        save_file(state, tmp_path / "of_another_name.safetensors")
        assert load(clip, tmp_path / "of_another_name.safetensors").info.fingerprint == expected
        other = write_model(tmp_path / "copy", {**CLIP, "quick_gelu": False})
        assert other.state_dict().keys() == state.keys()
        assert load(tmp_path / "copy").info.fingerprint == expected

    def test_it_tells_precision_quick_gelu_and_weights_apart(self, clip, tmp_path, changed):
        write_model(tmp_path / "quick", {**CLIP, "quick_gelu": True})
        engines = [
            load(clip),
            load(clip, precision="bf16"),
            load(tmp_path / "quick"),
            changed(lambda state: state["logit_scale"].add_(1)),
        ]
        assert len({engine.info.fingerprint for engine in engines}) == len(engines)

    def test_it_does_not_depend_on_the_order_of_keys(self):
        pixels = PreprocessConfig((8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        one = fingerprint("00", {"a": 1, "b": [1, 2]}, pixels, "fp32")
        assert one == fingerprint("00", {"b": [1, 2], "a": 1}, pixels, "fp32")
        assert one != fingerprint("00", {"a": 1, "b": [2, 1]}, pixels, "fp32")

    def test_it_tells_preprocessing_apart(self):
        pixels = PreprocessConfig((8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        others = [replace(pixels, size=(8, 9)), replace(pixels, resize_mode="squash")]
        found = {fingerprint("00", {}, each, "fp32") for each in (pixels, *others)}
        assert len(found) == 3


class TestChoice:
    """Which engine runs, by what is asked for, prepared and there: DESIGN's table."""

    @pytest.fixture
    def here(self, clip, monkeypatch):
        """Pretends: here(cuda=True, prepared="fp32"); returns the model."""

        def pretend(*, cuda=False, prepared=None):
            def find(_spec, precision):
                bundle = Bundle(Path("a", "bundle"), None)  # type: ignore[arg-type]
                return bundle if precision == prepared else None

            monkeypatch.setattr("clipcli.engines.hardware.cuda_available", lambda: cuda)
            monkeypatch.setattr("clipcli.models.bundles.find_bundle", find)
            return resolve_model(ModelRequest(str(clip)))

        return pretend

    @pytest.mark.parametrize(
        ("options", "cuda", "prepared", "expected"),
        [
            ({}, False, "fp32", "onnx"),
            ({}, False, None, "torch, worth preparing"),
            ({}, False, "int8", "torch, worth preparing"),
            ({}, True, "fp32", "torch"),
            ({"image_count": FEW_IMAGES}, True, "fp32", "onnx"),
            ({"image_count": FEW_IMAGES + 1}, True, "fp32", "torch"),
            ({"image_count": FEW_IMAGES + 1}, False, "fp32", "onnx"),
            ({"image_count": 1}, True, None, "torch, worth preparing"),
            ({"device": "cpu"}, True, "fp32", "onnx"),
            ({"device": "cpu"}, True, None, "torch, worth preparing"),
            ({"device": "cuda"}, True, "fp32", "torch"),
            ({"device": "mps"}, False, "fp32", "torch"),
            ({"precision": "bf16"}, False, "fp32", "torch"),
            ({"precision": "int8"}, False, "int8", "onnx"),
            ({"precision": "int8"}, True, "int8", "onnx"),
            ({"engine": "torch"}, False, "fp32", "torch"),
            ({"engine": "onnx"}, True, "fp32", "onnx"),
        ],
    )
    def test_it_is_as_the_design_says(self, here, options, cuda, prepared, expected):
        choice = choose_engine(here(cuda=cuda, prepared=prepared), EngineOptions(**options))
        found = "torch" if choice.bundle is None else "onnx"
        assert found + ", worth preparing" * choice.worth_preparing == expected
        assert choice.reason

    @pytest.mark.parametrize("prepared", ["fp32", None])
    def test_a_driver_that_does_not_do_is_told_in_a_line(self, here, monkeypatch, prepared):
        monkeypatch.setattr("clipcli.engines.hardware.cuda_trouble", lambda: "too old a driver")
        spec = here(cuda=False, prepared=prepared)
        with pytest.warns(ClipcliWarning, match="^the GPU is not used: too old a driver$") as told:
            choice = choose_engine(spec, EngineOptions())
        assert len(told) == 1
        assert choice.name == ("onnx" if prepared else "torch")
        choose_engine(spec, EngineOptions(image_count=1))  # for which nobody would have asked it
        choose_engine(spec, EngineOptions("cpu"))

    @pytest.mark.parametrize(
        ("options", "precision"), [({"engine": "onnx"}, "fp32"), ({"precision": "int8"}, "int8")]
    )
    def test_what_needs_a_prepared_model_says_how_to_get_one(self, here, options, precision):
        message = f"not prepared in {precision}: run 'clipcli pull .* --precision {precision}'"
        with pytest.raises(ModelError, match=message):
            choose_engine(here(cuda=True), EngineOptions(**options))

    def test_what_cannot_be_prepared_is_not_told_to_be(self, here):
        spec = here()
        text = {**TEXT, "hf_model_name": "somebody/something"}
        spec = replace(spec, config={**CLIP, "text_cfg": text})
        assert not choose_engine(spec, EngineOptions()).worth_preparing
        with pytest.raises(ModelError, match=r"cannot be prepared: .* --engine torch"):
            choose_engine(spec, EngineOptions(engine="onnx"))


def test_loading_and_running_a_model_prints_nothing(photos):
    code = (
        "import sys; from clipcli import Classifier\n"
        "result, = Classifier('tiny').classify(sys.argv[1], ['a cat', 'a dog'])\n"
        "assert result.answer == 'a cat'"
    )
    command = [sys.executable, "-W", "default", "-c", code, str(photos / "chelsea.png")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
