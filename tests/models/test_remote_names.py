"""Names of other models within a configuration: settled here, and by no library."""

import json
from dataclasses import replace

import pytest
from small_models import CLIP, TEXT, VISION

from clipcli.errors import ModelError
from clipcli.models.names import resolve_model
from clipcli.models.remote_names import check_names, names_settled
from clipcli.models.specs import HubWeights, ModelRequest, ModelSpec
from clipcli.models.weights import built_config, fetch_model, foreign_tokenizer_folder

ROBERTA = {"model_type": "roberta", "num_hidden_layers": 2, "hidden_size": 32, "vocab_size": 600}


def with_names(timm=None, text=None, tokenizer=None):
    vision = {**VISION, "timm_model_name": timm}
    return {
        **CLIP,
        "vision_cfg": vision,
        "text_cfg": {**TEXT, "hf_model_name": text, "hf_tokenizer_name": tokenizer},
    }


def nobody(repository, filename):
    raise AssertionError(f"{repository}/{filename} was asked for")


@pytest.fixture
def shelf(tmp_path):
    """A hub on disk: shelf(content) -> what fetches a repository's config.json."""

    def of(content):
        def fetch(repository, filename):
            assert filename == "config.json"
            file = tmp_path / "hub" / repository / filename
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content if isinstance(content, str) else json.dumps(content))
            return file

        return fetch

    return of


class TestAllowed:
    @pytest.mark.parametrize(
        ("names", "allowed"),
        [
            ({}, False),
            ({"timm": "resnet50"}, False),
            ({"timm": "vit_base_patch16_clip_224.openai"}, False),
            ({"tokenizer": "timm/ViT-B-16-SigLIP"}, False),
            ({"timm": "hf-hub:timm/resnet18.a1_in1k"}, True),
            ({"text": "roberta-base"}, True),
            ({"text": "google/mt5-base", "tokenizer": "google/mt5-base"}, True),
        ],
    )
    def test_in_a_local_folder(self, names, allowed, tmp_path):
        check_names(with_names(**names), tmp_path, allowed=True)
        if not allowed:
            check_names(with_names(**names), tmp_path, allowed=False)
            return
        with pytest.raises(ValueError, match=r"_name is .*--allow-remote-names"):
            check_names(with_names(**names), tmp_path, allowed=False)

    @pytest.mark.parametrize("allowed", [False, True])
    @pytest.mark.parametrize(
        "names",
        [
            *({"timm": name} for name in ("local-dir:/etc", "/etc", "a/b", "timm/resnet18", "..")),
            *({"timm": name} for name in ("hf-hub:/etc", "hf-hub:a/b/c", "HF-HUB:a")),
            *({"timm": name} for name in ("http://host/a", "file:///etc", "a\0b", "a b", "x:y:z")),
            *({"text": name} for name in ("/etc", "../x", "./x", "a/b/c", "~", "C:\\x", "a\0b")),
            *({"tokenizer": name} for name in ("/etc", "../x", "./x", "a/b/c", "~", "a\0b")),
        ],
        ids=str,
    )
    def test_never_a_path_or_an_address(self, names, allowed, tmp_path):
        for folder in (tmp_path, None):
            with pytest.raises(ValueError, match=r"model_cfg\.\w+\.\w+ is .*must be"):
                check_names(with_names(**names), folder, allowed=allowed)

    def test_a_folder_within_the_models_own_needs_no_permission(self, tmp_path, monkeypatch):
        (tmp_path / "clip" / "text").mkdir(parents=True)
        (tmp_path / "clip" / "text" / "config.json").write_text(json.dumps(ROBERTA))
        folder = tmp_path / "clip"
        for name in ("text", "./text", str(folder / "text")):
            config = with_names(text=name, tokenizer=name)
            check_names(config, folder, allowed=False)
            settled = names_settled(config, folder, nobody)
            assert settled["text_cfg"]["hf_model_name"] == str(folder / "text")
        # And not one of the working folder, which transformers would take.
        monkeypatch.chdir(folder)
        (tmp_path / "other").mkdir()
        with pytest.raises(ValueError, match="hf_model_name is 'text', a repository"):
            check_names(with_names(text="text"), tmp_path / "other", allowed=False)
        # Nor where a link leads out.
        (tmp_path / "other" / "text").symlink_to(folder / "text")
        with pytest.raises(ValueError, match="hf_model_name is 'text', a repository"):
            check_names(with_names(text="text"), tmp_path / "other", allowed=False)


