"""A name that is no model's, by its shape: what was meant, and how to write that."""

import shutil

import pytest
from bundle_copies import TINY

from clipcli.errors import ModelError
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest

HUB = "https://huggingface.co"
LAION = "ViT-B-32:laion2b_s34b_b79k"

NAMES = [
    # A repository of the hub, in all the ways to write one.
    ("openai/clip-vit-base-patch32", "did you mean hf-hub:openai/clip-vit-base-patch32?"),
    ("laion/CLIP-ViT-H-14-laion2B", "did you mean hf-hub:laion/CLIP-ViT-H-14-laion2B?"),
    ("org/name@v1", "did you mean hf-hub:org/name --revision v1?"),
    ("org/name@main", "did you mean hf-hub:org/name?"),
    (f"{HUB}/org/name", "did you mean hf-hub:org/name?"),
    (f"{HUB}/org/name/", "did you mean hf-hub:org/name?"),
    ("huggingface.co/org/name/tree/main", "did you mean hf-hub:org/name?"),
    ("https://hf.co/org/name/blob/main/config.json", "did you mean hf-hub:org/name?"),
    (f"{HUB}/org/name/resolve/v2/model.safetensors", "hf-hub:org/name --revision v2?"),
    ("hf_hub:org/name", "did you mean hf-hub:org/name?"),
    ("HF-HUB:org/name", "did you mean hf-hub:org/name?"),
    ("hf-hub/org/name", "did you mean hf-hub:org/name?"),
    ("hf:org/name", "did you mean hf-hub:org/name?"),
    ("hf-hub://org/name", "did you mean hf-hub:org/name?"),
    ("hf-hub:org/name@v1", "did you mean hf-hub:org/name --revision v1?"),
    ("hf-hub:org/name/model.safetensors", "did you mean hf-hub:org/name?"),
    ("models--org--name", "did you mean hf-hub:org/name?"),
    ("https://example.com/model.safetensors", "models are fetched from the model hub only"),
    ("s3://bucket/model", "models are fetched from the model hub only"),
    # A file.
    ("w.safetensors", "weights are given with --checkpoint w.safetensors"),
    ("./w.safetensors", "weights are given with --checkpoint ./w.safetensors"),
    ("/somewhere/ViT-B-32.PT", "weights are given with --checkpoint /somewhere/ViT-B-32.PT"),
    ("epoch_32.pth", "weights are given with --checkpoint epoch_32.pth"),
    ("pytorch_model.bin", "weights are given with --checkpoint pytorch_model.bin"),
    ("last.ckpt", "weights are given with --checkpoint last.ckpt"),
    ("clip/image.onnx", "name the folder that `clipcli pull` made"),
    ("clip.gguf", "clipcli reads safetensors"),
    ("flax_model.msgpack", "Flax's format"),
    ("tf_model.h5", "TensorFlow's format"),
    ("clip/open_clip_config.json", "did you mean the folder that it is in, ./clip?"),
    ("clip/manifest.json", "did you mean the folder that it is in, ./clip?"),
    # A folder in other tools' words.
    ("local-dir:/models/clip", "did you mean /models/clip?"),
    ("local-dir:clip", "did you mean ./clip?"),
    ("file:///models/clip", "did you mean /models/clip?"),
    # An architecture and its tag.
    ("rn50", "did you mean RN50?"),
    ("RN50 openai", "did you mean RN50:openai?"),
    ("ViT-B-32 laion2b_s34b_b79k", f"did you mean {LAION}?"),
    ("ViT-B-32/laion2b_s34b_b79k", f"did you mean {LAION}?"),
    ("ViT-B/32/laion2b_s34b_b79k", f"did you mean {LAION}?"),
    ("vit-b-32-laion2b-s34b-b79k", f"did you mean {LAION}?"),
    ("ViT-B-32@openai", "did you mean ViT-B-32:openai?"),
    ("('ViT-B-32', 'laion2b_s34b_b79k')", f"did you mean {LAION}?"),
    ("openai:ViT-B/32", "did you mean ViT-B-32:openai?"),
    ("openai/ViT-B-32", "did you mean ViT-B-32:openai?"),
    ("ViT-B/23", "did you mean ViT-B-32 or"),
    ("ViT-B/32:laion2b_s34b_b79", "did you mean laion2b_s34b_b79k?"),
    ("ViT-B/32:laion2b…", "did you mean laion2b_e16 or laion2b_s34b_b79k"),
    ("TINY", "did you mean tiny?"),
    # Nothing, or next to it.
    ("", "it is empty: the default is ViT-B/32"),
    ("  ", "it is empty: the default is ViT-B/32"),
    (" ViT-B/32", "did you mean 'ViT-B/32', without the spaces?"),
    ("ViT-B/32\n", "did you mean 'ViT-B/32', without the spaces?"),
]


