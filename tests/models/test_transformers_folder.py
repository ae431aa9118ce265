"""Folders of the transformers library: their configuration, vocabulary and names of tensors."""

import json
import math
from contextlib import nullcontext
from importlib.util import find_spec

import numpy as np
import open_clip
import pytest
import torch
from numpy.testing import assert_allclose
from safetensors.torch import save_file
from tokenizer_files import save as save_tokenizer
from tokenizer_files import siglip as siglip_tokenizer
from transformers_models import (
    CONFIG,
    PIXELS,
    pixels,
    random_model,
    to_transformers,
    translated,
    write_folder,
)

from clipcli.engines.base import EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.engines.onnx import OnnxEngine
from clipcli.engines.torch.export import Preparation, prepare
from clipcli.errors import ModelError
from clipcli.models import transformers_folder
from clipcli.models.hub.cache import MissingFileError
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest
from clipcli.models.tokenizers.clip import check_vocabulary
from clipcli.models.weights import fetch_model


def tower(name, **change):
    return {name: {**CONFIG[name], **change}}


def clip_words():
    """CLIP's vocabulary as transformers writes it."""
    words = [*open_clip.SimpleTokenizer().encoder]
    return {
        word: number
        for number, word in enumerate([*words[:-2], "<|startoftext|>", "<|endoftext|>"])
    }


class TestConfiguration:
    def test_it_is_read_into_open_clips_terms(self):
        assert translated() == {
            "embed_dim": 16,
            "quick_gelu": True,
            "vision_cfg": {
                "layers": 2,
                "width": 32,
                "mlp_ratio": 4.0,
                "head_width": 16,
                "image_size": 32,
                "patch_size": 16,
            },
            "text_cfg": {
                "layers": 2,
                "width": 24,
                "mlp_ratio": 100 / 24,
                "heads": 3,
                "context_length": 16,
                "vocab_size": 49408,
            },
        }

    def test_what_it_leaves_out_is_openais_vit_b_32(self):
        found = transformers_folder.model_config({"model_type": "clip"})
        expected = open_clip.get_model_config("ViT-B-32")
        assert found["quick_gelu"] is True
        assert found["embed_dim"] == expected["embed_dim"]
        for part in ("vision_cfg", "text_cfg"):
            assert found[part].items() >= expected[part].items()

    def test_the_older_form_with_longer_names_wins_as_in_transformers(self):
        config = translated(vision_config_dict={"image_size": 64}, text_config_dict=None)
        assert config["vision_cfg"]["image_size"] == 64
        assert config["vision_cfg"]["width"] == 768
        assert config["text_cfg"]["width"] == 24

    def test_its_activation_and_epsilon_are_taken_over(self):
        change = {"hidden_act": "gelu", "layer_norm_eps": 1e-6}
        towers = (tower(name, **change) for name in ("vision_config", "text_config"))
        config = translated(**next(towers), **next(towers))
        assert config["quick_gelu"] is False
        assert config["vision_cfg"]["norm_kwargs"] == {"eps": 1e-6}
        assert config["text_cfg"]["norm_kwargs"] == {"eps": 1e-6}

    @pytest.mark.parametrize("end", [2, 49407])
    def test_both_ends_of_text_that_mean_the_same_are_known(self, end):
        assert translated(**tower("text_config", eos_token_id=end)) == translated()

    def test_every_inner_width_survives_the_detour_over_a_ratio(self):
        for width, inner in ((width, inner) for width in (24, 49, 96) for inner in range(1, 500)):
            change = {"hidden_size": width, "intermediate_size": inner, "num_attention_heads": 1}
            ratio = translated(**tower("text_config", **change))["text_cfg"]["mlp_ratio"]
            assert int(width * ratio) == inner

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"model_type": "blip"},
                "model_type is 'blip', .* only 'clip', 'siglip', .* are read$",
            ),
            ({"model_type": "chinese_clip"}, "are read; .* same use: xlm-roberta-base-ViT-B-32:"),
            ({"model_type": "siglip_vision_model"}, "same use: ViT-B-16-SigLIP:webli"),
            ({"model_type": ["clip"]}, r"model_type is \['clip'\]"),
            (
                {"model_type": "metaclip_2", **tower("text_config", eos_token_id=[2])},
                "not with one",
            ),
            ({"model_type": None}, "model_type is None"),
            ({"projection_dim": None}, "unusable projection_dim: None"),
            ({"text_config": [1]}, "text_config is not a table"),
            (tower("text_config", vocab_size=49409), "vocabulary has 49409 tokens, .* 49408"),
            (tower("text_config", eos_token_id=49406), "end with token 49406, .* 49407"),
            (tower("text_config", eos_token_id=[2]), r"end with token \[2\]"),
            (tower("text_config", hidden_act="gelu"), "'quick_gelu' for images and 'gelu' for"),
            (tower("text_config", hidden_act=None), "hidden_act is 'quick_gelu' .* and None"),
            (tower("vision_config", num_attention_heads=3), "32 is no multiple of its 3 heads"),
            (tower("vision_config", num_attention_heads=0), "unusable num_attention_heads: 0"),
            (tower("vision_config", image_size=[32, 48]), r"unusable image_size: \[32, 48\]"),
            (tower("vision_config", hidden_size="32"), "unusable hidden_size: '32'"),
            (tower("vision_config", num_channels=1), "images have 1 channels"),
        ],
    )
    def test_what_open_clip_cannot_build_is_refused_with_its_reason(
        self, tmp_path, change, message
    ):
        folder = write_folder(tmp_path, {**CONFIG, **change})
        with pytest.raises(ModelError, match=f"config.json cannot be used: .*{message}"):
            resolve_model(ModelRequest(str(folder)))

    @pytest.mark.parametrize("content", [[], None, "clip", 3])
    def test_a_file_that_is_no_configuration_is_refused(self, tmp_path, content):
        folder = write_folder(tmp_path, content)
        with pytest.raises(ModelError, match=r"config\.json cannot be used: its model_type is No"):
            resolve_model(ModelRequest(str(folder)))


