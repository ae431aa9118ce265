"""The same weights, however they come; and what is no weights file runs nothing."""

import json
import pickle
from dataclasses import replace

import pytest
import torch
from checkpoint_files import Evil, load, save_torchscript
from numpy.testing import assert_allclose
from safetensors.torch import load_file, save_file
from transformers_models import (
    CONFIG,
    pixels,
    random_model,
    to_transformers,
    translated,
    write_config,
    write_folder,
)

from clipcli.engines.base import EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.engines.onnx import OnnxEngine
from clipcli.engines.torch.conversion import convert
from clipcli.engines.torch.export import Preparation, prepare
from clipcli.errors import ModelError
from clipcli.models import catalogue
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest
from clipcli.models.weights import fetch_model, weights_file

ARCHITECTURE = "small"
PROMPTS = ["a photo of a cat", "two dogs", "word " * 40]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same random weights in every form."""
    folder = tmp_path_factory.mktemp("forms")
    model = random_model(folder / "open_clip", translated())
    state = model.state_dict()
    save_file(state, folder / "open_clip" / "open_clip_model.safetensors")
    save_file(state, folder / "bare.safetensors")
    (folder / "small.json").write_text(json.dumps(translated()))
    torch.save(state, folder / "plain.pt")
    torch.save({"epoch": 3, "state_dict": state}, folder / "training.pth")
    torch.save({f"module.{key}": value for key, value in state.items()}, folder / "parallel.bin")
    torch.save(state, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    save_torchscript(model, folder / "archive.pt")
    convert(folder / "archive.pt", folder / "converted.safetensors")

    theirs = to_transformers(state)
    save_file(theirs, folder / "theirs.safetensors")
    save_file(theirs, write_folder(folder / "transformers") / "model.safetensors")
    positions = {"text_model.embeddings.position_ids": torch.arange(16)[None]}
    torch.save(theirs | positions, write_folder(folder / "pickled") / "pytorch_model.bin")
    return folder


@pytest.fixture(scope="module")
def expected(folder):
    """Embeddings of images and of texts by open_clip's own model."""
    import open_clip

    model = open_clip.create_model(f"local-dir:{folder / 'open_clip'}").eval()
    tokens = open_clip.SimpleTokenizer(context_length=16)(PROMPTS)
    with torch.inference_mode():
        images = model.encode_image(torch.from_numpy(pixels()), normalize=True)
        return images.numpy(), model.encode_text(tokens, normalize=True).numpy()


@pytest.fixture
def architecture(folder, monkeypatch):
    """open_clip has one more architecture."""
    files = {ARCHITECTURE: folder / "small.json"}
    monkeypatch.setattr(catalogue, "architectures", lambda: files)


def bare(checkpoint, **request):
    return ModelRequest(ARCHITECTURE, checkpoint, quick_gelu=True, **request)


def check(engine, expected):
    images, texts = expected
    assert_allclose(engine.encode_images(pixels()), images, rtol=0, atol=1e-5)
    tokens = engine.tokenize(PROMPTS).ids
    assert_allclose(engine.encode_tokens(tokens), texts, rtol=0, atol=1e-5)


class TestSameWeights:
    @pytest.mark.parametrize("name", ["open_clip", "transformers", "pickled"])
    def test_as_a_folder(self, folder, expected, name):
        check(load(ModelRequest(str(folder / name), allow_pickle=True)), expected)

    @pytest.mark.usefixtures("architecture")
    @pytest.mark.parametrize(
        "name",
        [
            *("bare.safetensors", "theirs.safetensors", "converted.safetensors"),
            *("plain.pt", "training.pth", "parallel.bin", "legacy.pt", "pickled/pytorch_model.bin"),
        ],
    )
    def test_as_a_file_with_its_architecture(self, folder, expected, name):
        check(load(bare(folder / name, allow_pickle=True)), expected)

    def test_as_a_prepared_bundle_which_then_opens_no_pickle(
        self, folder, expected, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("CLIPCLI_CACHE_DIR", str(tmp_path))
        before = sorted(folder.rglob("*"))
        request = ModelRequest(str(folder / "pickled"), allow_pickle=True)
        spec = resolve_model(request)
        prepare(Preparation(spec, fetch_model(spec, offline=True), "fp32", lambda _: None))
        engine = load_engine(
            resolve_model(replace(request, allow_pickle=False)), EngineOptions("cpu")
        )
        assert isinstance(engine, OnnxEngine)
        check(engine, expected)
        assert engine.info.fingerprint == load(request).info.fingerprint
        assert sorted(folder.rglob("*")) == before

    def test_a_layer_that_lacks_one_of_three_is_named(self, folder, tmp_path):
        state = load_file(folder / "bare.safetensors")
        theirs = to_transformers(state)
        del theirs["text_model.encoder.layers.1.self_attn.k_proj.bias"]
        del theirs["visual_projection.weight"]
        theirs["classifier.weight"] = torch.zeros(2, 2)
        save_file(theirs, write_folder(tmp_path) / "model.safetensors")
        message = (
            r"2 missing \(transformer\.resblocks\.1\.attn\.in_proj_bias, visual\.proj\);"
            r" 3 unknown \(classifier\.weight, .*q_proj\.bias, .*v_proj\.bias\)$"
        )
        with pytest.raises(ModelError, match=message):
            load(ModelRequest(str(tmp_path)))


def save_evil(file, form):
    content = {"visual.proj": Evil(file.with_name("it-ran"))}
    if form == "pickle":
        file.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "zip")


