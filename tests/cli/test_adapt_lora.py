"""`clipcli adapt --method lora`: trained, checked, kept, used, merged."""

import json
import pickle

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from small_models import CLIP, VISION, write_model

import clipcli
from benchmarks.sweep import torch_engine
from clipcli import Classifier
from clipcli.adaptation.lora_options import LoraOptions
from clipcli.adaptation.options import AdaptOptions
from clipcli.adaptation.torch import lora
from clipcli.cli.commands.adapt import adapt
from clipcli.cli.commands.classify import classify
from clipcli.cli.commands.embed import embed
from clipcli.cli.commands.eval import evaluate
from clipcli.cli.console import Console
from clipcli.cli.running import adaptation
from clipcli.engines.prompts import encode_prompts
from clipcli.errors import UsageError
from clipcli.heads.adapted import adapted_engine, adapted_head
from clipcli.heads.adapters import read_adapter

# Strong and short: what a small random model needs to learn two colours.
FAST = ("--method", "lora", "--steps", "12", "--alpha", "60", "--ungated")
LONGER = ("--method", "lora", "--steps", "40", "--alpha", "100")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    with torch.random.fork_rng():
        write_model(folder, {**CLIP, "vision_cfg": {**VISION, "layers": 2}})
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Ten pictures of each of two classes, each of its own."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for name, channel in (("red", 0), ("blue", 2)):
        (folder / name).mkdir()
        for place in range(10):
            pixels = random.integers(0, 90, (40, 40, 3), dtype=np.uint8)
            pixels[..., channel] += np.uint8(150)
            Image.fromarray(pixels).save(folder / name / f"{place}.png")
    return folder