class TestPixels:
    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({}, {}),
            ({"size": 32, "crop_size": 32, "feature_extractor_type": "CLIPFeatureExtractor"}, {}),
            ({"size": None, "crop_size": None, "do_resize": None}, {}),
            ({"resample": 3}, {"interpolation": "bicubic"}),
            ({"resample": None}, {"interpolation": "bicubic"}),
            ({"size": {"height": 32, "width": 32}}, {"resize_mode": "squash"}),
            (
                {"size": {"height": 32, "width": 32}, "do_center_crop": False, "crop_size": 9},
                {"resize_mode": "squash"},
            ),
            ({"do_normalize": False}, {"mean": [0.0] * 3, "std": [1.0] * 3}),
            ({"rescale_factor": 0.00392156862745098}, {}),
        ],
    )
    def test_they_are_read_into_open_clips_terms(self, change, expected):
        usual = {
            "interpolation": "bilinear",
            "resize_mode": "shortest",
            "mean": PIXELS["image_mean"],
            "std": PIXELS["image_std"],
        }
        found = transformers_folder.preprocess_config({**PIXELS, **change}, 32)
        assert found == {**usual, **expected}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"do_resize": False}, "switches do_resize off"),
            ({"do_rescale": False}, "switches do_rescale off"),
            ({"rescale_factor": 1.0}, r"rescale_factor is 1\.0, not 1/255"),
            ({"rescale_factor": "1"}, "rescale_factor is '1'"),
            ({"resample": 0}, "resample is 0: clipcli has 2 .* and 3"),
            ({"resample": [3]}, r"resample is \[3\]"),
            ({"size": {"shortest_edge": 36}}, r"to {'shortest_edge': 36} and cropped .* takes 32"),
            ({"crop_size": 24}, "and cropped to {'height': 24, 'width': 24}: the model takes 32"),
            ({"do_center_crop": False}, "and not cropped: the model takes 32"),
            ({"image_mean": [0.5]}, r"image_mean is \[0\.5\]: it must be"),
            ({"image_processor": [1]}, "image_processor is not a table"),
        ],
    )
    def test_what_clipcli_does_not_do_is_refused_with_its_reason(self, tmp_path, change, message):
        folder = write_folder(tmp_path, preprocessor_config={**PIXELS, **change})
        with pytest.raises(ModelError, match=rf"preprocessor_config\.json cannot .*{message}"):
            resolve_model(ModelRequest(str(folder)))

    def test_todays_file_for_all_processors_is_known_too(self, tmp_path):
        folder = write_folder(tmp_path, processor_config={"image_processor": PIXELS})
        assert resolve_model(ModelRequest(str(folder))).preprocess["mean"] == [0.1, 0.2, 0.3]

    def test_without_a_file_they_are_openais(self, tmp_path):
        assert resolve_model(ModelRequest(str(write_folder(tmp_path)))).preprocess == {}


