"""A model's files on disk; what cannot be read is named."""

import zipfile
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from small_models import CLIP, write_model

from clipcli.engines.base import EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.errors import ModelError
from clipcli.models import catalogue, weights
from clipcli.models.hub.cache import MissingFileError
from clipcli.models.names import resolve_model
from clipcli.models.specs import HubWeights, ModelRequest, ModelSpec
from clipcli.models.weights import fetch_model, weights_file


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


class TestAllowPickle:
    """One option, and four ways to a model: each heeds it, and each refuses without it."""

    @pytest.fixture(autouse=True)
    def _hub(self, tmp_path, monkeypatch):
        """A small model, as a pickle, everywhere: a tag's, a repository's, a folder's, a file."""
        folder = tmp_path / "clip"
        model = write_model(folder, CLIP)
        (folder / "open_clip_model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
        (folder / "pytorch_model.bin").hardlink_to(folder / "open_clip_pytorch_model.bin")

        def fetch(repository, filename, **_options):
            if not (folder / filename).is_file():
                raise MissingFileError(f"{repository} has no {filename}")
            return folder / filename

        monkeypatch.setattr(weights, "hub_file", fetch)
        monkeypatch.setattr("clipcli.models.hub.files.hub_file", fetch)
        # The tag's own architecture is a hundred times as large.
        monkeypatch.setattr(catalogue, "architecture_config", lambda _name: deepcopy(CLIP))
        self.folder = folder

    WAYS = (
        lambda _folder: ModelRequest("ViTamin-S:datacomp1b"),
        lambda _folder: ModelRequest("ViTamin-S-LTT:datacomp1b"),
        lambda _folder: ModelRequest("hf-hub:org/name"),
        lambda folder: ModelRequest(str(folder)),
        lambda folder: ModelRequest(
            "ViT-S-32", folder / "open_clip_pytorch_model.bin", quick_gelu=False
        ),
    )

    @pytest.mark.parametrize("way", WAYS, ids=["tag", "tag", "hub", "folder", "checkpoint"])
    def test_it_is_heeded(self, way):
        request = way(self.folder)
        with pytest.raises(ModelError, match="--allow-pickle"):
            fetch_model(resolve_model(request), offline=True)
        spec = resolve_model(replace(request, allow_pickle=True))
        assert "--allow-pickle" in spec.request.pull_command
        engine = load_engine(spec, EngineOptions("cpu", engine="torch"))
        assert engine.encode_tokens(engine.tokenize(["a cat"]).ids).shape == (1, 16)

    @pytest.mark.parametrize("way", WAYS, ids=["tag", "tag", "hub", "folder", "checkpoint"])
    def test_it_reads_no_program(self, way):
        file = self.folder / "pytorch_model.bin"
        file.write_bytes(b"")  # the other name's, too
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/constants.pkl", b"")
        spec = resolve_model(replace(way(self.folder), allow_pickle=True))
        with pytest.raises(ModelError, match="this is a TorchScript archive, a program"):
            fetch_model(spec, offline=True)