class TestSettled:
    def test_nothing_is_asked_for_where_nothing_is_named(self):
        assert names_settled(CLIP, None, nobody) == CLIP
        config = with_names(timm="resnet50")
        assert names_settled(config, None, nobody) == config

    def test_a_name_becomes_the_folder_of_its_one_file(self, shelf, tmp_path):
        config = with_names("hf-hub:org/vision", "org/text")
        settled = names_settled(config, None, shelf(ROBERTA))
        hub = tmp_path / "hub" / "org"
        assert settled["vision_cfg"]["timm_model_name"] == f"local-dir:{hub / 'vision'}"
        assert settled["text_cfg"]["hf_model_name"] == str(hub / "text")

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ({**ROBERTA, "auto_map": {"AutoConfig": "evil.Evil"}}, "a program of its own"),
            ({"text_config": {"auto_map": {}}}, "a program of its own"),
            ({**ROBERTA, "num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
            ({**ROBERTA, "hidden_size": -1}, "hidden_size is -1"),
            ({"architecture": "vit", "model_args": {"depth": 10**9}}, "depth is 1000000000"),
            ({**ROBERTA, "vocab_size": "many"}, "vocab_size is 'many'"),
            ([], "it is not a table of settings"),
            ("{", "config.json cannot be used"),
        ],
    )
    def test_one_that_asks_for_programs_or_too_much_is_refused(self, content, words, shelf):
        for config in (with_names("hf-hub:org/vision"), with_names(text="org/text")):
            with pytest.raises(ModelError, match=words):
                names_settled(config, None, shelf(content))


def test_published_text_towers_are_repositories_all(monkeypatch, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(ROBERTA))
    asked = []

    def fetch(repository, filename, **_options):
        asked.append((repository, filename))
        return tmp_path / filename

    monkeypatch.setattr("clipcli.models.weights.hub_file", fetch)
    spec = resolve_model(ModelRequest("roberta-ViT-B-32:laion2b_s12b_b32k"))
    check_names(spec.config, None, allowed=False)
    settled = built_config(spec, offline=True)
    assert settled["text_cfg"]["hf_model_name"] == str(tmp_path)
    assert asked == [("roberta-base", "config.json")]


def test_a_tokenizer_that_asks_for_a_program_is_refused_before_any_library_sees_it(
    monkeypatch, tmp_path
):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"A": "evil.Evil"}}))
    monkeypatch.setattr("clipcli.models.weights.hub_file", lambda _, name, **__: tmp_path / name)
    text = {**TEXT, "hf_tokenizer_name": "org/name"}
    spec = ModelSpec("m", {**CLIP, "text_cfg": text}, {}, HubWeights("org/name", "w.safetensors"))
    with pytest.raises(ModelError, match="a program of its own"):
        foreign_tokenizer_folder(spec, offline=True)


def test_a_local_models_tokenizer_is_its_own_or_is_asked_for_by_permission(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    text = {**TEXT, "hf_tokenizer_name": "org/name"}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": {**CLIP, "text_cfg": text}})
    )
    spec = resolve_model(ModelRequest(str(folder)))
    with pytest.raises(ModelError, match=r"holds no tokenizer\.json, .*--allow-remote-names"):
        fetch_model(spec, offline=False)
    # Not a word of the hub even so: offline is set, and nothing is cached.
    with pytest.raises(ModelError, match="no such weights file"):
        fetch_model(replace(spec, allow_remote_names=True), offline=True)