class TestVocabulary:
    def load(self, folder):
        state = to_transformers(random_model(folder / "model", translated()).state_dict())
        save_file(state, folder / "model.safetensors")
        return load_engine(resolve_model(ModelRequest(str(folder))), EngineOptions("cpu"))

    @pytest.mark.parametrize("name", ["tokenizer", "vocab", None])
    def test_clips_own_is_known_in_both_forms_and_taken_where_there_is_none(self, tmp_path, name):
        words = clip_words()
        content = {"model": {"type": "BPE", "vocab": words}} if name == "tokenizer" else words
        write_folder(tmp_path, **({name: content} if name else {}))
        expected = open_clip.SimpleTokenizer(context_length=16)(["a cat"]).numpy()
        assert np.array_equal(self.load(tmp_path).tokenize(["a cat"]).ids, expected)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({"a": 0, "b": 1}, "not CLIP's own vocabulary"),
            ({"model": {}}, "holds no vocabulary"),
            ({"model": {"vocab": [1]}}, "holds no vocabulary"),
            ([], "holds no vocabulary"),
            (None, "holds no vocabulary"),
        ],
    )
    def test_another_is_refused(self, tmp_path, content, message):
        write_folder(tmp_path, tokenizer=content)
        with pytest.raises(ModelError, match=rf"tokenizer .* cannot be loaded: .*{message}"):
            self.load(tmp_path)

    @pytest.mark.parametrize("what", ["two words have changed places", "ids begin at one"])
    def test_the_same_words_with_other_ids_are_another(self, tmp_path, what):
        words = clip_words()
        if what == "ids begin at one":
            words = {word: number + 1 for word, number in words.items()}
        else:
            words["cat</w>"], words["dog</w>"] = words["dog</w>"], words["cat</w>"]
        write_folder(tmp_path, vocab=words)
        with pytest.raises(ModelError, match="not CLIP's own vocabulary"):
            self.load(tmp_path)

    @pytest.mark.parametrize(
        ("token", "is_refused"),
        [
            ({"id": 49407, "content": "<|endoftext|>"}, False),
            ({"id": 0, "content": "!"}, False),  # a common choice for the padding
            ({"id": 49408, "content": "<mask>"}, True),
            ({"id": 320, "content": "cat</w>"}, True),
        ],
    )
    def test_a_token_that_is_added_to_it_is_refused(self, tmp_path, token, is_refused):
        file = tmp_path / "tokenizer.json"
        model = {"type": "BPE", "vocab": clip_words()}
        file.write_text(json.dumps({"model": model, "added_tokens": [token]}))
        with pytest.raises(ValueError, match="adds a token") if is_refused else nullcontext():
            check_vocabulary(file)


