"""`clipcli convert`: what it writes, what it refuses, and what it says of trust."""

import errno
import os
import re
from copy import deepcopy

import pytest
import torch
from checkpoint_files import Evil, load, save_scripted, save_torchscript
from click.testing import CliRunner
from numpy.testing import assert_allclose
from safetensors.torch import load_file
from small_models import CLIP, write_model
from transformers_models import pixels, random_model, to_transformers, translated, write_folder

from clipcli.cli.commands.convert import convert
from clipcli.cli.console import Console
from clipcli.engines.torch import conversion
from clipcli.errors import ModelError, UsageError
from clipcli.models.specs import ModelRequest


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return random_model(tmp_path_factory.mktemp("model") / "open_clip", translated())


@pytest.fixture(scope="module")
def archive(tmp_path_factory, model):
    """As OpenAI published them: half precision, sizes beside the weights."""
    file = tmp_path_factory.mktemp("openai") / "ViT-B-32.pt"
    save_torchscript(deepcopy(model).half(), file)
    return file


def run(*arguments):
    """The command's standard output and standard error; what it raises comes out."""
    result = CliRunner().invoke(convert, [str(argument) for argument in arguments], obj=Console())
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout, result.stderr


class TestTorchScript:
    def test_openais_archive_becomes_a_checkpoint_of_the_same_model(self, archive, tmp_path, model):
        target = tmp_path / "ViT-B-32.safetensors"
        output, hint = run(archive, target, "--trust")
        assert output == f"{target}: 62 tensors, {target.stat().st_size / 1e6:.1f} MB\n"
        command = f"--model ViT-B-32 --checkpoint {target} --quick-gelu"
        assert hint == f"clipcli: use it with: clipcli IMAGE -l TEXT -l TEXT {command}\n"

        state = load_file(target)
        assert {tensor.dtype for tensor in state.values()} == {torch.float32}
        expected = {key: value.half().float() for key, value in model.state_dict().items()}
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[key], expected[key]) for key in expected)

    def test_without_trust_it_is_not_opened_and_says_what_trusting_means(
        self, archive, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("it was opened"))
        message = "is a TorchScript archive, a program: .* run whatever .* trust that, add --trust"
        with pytest.raises(UsageError, match=message):
            run(archive, tmp_path / "x.safetensors")
        assert list(tmp_path.iterdir()) == []

    def test_openais_name_for_larger_images_is_known(self, archive, tmp_path):
        larger = tmp_path / "ViT-L-14-336px.pt"
        larger.symlink_to(archive)
        _, hint = run(larger, tmp_path / "x.safetensors", "--trust")
        assert "--model ViT-L-14-336 --checkpoint" in hint

    def test_a_damaged_one_is_named(self, archive, tmp_path):
        content = bytearray(archive.read_bytes())
        middle = content.index(b"data.pkl") + 100
        content[middle : middle + 50] = bytes(50)
        (tmp_path / "x.pt").write_bytes(content)
        with pytest.raises(ModelError, match=r"x\.pt is not a whole TorchScript archive") as caught:
            run(tmp_path / "x.pt", tmp_path / "x.safetensors", "--trust")
        assert "\n" not in str(caught.value)


RESNET = {"image_size": 64, "layers": [1] * 4, "width": 16}


@pytest.mark.filterwarnings("ignore")  # of the compiler, about open_clip's own code
class TestScriptedModel:
    """open_clip's own models as programs: constants are no weights."""

    @pytest.fixture(
        params=[{}, {"custom_text": True}, {"vision_cfg": RESNET}], ids=["CLIP", "custom", "RN"]
    )
    def scripted(self, request, tmp_path):
        folder = tmp_path / "model"
        model = write_model(folder, {**CLIP, **request.param})
        save_scripted(model, tmp_path / "ViT-B-32.pt")
        return folder, model, tmp_path / "ViT-B-32.pt"

    def test_it_becomes_a_checkpoint_of_the_same_model(self, scripted, tmp_path):
        folder, model, archive = scripted
        _, hint = run(archive, tmp_path / "x.safetensors", "--trust")
        assert load_file(tmp_path / "x.safetensors").keys() == model.state_dict().keys()
        assert "quick-gelu" not in hint
        load(ModelRequest(str(folder), tmp_path / "x.safetensors"))

    def test_a_state_dict_with_its_constants_loads_as_well(self, scripted, tmp_path):
        folder, _, archive = scripted
        state = torch.jit.load(archive).state_dict()
        assert any(name.endswith("attn_mask") for name in state)
        torch.save(state, tmp_path / "x.pt")
        load(ModelRequest(str(folder), tmp_path / "x.pt", allow_pickle=True))

    def test_those_of_the_other_class_are_known_too(self, tmp_path):
        model = write_model(tmp_path / "plain", CLIP)
        write_model(tmp_path / "custom", {**CLIP, "custom_text": True})
        torch.save({**model.state_dict(), "attn_mask": model.attn_mask}, tmp_path / "x.pt")
        load(ModelRequest(str(tmp_path / "custom"), tmp_path / "x.pt", allow_pickle=True))