def refusal(name, **request):
    with pytest.raises(ModelError) as caught:
        resolve_model(ModelRequest(str(name), offline=True, **request))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("name", "words"), NAMES, ids=[repr(name) for name, _ in NAMES])
def test_a_name_is_told_by_its_shape(name, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words in refusal(name)


@pytest.mark.parametrize("name", ["qwxyz", "a\0b", "a b c", "x" * 5000, "-", ":", "@/:", "\\", "#"])
def test_one_of_no_shape_is_told_what_there_is_and_is_not_repeated_at_length(name):
    message = refusal(name)
    assert "there is no model '" in message
    assert "A model is open_clip's ARCHITECTURE" in message
    assert len(message) < 300


class TestFolder:
    @pytest.fixture
    def clip(self, tmp_path, monkeypatch):
        shutil.copytree(TINY, tmp_path / "models" / "clip")
        monkeypatch.chdir(tmp_path)
        return tmp_path / "models" / "clip"

    @pytest.mark.parametrize(
        "file", ["image.onnx", "image.onnx.data", "open_clip_model.safetensors", "tokenizer.json"]
    )
    @pytest.mark.parametrize("start", ["", "./"])
    def test_a_file_of_a_model_names_the_models_folder(self, clip, file, start):
        words = "did you mean the folder that it is in, ./models/clip?"
        assert words in refusal(f"{start}models/clip/{file}")

    def test_the_folder_above_names_the_one_below(self, clip):
        assert f"did you mean {clip}?" in refusal("./models")

    def test_a_repository_of_the_hubs_cache_names_its_snapshot(self, clip, tmp_path):
        snapshots = tmp_path / "models--org--name" / "snapshots"
        shutil.copytree(clip, snapshots / "abc")
        assert f"did you mean {snapshots / 'abc'}?" in refusal("./models--org--name")

    def test_one_without_a_configuration_tells_what_its_files_are_for(self, clip):
        (clip / "open_clip_config.json").unlink()
        (clip / "manifest.json").unlink()
        assert f"--checkpoint {clip}/open_clip_model.safetensors" in refusal("./models/clip")
        (clip / "open_clip_model.safetensors").unlink()
        message = refusal("./models/clip")
        assert "its image.onnx belongs to a prepared model, whose manifest.json is" in message

    def test_an_empty_one_is_called_so(self, tmp_path):
        assert "(it is empty)" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("checkpoint", "words"),
    [
        (".", "it is a folder; a model's folder is the model itself, without --checkpoint"),
        ("hf-hub:org/name", "that is a model of the hub, and goes without --checkpoint"),
        ("nowhere.safetensors", "nowhere.safetensors: there is no such weights file"),
    ],
)
def test_a_checkpoint_that_is_no_file_is_told_by_its_shape(checkpoint, words, clipcli):
    arguments = ("x.png", "-l", "a", "-l", "b", "--model", "ViT-S-32", "--checkpoint", checkpoint)
    run = clipcli(*arguments)
    assert run.returncode == 5
    assert words in run.stderr.decode()