class TestHub:
    @pytest.fixture
    def repository(self, tmp_path, monkeypatch):
        """A folder in a repository's place."""
        folder = tmp_path / "repository"
        folder.mkdir()

        def hub_file(name, filename, *, revision, offline):
            assert (name, revision, offline) == ("org/name", "v1", True)
            if not (folder / filename).is_file():
                raise MissingFileError(f"no {filename}")
            return folder / filename

        def hub_commit(name, _filename, revision, *, offline):
            assert (name, offline) == ("org/name", True)
            return revision

        monkeypatch.setattr("clipcli.models.hub.files.hub_commit", hub_commit)
        monkeypatch.setattr("clipcli.models.hub.files.hub_file", hub_file)
        monkeypatch.setattr("clipcli.models.weights.hub_file", hub_file)
        return folder

    def resolve(self, **request):
        name = "hf-hub:org/name"
        return resolve_model(ModelRequest(name, offline=True, revision="v1", **request))

    def test_a_repository_that_has_no_open_clip_files_is_read_as_transformers(self, repository):
        write_folder(repository, preprocessor_config=PIXELS, vocab=clip_words())
        save_file({"a": torch.zeros(1)}, repository / "model.safetensors")
        spec = self.resolve()
        assert spec.config == translated()
        assert spec.preprocess["mean"] == PIXELS["image_mean"]
        assert spec.vocabulary == repository / "vocab.json"
        assert (spec.name, spec.folder) == ("hf-hub:org/name", None)
        assert fetch_model(spec, offline=True) == repository / "model.safetensors"

    @pytest.mark.parametrize("kind", ["siglip", "metaclip_2"])
    def test_another_kinds_tokenizer_is_the_repositorys_own(self, repository, kind):
        config = siglip_config(kind) if kind == "siglip" else {**CONFIG, "model_type": kind}
        save_tokenizer(write_folder(repository, config), *siglip_tokenizer())
        save_file({"a": torch.zeros(1)}, repository / "model.safetensors")
        spec = self.resolve()
        assert (spec.hub_tokenizer, spec.vocabulary) == ("org/name", None)
        assert fetch_model(spec, offline=True) == repository / "model.safetensors"

    def test_open_clips_files_win_over_those_of_transformers(self, repository):
        write_folder(repository, open_clip_config={"model_cfg": {**translated(), "embed_dim": 3}})
        spec = self.resolve()
        assert spec.config["embed_dim"] == 3
        assert spec.vocabulary is None

    def test_a_repository_with_neither_names_open_clips_file(self, repository):
        with pytest.raises(MissingFileError, match=r"no open_clip_config\.json"):
            self.resolve()

    def test_its_pickle_is_taken_only_where_that_is_allowed_and_there_is_nothing_else(
        self, repository
    ):
        write_folder(repository)
        torch.save({}, repository / "pytorch_model.bin")
        message = r"no model\.safetensors\. If there is only pytorch_model\.bin: --allow-pickle"
        with pytest.raises(MissingFileError, match=message):
            fetch_model(self.resolve(), offline=True)
        allowed = self.resolve(allow_pickle=True)
        assert fetch_model(allowed, offline=True).name == "pytorch_model.bin"
        save_file({"a": torch.zeros(1)}, repository / "model.safetensors")
        assert fetch_model(allowed, offline=True).name == "model.safetensors"


@pytest.mark.skipif(not find_spec("transformers"), reason="transformers is not installed")
@pytest.mark.filterwarnings("ignore")  # its own
class TestAgainstTransformers:
    @pytest.fixture(scope="class", params=["quick_gelu", "gelu"])
    def theirs(self, request, tmp_path_factory):
        """transformers' own model, saved by itself; its path and what it was."""
        import transformers

        act = {"hidden_act": request.param, "layer_norm_eps": 1e-3}
        parts = {name: {**CONFIG[name], **act} for name in ("vision_config", "text_config")}
        end = 2 if request.param == "gelu" else 49407
        parts["text_config"]["eos_token_id"] = end
        torch.manual_seed(0)
        model = transformers.CLIPModel(transformers.CLIPConfig(**parts, projection_dim=16)).eval()
        for parameter in model.requires_grad_(False).parameters():
            parameter.normal_(std=0.3)
        folder = tmp_path_factory.mktemp("theirs")
        model.save_pretrained(folder)
        return folder, model

    def test_embeddings_are_its_own(self, theirs):
        folder, model = theirs
        engine = load_engine(resolve_model(ModelRequest(str(folder))), EngineOptions("cpu"))
        tokens = engine.tokenize(["a photo of a cat", "two dogs", "word " * 40]).ids

        def unit(features):
            features = getattr(features, "pooler_output", features)
            return torch.nn.functional.normalize(features, dim=-1).numpy()

        images = unit(model.get_image_features(torch.from_numpy(pixels())))
        texts = unit(model.get_text_features(torch.from_numpy(tokens)))
        assert_allclose(engine.encode_images(pixels()), images, rtol=0, atol=1e-5)
        assert_allclose(engine.encode_tokens(tokens), texts, rtol=0, atol=1e-5)
        assert engine.info.logit_scale == pytest.approx(math.exp(float(model.logit_scale)))

    def test_preprocessing_is_as_its_processor_wrote_it(self, theirs):
        import transformers

        folder, _ = theirs
        processor = transformers.CLIPImageProcessor(
            size={"shortest_edge": 32}, crop_size=32, image_mean=[0.1, 0.2, 0.3]
        )
        processor.save_pretrained(folder)
        found = resolve_model(ModelRequest(str(folder))).preprocess
        assert (found["mean"], found["interpolation"]) == ([0.1, 0.2, 0.3], "bicubic")
        assert found["resize_mode"] == "shortest"


