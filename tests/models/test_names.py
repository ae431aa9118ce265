"""Names of models -> what they are; every way to be wrong has its own clear line."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
from command import ROOT

from clipcli.errors import ModelError, UsageError
from clipcli.models.bundles import bundle_folder
from clipcli.models.names import resolve_model
from clipcli.models.specs import HubWeights, ModelRequest

TINY = ROOT / "src" / "clipcli" / "assets" / "tiny"
CONFIG = {
    "model_cfg": {"embed_dim": 8, "vision_cfg": {"image_size": 32}, "text_cfg": {}},
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}
WEIGHTS = Path("weights.safetensors")
BAD_TEXT = {"tokenizer_kwargs": ["lower"]}


def resolve(name, **request):
    return resolve_model(ModelRequest(name, **request))


def write_folder(folder, config):
    folder.mkdir()
    text = config if isinstance(config, str) else json.dumps(config)
    content = text.encode("utf-8", "surrogatepass")
    (folder / "open_clip_config.json").write_bytes(content)
    return folder


@pytest.mark.parametrize(
    "name", ["ViT-B-32", "ViT-B-32-quickgelu", "ViT-B-32:openai", "ViT-B-32-quickgelu:openai"]
)
def test_the_default_model_has_many_names_and_one_spec(name):
    spec = resolve(name)
    assert spec == resolve("ViT-B/32")
    assert spec.name == "ViT-B-32:openai"
    assert spec.config["quick_gelu"] is True
    assert spec.weights == HubWeights(
        "timm/vit_base_patch32_clip_224.openai", "open_clip_model.safetensors"
    )
    assert spec.activation == "softmax"


def test_the_default_request_is_the_default_model():
    assert resolve_model(ModelRequest()) == resolve("ViT-B/32")


def test_every_published_model_is_built_as_it_was_trained_or_refused_as_a_pickle():
    for architecture, tag in open_clip.list_pretrained():
        name = f"{architecture}:{tag}"
        if architecture.startswith("ViTamin"):
            with pytest.raises(ModelError, match=f"{name} is published only as a pickle"):
                resolve(name)
            continue
        spec = resolve(name)
        expected = open_clip.get_model_config(architecture)
        assert {**spec.config, "quick_gelu": None} == {**expected, "quick_gelu": None}
        quick_gelu = open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu")
        assert spec.config["quick_gelu"] == bool(quick_gelu or expected.get("quick_gelu"))
        assert spec.weights.filename.endswith(".safetensors")


def test_a_revision_goes_with_the_weights_and_into_the_command_that_prepares_them(monkeypatch):
    commit = "c" * 40
    monkeypatch.setattr("clipcli.models.hub.files.hub_commit", lambda *_names, **_options: commit)
    spec = resolve("ViT-B/32", revision="v1", allow_pickle=True)
    # The branch as it is now, for all files alike; the command says what the user said.
    assert spec.weights == replace(resolve("ViT-B/32").weights, revision=commit)
    assert spec.request.pull_command == "clipcli pull ViT-B/32 --allow-pickle --revision v1"
    # What is prepared of one is not found for another.
    assert bundle_folder(spec, "fp32") != bundle_folder(resolve("ViT-B/32"), "fp32")


def test_a_tag_is_found_in_open_clips_other_spelling():
    assert resolve("ViT-B-32:LAION2B-s34b-b79k") == resolve("ViT-B-32:laion2b_s34b_b79k")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ViT-B-23", ["no model 'ViT-B-23'", "did you mean ", "ViT-B-32", "./FOLDER", "tiny"]),
        ("vit-b/32", ["did you mean ViT-B-32"]),
        ("tinny", ["did you mean tiny"]),
        ("qwxyz", ["no model 'qwxyz'. A model is"]),
        ("", ["no model ''"]),
        ("x" * 5000, ["no model"]),
        ("a\0b", ["no model"]),
        ("ViT-B-32:laion2b", ["no pretrained tag 'laion2b' (did you mean laion2b_", "are: openai"]),
        ("ViT-B-32-quickgelu:laion2b_s34b_b79k", ["no pretrained tag", "metaclip_400m"]),
        ("vit-b-32:openai", ["(did you mean ViT-B-32:openai?)"]),
        ("RN50x3:openai", ["RN50x4:openai or "]),
        ("ViT-B-32:laion2b", ["(did you mean laion2b_e16 or laion2b_s34b_b79k or "]),
        ("ViT-bigG-14", ["needs a pretrained tag, for example ViT-bigG-14:laion2b_s39b_b160k"]),
        ("ViT-S-32", ["needs a pretrained tag. Its tags are: none", "--checkpoint"]),
        ("ViT-S-32:openai", ["no pretrained tag 'openai'. Its tags are: none"]),
        (
            "ViTamin-B:datacomp1b",
            ["ViTamin-B:datacomp1b is published only as a pickle", "--checkpoint"],
        ),
        ("hf-hub:a/b/c", ["'a/b/c' is not a repository's name: did you mean hf-hub:a/b?"]),
        ("hf-hub:", ["'' is not a repository's name"]),
        (
            "./tiny",
            ["./tiny is not a model's folder: there is no such folder (did you mean tiny?)"],
        ),
        ("./no-such-folder", ["./no-such-folder is not a model's folder: there is no such"]),
        ("./" + "x" * 5000, ["there is no such folder"]),
        ("~nobody-of-this-name/clip", ["there is no such folder"]),
    ],
)
def test_a_name_that_means_nothing_says_what_would(name, words):
    with pytest.raises(ModelError) as caught:
        resolve(name)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


class TestCheckpoint:
    @pytest.mark.parametrize(
        ("name", "quick_gelu", "expected"),
        [
            ("ViT-B-32", True, True),
            ("ViT-B/32", False, False),
            ("ViT-B-32-quickgelu", None, True),
            ("ViT-B-32-quickgelu", True, True),
            ("convnext_base_w", None, False),  # all its tags are trained without
            ("convnext_base_w", True, True),
            ("RN50x4", None, True),  # all its tags are trained with it
            ("ViT-S-32", None, False),  # it has no tags
            ("roberta-ViT-B-32", None, True),
        ],
    )
    def test_quick_gelu_is_asked_for_known_or_given(self, name, quick_gelu, expected):
        spec = resolve(name, checkpoint=WEIGHTS, quick_gelu=quick_gelu)
        assert spec.config["quick_gelu"] is expected
        assert spec.weights == WEIGHTS
        base = name.replace("/", "-").removesuffix("-quickgelu")
        assert spec.name == f"{base} (weights.safetensors)"

    @pytest.mark.parametrize(
        ("request_", "message"),
        [
            (ModelRequest("ViT-B-32", WEIGHTS), "say which .* --quick-gelu or --no-quick-gelu"),
            (ModelRequest("ViT-B-32-quickgelu", WEIGHTS, False), "--no-quick-gelu contradicts"),
            (ModelRequest("ViT-B-32:openai", WEIGHTS), "write ViT-B-32, without :openai"),
            (ModelRequest("ViT-B-32", None, True), "goes with --checkpoint"),
            (ModelRequest("tiny", None, False), "does not go with tiny"),
            (ModelRequest("tiny", WEIGHTS, True), "does not go with tiny"),
            (ModelRequest("tiny", revision="main"), "--revision goes with models of the hub, and"),
            (ModelRequest("RN50x4", WEIGHTS, revision="v1"), "and RN50x4 is none"),
        ],
    )
    def test_options_that_do_not_go_together_are_a_usage_error(self, request_, message):
        with pytest.raises(UsageError, match=message):
            resolve_model(request_)

    def test_it_replaces_the_weights_of_a_folder_too(self):
        spec = resolve("tiny", checkpoint=WEIGHTS)
        assert (spec.name, spec.weights) == ("tiny (weights.safetensors)", WEIGHTS)
        assert spec.config == resolve("tiny").config


class TestFolder:
    def test_the_bundled_model_is_a_folder_that_needs_no_network(self):
        spec = resolve("tiny", offline=True)
        assert spec.name == "tiny"
        assert spec.weights == TINY / "open_clip_model.safetensors"

    def test_a_folder_is_named_with_or_without_a_dot_or_from_home(self, tmp_path, monkeypatch):
        write_folder(tmp_path / "clip", CONFIG)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in ("./clip", "clip", "clip/", "~/clip", str(tmp_path / "clip")):
            spec = resolve(name)
            assert spec.config == {**CONFIG["model_cfg"], "quick_gelu": False}, name
            assert spec.preprocess == CONFIG["preprocess_cfg"]
            assert os.path.samefile(spec.folder, "clip")
            assert spec.weights == spec.folder / "open_clip_model.safetensors"

    def test_an_architecture_or_the_bundled_model_wins_over_a_folder_of_its_name(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        for name in ("ViT-B-32", "tiny"):
            expected = resolve(name)
            write_folder(tmp_path / name, CONFIG)
            assert resolve(name) == expected
            assert resolve(f"./{name}").folder == tmp_path / name

    def test_a_folder_has_one_name_however_it_is_written(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write_folder(tmp_path / "clip", CONFIG)
        (tmp_path / "link").symlink_to("clip")
        spellings = ("./clip", "clip/", str(tmp_path / "clip"), "./link")

        assert {resolve(name).name for name in spellings} == {str(tmp_path / "clip")}

    def test_one_number_stands_for_all_channels(self, tmp_path):
        folder = write_folder(tmp_path / "clip", {**CONFIG, "preprocess_cfg": {"mean": 0.5}})
        assert resolve(str(folder)).preprocess == {"mean": 0.5}

    def test_a_folder_without_a_configuration_says_so(self, tmp_path):
        with pytest.raises(ModelError, match=r"neither open_clip_config\.json nor config\.json"):
            resolve(str(tmp_path))

    def test_a_folder_without_preprocessing_leaves_it_to_the_defaults(self, tmp_path):
        folder = write_folder(tmp_path / "clip", {**CONFIG, "preprocess_cfg": None})
        assert resolve(str(folder)).preprocess == {}

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ("", "not readable as JSON"),
            ("{", "not readable as JSON"),
            ("[" * 100_000, "not readable as JSON"),
            ("\ud800", "not readable as JSON"),
            ("[]", "it has no model_cfg"),
            ("null", "it has no model_cfg"),
            ({}, "it has no model_cfg"),
            ({"model_cfg": "ViT-B-32"}, "it has no model_cfg"),
            ({"model_cfg": {"embed_dim": 8, "vision_cfg": {}}}, r"model_cfg\.text_cfg is missing"),
            ({"model_cfg": {**CONFIG["model_cfg"], "text_cfg": []}}, r"text_cfg is \[\]"),
            ({"model_cfg": {**CONFIG["model_cfg"], "vision_cfg": 3}}, r"vision_cfg is 3: it must"),
            ({"model_cfg": {**CONFIG["model_cfg"], "text_cfg": BAD_TEXT}}, "tokenizer_kwargs is"),
            ({"model_cfg": {**CONFIG["model_cfg"], "embed_dim": "8"}}, "embed_dim is '8'"),
            ({**CONFIG, "preprocess_cfg": [1]}, r"preprocess_cfg is \[1\]"),
            ({**CONFIG, "preprocess_cfg": {"mean": [0.5]}}, r"mean is \[0\.5\]"),
            ({**CONFIG, "preprocess_cfg": {"std": [1, 1]}}, r"std is \[1, 1\]"),
            ({**CONFIG, "preprocess_cfg": {"mean": ["a", "b", "c"]}}, "mean is"),
            ({**CONFIG, "preprocess_cfg": {"interpolation": "best"}}, "interpolation is 'best'"),
            ({**CONFIG, "preprocess_cfg": {"resize_mode": []}}, r"resize_mode is \[\]"),
            ({**CONFIG, "preprocess_cfg": {"fill_color": "red"}}, "fill_color is 'red'"),
        ],
    )
    def test_a_configuration_that_is_none_is_named_with_its_fault(self, tmp_path, config, message):
        folder = write_folder(tmp_path / "clip", config)
        with pytest.raises(ModelError, match=message) as caught:
            resolve(str(folder))
        assert str(folder / "open_clip_config.json") in str(caught.value)
        assert "Error" not in str(caught.value)

    @pytest.mark.parametrize(
        "manifest",
        [
            "{",
            "[" * 100_000,
            "[]",
            json.dumps({"model": "m", "config": CONFIG["model_cfg"], "preprocess": [1]}),
            json.dumps({"model": "m", "config": {}, "preprocess": {}}),
            json.dumps({"model": 3, "config": CONFIG["model_cfg"], "preprocess": {}}),
        ],
    )
    def test_so_is_a_manifest(self, tmp_path, manifest):
        (tmp_path / "manifest.json").write_text(manifest)
        with pytest.raises(ModelError, match=r"manifest\.json is not (readable|the manifest of)"):
            resolve(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ViT-B-32", False),
        ("tiny", False),
        ("roberta-ViT-B-32:laion2b_s12b_b32k", True),
        ("ViT-B-16-SigLIP:webli", False),
        ("ViT-L-14-CLIPA:datacomp1b", False),
    ],
)
def test_only_models_with_a_foreign_text_tower_need_transformers(name, expected):
    assert resolve(name).needs_transformers is expected


def test_a_model_trained_with_a_bias_has_sigmoid_scores():
    assert resolve("ViT-B-16-SigLIP:webli").activation == "sigmoid"
    siglip = re.compile("siglip", re.IGNORECASE)
    for architecture in open_clip.list_models():
        spec = resolve(architecture, checkpoint=WEIGHTS, quick_gelu=True)
        assert (spec.activation == "sigmoid") == bool(siglip.search(architecture))