class TestPickle:
    def test_openais_own_state_dict_is_known_by_what_it_holds(self, tmp_path, model):
        sizes = {"input_resolution": 32, "context_length": 16, "vocab_size": 49408}
        state = {name: torch.tensor(value) for name, value in sizes.items()}
        torch.save({**model.state_dict(), **state}, tmp_path / "x.pt")
        _, hint = run(tmp_path / "x.pt", tmp_path / "x.safetensors")
        assert hint.endswith(" --quick-gelu\n")
        assert load_file(tmp_path / "x.safetensors").keys() == model.state_dict().keys()

    def test_its_tensors_are_taken_without_trust(self, tmp_path, model):
        state = model.state_dict()
        whole = torch.arange(6.0).reshape(2, 3)
        # What safetensors would not write: two views of one memory.
        views = {"one": whole.T, "other": whole[:, 1], "count": torch.tensor(3)}
        torch.save({"state_dict": {**state, **views}}, tmp_path / "fine tuned.pt")
        target = tmp_path / "fine tuned.safetensors"
        output, hint = run(tmp_path / "fine tuned.pt", target)
        assert output.startswith(f"{target}: 65 tensors, ")
        # Which activation it was trained with is not for clipcli to say.
        assert hint.endswith(f" --model ARCHITECTURE --checkpoint '{target}'\n")
        found = load_file(target)
        assert torch.equal(found["one"], views["one"])
        assert torch.equal(found["other"], views["other"])
        assert found["count"].dtype == torch.int64

    def test_in_a_models_folder_it_is_the_folder_that_then_has_weights(
        self, tmp_path, monkeypatch, model
    ):
        monkeypatch.chdir(tmp_path)
        state = to_transformers(model.state_dict())
        torch.save(state, write_folder(tmp_path / "mine") / "pytorch_model.bin")
        with pytest.raises(ModelError, match="--allow-pickle") as caught:
            load(ModelRequest("mine"))
        command = re.search("'clipcli convert (.*)'", str(caught.value))[1].split()
        assert command[1] == str(tmp_path / "mine" / "model.safetensors")

        _, hint = run("mine/pytorch_model.bin", "mine/model.safetensors")
        assert hint.endswith(" -l TEXT --model ./mine\n")
        features = model.encode_image(torch.from_numpy(pixels()), normalize=True)
        assert_allclose(load(ModelRequest("mine")).encode_images(pixels()), features, atol=1e-5)
        # The names stay those that transformers reads.
        assert load_file("mine/model.safetensors").keys() == state.keys()

    def test_trust_does_not_make_it_run(self, tmp_path):
        torch.save({"a": Evil(tmp_path / "it-ran")}, tmp_path / "evil.pt")
        with pytest.raises(ModelError, match="nothing of it was run"):
            run(tmp_path / "evil.pt", tmp_path / "x.safetensors", "--trust")
        assert [path.name for path in tmp_path.iterdir()] == ["evil.pt"]

    def test_one_without_tensors_is_named(self, tmp_path):
        torch.save({}, tmp_path / "x.pt")
        with pytest.raises(ModelError, match=r"x\.pt holds no tensors"):
            run(tmp_path / "x.pt", tmp_path / "x.safetensors")


class TestTarget:
    @pytest.fixture
    def source(self, tmp_path):
        torch.save({"a": torch.ones(3)}, tmp_path / "x.pt")
        return tmp_path / "x.pt"

    def test_what_is_there_is_replaced_only_by_force(self, source, tmp_path):
        target = tmp_path / "x.safetensors"
        target.write_text("mine")
        with pytest.raises(UsageError, match=r"x\.safetensors exists already: --force replaces"):
            run(source, target)
        assert target.read_text() == "mine"
        run(source, target, "--force")
        assert load_file(target)["a"].tolist() == [1, 1, 1]

    @pytest.mark.parametrize("step", ["save_file", "replace"])
    def test_a_full_disk_leaves_what_was_there(self, source, tmp_path, monkeypatch, step):
        target = tmp_path / "x.safetensors"
        target.write_text("mine")

        def fail(*_arguments):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        where = conversion if step == "save_file" else conversion.Path
        monkeypatch.setattr(where, step, fail)
        with pytest.raises(ModelError, match=r"cannot be written \(.*No space left"):
            run(source, target, "--force")
        assert target.read_text() == "mine"
        assert len(list(tmp_path.iterdir())) == 2

    def test_whoever_may_read_new_files_may_read_it(self, source, tmp_path):
        run(source, tmp_path / "x.safetensors")
        (tmp_path / "new").touch()
        assert (tmp_path / "x.safetensors").stat().st_mode == (tmp_path / "new").stat().st_mode

    def test_a_folder_that_is_not_there_is_named(self, source, tmp_path):
        with pytest.raises(UsageError, match=r"cannot write .*no/x\.safetensors \(there is no"):
            run(source, tmp_path / "no" / "x.safetensors")

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (("x.pt", "x.pt"), r"x\.pt: clipcli writes safetensors"),
            (("x.safetensors", "y.safetensors"), "is safetensors already: .* --checkpoint"),
        ],
    )
    def test_names_of_another_kind_are_a_usage_error(self, source, tmp_path, names, message):
        with pytest.raises(UsageError, match=message):
            run(*(tmp_path / name for name in names))

    @pytest.mark.parametrize("name", ["missing.pt", "x" * 5000 + ".pt", "folder.pt"])
    def test_a_source_that_is_no_file_is_named(self, tmp_path, name):
        (tmp_path / "folder.pt").mkdir()
        with pytest.raises(ModelError, match=r"\.pt: there is no such weights file"):
            run(tmp_path / name, tmp_path / "x.safetensors")
