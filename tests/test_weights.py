"""A model's files on disk; what cannot be read is named."""

import pytest

from clipcli.errors import ModelError
from clipcli.models import ModelRequest, resolve_model
from clipcli.weights import weights_file


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
