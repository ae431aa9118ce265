"""A model's files on disk; what cannot be read is named."""

import pytest

from clipcli.errors import ModelError
from clipcli.models import weights
from clipcli.models.names import resolve_model
from clipcli.models.specs import HubWeights, ModelRequest, ModelSpec
from clipcli.models.weights import weights_file


def test_the_bundled_models_weights_need_no_network():
    spec = resolve_model(ModelRequest("tiny"))
    assert weights_file(spec, offline=True) == spec.weights


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.safetensors", r"missing\.safetensors: there is no such weights file"),
        ("x" * 5000 + ".safetensors", "there is no such weights file"),
        ("ViT-B-32.pt", r"ViT-B-32\.pt: clipcli reads only \.safetensors: .* run code"),
        ("folder.safetensors", "there is no such weights file"),
    ],
)
def test_a_checkpoint_that_cannot_be_read_is_named(tmp_path, name, message):
    (tmp_path / "ViT-B-32.pt").touch()
    (tmp_path / "folder.safetensors").mkdir()
    spec = resolve_model(ModelRequest("tiny", checkpoint=tmp_path / name))
    with pytest.raises(ModelError, match=message):
        weights_file(spec, offline=True)


@pytest.mark.parametrize(
    ("repository", "expected"), [("org/name", "a" * 40), ("org/tokenizers", None)]
)
def test_a_tokenizer_beside_the_weights_is_of_their_commit(
    monkeypatch, tmp_path, repository, expected
):
    asked = []

    def note(*names, revision, offline):
        asked.append((*names, revision, offline))
        return tmp_path / names[-1]

    monkeypatch.setattr(weights, "hub_file", note)
    (tmp_path / "tokenizer_config.json").write_text("{}")
    text = {"hf_tokenizer_name": repository}
    spec = ModelSpec("m", {"text_cfg": text}, {}, HubWeights("org/name", "x", "a" * 40))
    assert weights.tokenizer_folder(spec, offline=True) == tmp_path
    assert {wish[0] for wish in asked} == {repository}
    assert {wish[2:] for wish in asked} == {(expected, True)}
    assert asked[0][1] == "tokenizer.json"