SIGLIP = {
    "vision_config": {
        "hidden_size": 32,
        "intermediate_size": 100,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": 8,
    },
    "text_config": {
        "hidden_size": 24,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "max_position_embeddings": 16,
        "projection_size": 32,
        "vocab_size": 600,
    },
}
KINDS = {
    "siglip": {"vision_config": {"image_size": 32}},
    "siglip2": {"vision_config": {"num_patches": 16}},
}
CLASSES = {"siglip": "Siglip", "siglip2": "Siglip2", "metaclip_2": "MetaClip2"}


def siglip_config(kind, **change):
    """A small SigLIP's `config.json`: siglip_config("siglip2", vision_config={...})."""
    parts = {
        name: {**SIGLIP[name], **KINDS[kind].get(name, {}), **change.get(name, {})}
        for name in SIGLIP
    }
    return {"model_type": kind, **parts}


class TestSiglip:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"vision_config": {"vision_use_head": False}}, "not pooled"),
            (
                {"vision_config": {"hidden_act": "relu"}},
                "hidden_act is 'relu': for SigLIP there is",
            ),
            ({"vision_config": {"num_channels": 1}}, "images have 1 channels"),
            ({"vision_config": {"num_attention_heads": 3}}, "no multiple of its 3 heads"),
            ({"text_config": {"projection_size": 24}}, "texts have 24 numbers, and its images 32"),
            ({"text_config": {"vocab_size": "600"}}, "unusable vocab_size: '600'"),
        ],
    )
    @pytest.mark.parametrize("kind", KINDS)
    def test_what_open_clip_cannot_build_is_refused(self, tmp_path, kind, change, message):
        folder = write_folder(tmp_path, siglip_config(kind, **change))
        with pytest.raises(ModelError, match=f"config.json cannot be used: .*{message}"):
            resolve_model(ModelRequest(str(folder)))

    def test_patches_that_are_no_square_are_refused(self, tmp_path):
        config = siglip_config("siglip2", vision_config={"num_patches": 17})
        with pytest.raises(ModelError, match="17 patches are no square"):
            resolve_model(ModelRequest(str(write_folder(tmp_path, config))))

    @pytest.mark.parametrize(
        ("kind", "interpolation"), [("siglip", "bicubic"), ("siglip2", "bilinear")]
    )
    @pytest.mark.parametrize("file", ["none", "empty", "full"])
    def test_pixels_are_as_transformers_has_them(self, tmp_path, kind, interpolation, file):
        own = {"image_mean": [0.1, 0.2, 0.3], "resample": 3, "size": {"height": 32, "width": 32}}
        files = {
            "none": {},
            "empty": {"preprocessor_config": {}},
            "full": {"preprocessor_config": own},
        }
        folder = write_folder(tmp_path, siglip_config(kind), **files[file])
        spec = resolve_model(ModelRequest(str(folder)))
        expected = {
            "mean": own["image_mean"] if file == "full" else [0.5] * 3,
            "std": [0.5] * 3,
            "interpolation": "bicubic" if file == "full" else interpolation,
            "resize_mode": "squash",
        }
        assert spec.preprocess == expected
        assert spec.activation == "sigmoid"