class TestPickle:
    @pytest.mark.parametrize("form", ["pickle", "zip", "legacy"])
    @pytest.mark.parametrize(
        ("allow", "message"),
        [
            (
                False,
                r"evil\.pt: clipcli reads only .* run code.*'clipcli convert .* --allow-pickle",
            ),
            (True, r"evil\.pt asks for (posix|nt)\.system, .* nothing of it was run$"),
        ],
    )
    def test_one_that_would_run_code_runs_nothing(self, tmp_path, form, allow, message):
        save_evil(tmp_path / "evil.pt", form)
        with pytest.raises(ModelError, match=message):
            load(ModelRequest("tiny", tmp_path / "evil.pt", allow_pickle=allow))
        with pytest.raises(ModelError, match="nothing of it was run"):
            convert(tmp_path / "evil.pt", tmp_path / "good.safetensors")
        assert [path.name for path in tmp_path.iterdir()] == ["evil.pt"]
        # The test's own proof: a usual unpickler runs it.
        if form == "pickle":
            pickle.loads((tmp_path / "evil.pt").read_bytes())
            assert (tmp_path / "it-ran").exists()

    def test_without_leave_it_is_not_even_opened(self, tmp_path, monkeypatch):
        save_evil(tmp_path / "evil.bin", "zip")
        monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was opened"))
        with pytest.raises(ModelError, match="--allow-pickle"):
            load(ModelRequest("tiny", tmp_path / "evil.bin"))

    @pytest.mark.parametrize("name", ["archive.pt", "archive.bin"])
    @pytest.mark.parametrize("allow", [False, True])
    def test_a_torchscript_archive_is_sent_to_be_converted(self, folder, tmp_path, name, allow):
        (tmp_path / name).write_bytes((folder / "archive.pt").read_bytes())
        message = r"is a TorchScript archive, a program: 'clipcli convert .*\.safetensors'"
        with pytest.raises(ModelError, match=message):
            load(ModelRequest("tiny", tmp_path / name, allow_pickle=allow))

    def test_a_folder_with_nothing_else_says_what_that_means(self, folder, expected, tmp_path):
        write_config(tmp_path, translated())
        (tmp_path / "open_clip_pytorch_model.bin").symlink_to(folder / "plain.pt")
        for path in (folder / "pickled", tmp_path):
            with pytest.raises(ModelError, match=r"pytorch_model\.bin: .* --allow-pickle"):
                load(ModelRequest(str(path)))
        check(load(ModelRequest(str(tmp_path), allow_pickle=True)), expected)

    def test_weights_in_several_files_are_named_as_such(self, tmp_path):
        (write_folder(tmp_path) / "model.safetensors.index.json").touch()
        with pytest.raises(ModelError, match="they are in several files, and clipcli reads one"):
            load(ModelRequest(str(tmp_path)))

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "is not a whole state dict"),
            (b"\x80\x02", "is not a whole state dict"),
            (b"not a pickle", "x.pt "),
            (b"PK\x03\x04 cut short", "x.pt "),
            ([1, 2], "holds no state dict"),
            ({"state_dict": [1]}, "holds no state dict"),
            ({"a": 1}, "holds no state dict"),
            ({1: torch.zeros(1)}, "holds no state dict"),
            ({"a": torch.ones(2).to_sparse()}, "holds no state dict"),
            ({"a": torch.ones(2, device="meta")}, "holds no state dict"),
            ({}, r"\d+ missing"),
        ],
    )
    def test_what_holds_no_tensors_is_named(self, tmp_path, content, message):
        file = tmp_path / "x.pt"
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            torch.save(content, file)
        with pytest.raises(ModelError, match=message) as caught:
            load(ModelRequest("tiny", file, allow_pickle=True))
        assert "\n" not in str(caught.value)

    def test_a_file_cut_short_is_named(self, folder, tmp_path):
        content = (folder / "plain.pt").read_bytes()
        (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
        with pytest.raises(ModelError, match=r"cut\.pt is not a whole state dict"):
            load(ModelRequest("tiny", tmp_path / "cut.pt", allow_pickle=True))

    @pytest.mark.parametrize("name", ["weights.npz", "weights"])
    def test_another_kind_of_file_is_never_read(self, tmp_path, name):
        (tmp_path / name).touch()
        spec = resolve_model(ModelRequest("tiny", tmp_path / name, allow_pickle=True))
        with pytest.raises(ModelError, match=r"only \.safetensors, and .* \.pt, \.pth, \.bin"):
            weights_file(spec, offline=True)

    def test_its_fingerprint_is_the_files(self, folder):
        requests = [
            ModelRequest(str(folder / "open_clip"), folder / name, allow_pickle=True)
            for name in ("plain.pt", "legacy.pt", "plain.pt")
        ]
        first, other, again = (load(request).info.fingerprint for request in requests)
        assert first == again != other


def test_a_configuration_that_does_not_fit_its_weights_names_both_shapes(folder, tmp_path):
    text = {**CONFIG["text_config"], "max_position_embeddings": 8}
    write_folder(tmp_path, {**CONFIG, "text_config": text})
    (tmp_path / "model.safetensors").symlink_to(folder / "transformers" / "model.safetensors")
    message = (
        r"of another shape \(positional_embedding 16 x 24 instead of 8 x 24\)\."
        r" It was trained with a context of 16 tokens and not 8, and nothing is interpolated here\."
    )
    with pytest.raises(ModelError, match=message):
        load(ModelRequest(str(tmp_path)))


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16])
def test_half_precision_is_read_in_full(folder, tmp_path, dtype):
    state = load_file(folder / "bare.safetensors")
    torch.save({key: value.to(dtype) for key, value in state.items()}, tmp_path / "x.pt")
    engine = load(ModelRequest(str(folder / "open_clip"), tmp_path / "x.pt", allow_pickle=True))
    found = engine.image_tower().model.visual.proj
    assert found.dtype == torch.float32
    assert torch.equal(found, state["visual.proj"].to(dtype).float())