def run(command, *arguments):
    """Exit code, standard output and standard error; what a command raises comes out."""
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(command, words, obj=Console(), standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value, result.stdout, result.stderr


@pytest.fixture(scope="module")
def adapted(model, data, tmp_path_factory):
    """An adapter that was accepted, and what was printed of it."""
    folder = tmp_path_factory.mktemp("adapters") / "colours"
    told = run(adapt, data, "-o", folder / "colours", "--model", model, *LONGER, "--json")
    return folder / "colours", told


class TestAdapt:
    def test_what_helps_is_written_with_its_figures(self, adapted):
        folder, (code, output, _) = adapted
        assert code == 0
        record = json.loads(output)
        assert record["gate"]["passed"]
        assert record["all"]["pictures"] == 4  # a fifth of them, held out
        assert record["all"]["adapted"]["accuracy"] > record["all"]["zero_shot"]["accuracy"]
        assert record["hyperparameters"]["steps"] == 40
        assert record["folds"] == 1
        assert record["layers"] == ["6 weights of the image tower", "3 weights of the text tower"]
        adapter = read_adapter(str(folder))
        assert adapter.description.method == "lora"
        assert record["parameters"] == sum(value.size for value in adapter.lora.values())
        assert adapter.lora_scale == 100 / np.sqrt(2)

    def test_each_picture_is_held_out_once_in_folds_and_a_head_is_fitted(
        self, model, data, tmp_path
    ):
        options = ("--model", model, *FAST, "--folds", 2, "--head", "--shots", 4)
        code, output, _ = run(adapt, data, "-o", tmp_path / "colours", *options, "--json")
        assert code == 0
        record = json.loads(output)
        assert record["all"]["pictures"] == 8
        assert record["folds"] == 2
        assert "strength" in record["hyperparameters"]
        adapter = read_adapter(str(tmp_path / "colours"))
        assert adapter.has_probe
        trained = sum(value.size for value in adapter.lora.values())
        assert record["parameters"] == trained + adapter.tensors["weights"].size

    def test_what_does_not_help_is_not_written(self, model, data, tmp_path):
        options = ("--method", "lora", "--steps", "1", "--alpha", "1e-6")
        code, _, error = run(adapt, data, "-o", tmp_path / "x", "--model", model, *options)
        assert code == 6
        assert "not written" in error
        assert not (tmp_path / "x").exists()

    def test_one_picture_a_class_is_written_unchecked(self, model, data, tmp_path):
        options = ("--model", model, *FAST, "--shots", "1")
        code, _, error = run(adapt, data, "-o", tmp_path / "x", *options)
        assert code == 0
        assert "is not checked" in error

    def test_an_interrupted_one_leaves_nothing(self, model, data, tmp_path, monkeypatch):
        def interrupt(_self):
            raise KeyboardInterrupt

        monkeypatch.setattr(lora._Training, "step", interrupt)
        with pytest.raises(click.Abort):  # what click makes of Ctrl-C
            run(adapt, data, "-o", tmp_path / "x", "--model", model, *FAST)
        assert list(tmp_path.iterdir()) == []

    def test_a_long_one_is_not_begun_unasked(self, model, data, tmp_path, monkeypatch):
        monkeypatch.setattr(adaptation, "_UNASKED_SECONDS", 0)
        command = (data, "-o", tmp_path / "x", "--model", model, *FAST)
        with pytest.raises(UsageError, match="nobody to ask: add --yes; --steps N"):
            run(adapt, *command)
        assert not (tmp_path / "x").exists()
        _, _, error = run(adapt, *command, "--yes")
        # One estimate for both trainings.
        assert error.count("this takes about") == 1
        assert (tmp_path / "x").exists()

    @pytest.mark.parametrize(("answer", "is_written"), [("y", True), ("n", False)])
    def test_on_a_terminal_it_is_asked(
        self, model, data, tmp_path, monkeypatch, answer, is_written
    ):
        monkeypatch.setattr(adaptation, "_UNASKED_SECONDS", 0)
        monkeypatch.setattr(adaptation, "_is_interactive", lambda: True)
        asked = []
        monkeypatch.setattr(
            adaptation.click, "confirm", lambda *_, **__: asked.append(1) or answer == "y"
        )
        command = (data, "-o", tmp_path / "x", "--model", model, *FAST)
        if is_written:
            run(adapt, *command)
        else:
            with pytest.raises(UsageError, match="stopped, and nothing is written"):
                run(adapt, *command)
        assert asked == [1]
        assert (tmp_path / "x").exists() == is_written


REFUSED = {
    "--rank without lora": (("--rank", "2"), "--rank goes with --method lora"),
    "--learning-rate without lora": (("--learning-rate", "1"), "--learning-rate goes with"),
    "--yes without lora": (("--yes",), "--yes goes with --method lora"),
    "--head without lora": (("--head",), "--head goes with --method lora"),
    "no such target": ((*FAST, "--targets", "q,x"), "--targets q,x: name some of q, k, v, out"),
    "stored embeddings": ((*FAST, "--embeddings", "x.npz"), "leave out --embeddings"),
    "the fast engine": ((*FAST, "--engine", "onnx"), "only torch can: leave out --engine"),
    "int8": ((*FAST, "--precision", "int8"), "only torch can"),
    "bf16": ((*FAST, "--precision", "bf16"), "trained in fp32"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_go_together_is_refused(model, data, tmp_path, name):
    options, message = REFUSED[name]
    with pytest.raises(UsageError, match=message):
        run(adapt, data, "-o", tmp_path / "x", "--model", model, *options)
    assert not (tmp_path / "x").exists()


class TestUse:
    def test_classify_answers_with_the_changed_model(self, adapted, model, data):
        folder, _ = adapted
        command = (data / "red" / "0.png", "--adapter", folder, "--model", model, "--json")
        _, output, _ = run(classify, *command)
        (record,) = json.loads(output)
        adapter = read_adapter(str(folder))
        engine = torch_engine(model, "fp32").adapted(adapter.lora, adapter.lora_scale)
        texts = encode_prompts(engine, ["blue", "red"])
        np.testing.assert_allclose(adapter.tensors["texts"], texts, rtol=0, atol=1e-6)
        found = {one["label"]: one["similarity"] for one in record["predictions"]}
        place = sorted(data.glob("*/*.png")).index(data / "red" / "0.png")
        expected = adapter.tensors["pictures"][place] @ texts.T
        np.testing.assert_allclose([found["blue"], found["red"]], expected, rtol=0, atol=1e-5)
        assert record["answer"] == "red"
        assert record["model"]["fingerprint"] == adapter.fingerprint

    def test_an_engine_that_cannot_is_refused_with_the_way_out(self, adapted, model, data):
        folder, _ = adapted
        command = (data / "red" / "0.png", "--adapter", folder, "--model", model)
        with pytest.raises(UsageError, match="adapt --merge NAME FOLDER"):
            run(classify, *command, "--engine", "onnx")

    def test_eval_measures_it_beside_the_model_as_it_was(self, adapted, model, data, tmp_path):
        folder, _ = adapted
        command = (data, "--adapter", folder, "--model", model, "--json", tmp_path / "x.json")
        _, _, error = run(evaluate, *command)
        assert "was made of 20 of these 20 pictures" in error
        record = json.loads((tmp_path / "x.json").read_text())
        run(evaluate, data, "--model", model, "--json", tmp_path / "y.json")
        zero_shot = json.loads((tmp_path / "y.json").read_text())
        adapted_row, plain_row = record["rows"]
        assert adapted_row["top1"]["value"] > plain_row["top1"]["value"]
        assert plain_row["top1"] == zero_shot["rows"][0]["top1"]
        fingerprints = [row["model"]["fingerprint"] for row in record["rows"]]
        adapter = read_adapter(str(folder))
        assert fingerprints == [adapter.fingerprint, adapter.description.fingerprint]

    def test_its_embeddings_go_with_it_alone(self, adapted, model, data, tmp_path):
        folder, _ = adapted
        images = sorted(data.glob("*/*.png"))[:3]
        with_it, without = tmp_path / "with.npz", tmp_path / "without.npz"
        run(embed, *images, "--model", model, "--adapter", folder, "-o", with_it)
        run(embed, *images, "--model", model, "-o", without)
        adapter = read_adapter(str(folder))
        rows = np.load(with_it)["embeddings"]
        np.testing.assert_allclose(rows, adapter.tensors["pictures"][:3], rtol=0, atol=1e-6)
        answered = run(classify, "--embeddings", with_it, "--adapter", folder, "--model", model)
        direct = run(classify, *images, "--adapter", folder, "--model", model)
        assert [line.split("\t")[1] for line in answered[1].splitlines()] == [
            line.split("\t")[1] for line in direct[1].splitlines()
        ]
        with pytest.raises(UsageError, match="was made with other weights"):
            run(classify, "--embeddings", without, "--adapter", folder, "--model", model)
        with pytest.raises(UsageError, match="was made with other weights"):
            run(classify, "--embeddings", with_it, "-l", "a", "-l", "b", "--model", model)

    def test_a_head_without_its_model_is_refused(self, adapted, model):
        """Else the answers would be wrong, and nobody would see it."""
        folder, _ = adapted
        adapter, engine = read_adapter(str(folder)), torch_engine(model, "fp32")
        with pytest.raises(UsageError, match="goes with embeddings of the model that it has"):
            adapted_head(adapter, engine.info)
        changed = adapted_engine(engine, adapter)
        assert adapted_head(adapter, changed.info).weights.shape == (2, 16)
        assert changed.info.fingerprint == adapter.fingerprint != engine.info.fingerprint


class TestPython:
    def test_a_classifier_answers_as_the_command_does(self, adapted, model, data):
        folder, _ = adapted
        classifier = Classifier(str(model), adapter=folder)
        adapter = read_adapter(str(folder))
        assert classifier.info.fingerprint == adapter.fingerprint
        picture = data / "red" / "0.png"
        (found,) = classifier.classify(picture)
        _, output, _ = run(classify, picture, "--adapter", folder, "--model", model, "--json")
        (record,) = json.loads(output)
        assert found.answer == record["answer"]
        expected = [one["probability"] for one in record["predictions"]]
        assert [one.probability for one in found.scores] == pytest.approx(expected, abs=1e-6)
        again = pickle.loads(pickle.dumps(classifier))
        assert again.classify(picture)[0].scores == found.scores

    def test_it_is_trained_from_python(self, model, data, tmp_path):
        options = AdaptOptions(
            "lora", shots=2, ungated=True, lora=LoraOptions(steps=2, layers="text")
        )
        report = clipcli.adapt(
            data, tmp_path / "x", Classifier(str(model), engine="torch"), options=options
        )
        assert report.folder == tmp_path / "x"
        assert all(not name.startswith("visual.") for name in read_adapter(str(report.folder)).lora)


class TestMerge:
    def test_the_merged_model_is_the_adapted_one(self, adapted, model, tmp_path):
        folder, _ = adapted
        _, output, error = run(adapt, "--merge", folder, tmp_path / "merged", "--model", model)
        assert output.startswith(f"{tmp_path / 'merged'}: ")
        assert f"clipcli pull {tmp_path / 'merged'}" in error
        adapter = read_adapter(str(folder))
        merged = torch_engine(tmp_path / "merged", "fp32")
        texts = encode_prompts(merged, ["blue", "red"])
        np.testing.assert_allclose(texts, adapter.tensors["texts"], rtol=0, atol=1e-6)

    def test_a_probe_has_nothing_to_merge(self, model, data, tmp_path):
        run(adapt, data, "-o", tmp_path / "probe", "--model", model, "--ungated")
        with pytest.raises(UsageError, match="is no LoRA: it leaves"):
            run(adapt, "--merge", tmp_path / "probe", tmp_path / "merged", "--model", model)

    def test_it_goes_without_a_name(self, adapted, model, data, tmp_path):
        folder, _ = adapted
        with pytest.raises(UsageError, match="leave out -o"):
            run(adapt, "--merge", folder, tmp_path / "merged", "-o", "x")
        with pytest.raises(UsageError, match="add -o NAME"):
            run(adapt, data, "--model", model)