@pytest.mark.skipif(not find_spec("transformers"), reason="transformers is not installed")
@pytest.mark.filterwarnings("ignore")  # its own
class TestOtherKindsAgainstTransformers:
    @pytest.fixture(scope="class", params=["siglip", "siglip2", "siglip, gelu", "metaclip_2"])
    def theirs(self, request, tmp_path_factory):
        """transformers' own model, saved by itself; its kind, its folder, and what it was."""
        import transformers

        kind, _, act = request.param.partition(", ")
        if kind == "metaclip_2":
            text = {**CONFIG["text_config"], "vocab_size": 600, "eos_token_id": 1}
            config = {"vision_config": CONFIG["vision_config"], "text_config": text}
            config["projection_dim"] = 16
        else:
            acts = {"hidden_act": act, "layer_norm_eps": 1e-3} if act else {}
            config = siglip_config(kind, vision_config=acts, text_config=acts)
            config.pop("model_type")
            for name, part in KINDS[kind].items():
                config[name] |= part
        made = getattr(transformers, f"{CLASSES[kind]}Config")(**config)
        torch.manual_seed(0)
        model = getattr(transformers, f"{CLASSES[kind]}Model")(made).eval()
        for name, parameter in model.requires_grad_(False).named_parameters():
            if not name.startswith("logit"):
                parameter.normal_(std=0.3)
        folder = tmp_path_factory.mktemp("theirs")
        model.save_pretrained(folder)
        save_tokenizer(folder, *siglip_tokenizer())
        return kind, folder, model

    def image_features(self, kind, model, images):
        pixels = torch.from_numpy(images)
        if kind != "siglip2":
            return model.get_image_features(pixels)
        from transformers.models.siglip2.image_processing_siglip2 import convert_image_to_patches

        patches = torch.stack([convert_image_to_patches(image, 8) for image in pixels])
        shapes = torch.tensor([[4, 4]] * len(patches))
        return model.get_image_features(patches, torch.ones(patches.shape[:2]), shapes)

    @pytest.mark.parametrize("engine", ["torch", "onnx"])
    def test_embeddings_are_its_own(self, theirs, engine, tmp_path):
        kind, folder, model = theirs
        spec = resolve_model(ModelRequest(str(folder)))
        if engine == "onnx":
            preparation = Preparation(spec, spec.weights, "fp32", lambda _: None)
            engine = OnnxEngine(prepare(preparation, tmp_path / "prepared"), EngineOptions("cpu"))
        else:
            engine = load_engine(spec, EngineOptions("cpu", engine="torch"))
        tokens = engine.tokenize(["a photo of a cat", "two dogs", "word " * 40]).ids

        def unit(features):
            features = getattr(features, "pooler_output", features)
            return torch.nn.functional.normalize(features, dim=-1).numpy()

        images = unit(self.image_features(kind, model, pixels()))
        texts = unit(model.get_text_features(torch.from_numpy(tokens)))
        assert_allclose(engine.encode_images(pixels()), images, rtol=0, atol=1e-5)
        assert_allclose(engine.encode_tokens(tokens), texts, rtol=0, atol=1e-5)
        assert np.abs(texts[0] - texts[1]).max() > 1e-3 < np.abs(images[0] - images[1]).max()
        assert engine.info.logit_scale == pytest.approx(math.exp(float(model.logit_scale)))
        bias = getattr(model, "logit_bias", torch.zeros(1))
        assert engine.info.logit_bias == pytest.approx(float(bias))
        assert engine.info.activation == ("softmax" if kind == "metaclip_2" else "sigmoid")

    def test_tokens_are_its_own(self, theirs):
        import transformers

        _, folder, _ = theirs
        engine = load_engine(resolve_model(ModelRequest(str(folder))), EngineOptions("cpu"))
        prompts = ["a photo of a cat.", "two dogs", "a photo of a " * 10]
        tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
        expected = tokenizer(prompts, padding="max_length", truncation=True, max_length=16)
        assert engine.tokenize(prompts).ids.tolist() == expected["input_ids"]

    def test_half_precision_is_near(self, theirs):
        _, folder, _ = theirs
        spec = resolve_model(ModelRequest(str(folder)))
        found = [
            load_engine(spec, EngineOptions("cpu", precision, engine="torch")).encode_images(
                pixels()
            )
            for precision in ("fp32", "bf16")
        ]
        assert (found[0] * found[1]).sum(1).min() > 0.998
