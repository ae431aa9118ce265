"""`clipcli adapt`, and the commands that take an adapter: from a folder of pictures to answers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from adaptation_data import pattern_folders
from command import clean_environment
from startup import HEAVY, PROGRAM, loaded_modules

from clipcli import AdaptOptions, Classifier, ClipcliWarning, UsageError, adapt
from clipcli.cli.main import run
from clipcli.heads.adapters import adapter_folder, read_adapter

TINY = ("--model", "tiny")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Six striped, checked and speckled pictures each, called what they are not."""
    return pattern_folders(tmp_path_factory.mktemp("pictures") / "data", 6)


@pytest.fixture(scope="module")
def written(pictures, tmp_path_factory) -> Path:
    """An adapter that was made of the pictures."""
    folder = tmp_path_factory.mktemp("adapters") / "patterns"
    assert run(["adapt", str(pictures), "-o", str(folder), *TINY, "-q", "--ungated"]) == 0
    return folder


@pytest.fixture
def command(capfd, monkeypatch, tmp_path):
    """Runs clipcli with a data folder of the test's own: exit code, output, error."""
    monkeypatch.delenv("CLIPCLI_MODEL", raising=False)
    monkeypatch.setenv("CLIPCLI_DATA_DIR", str(tmp_path / "data folder"))
    capfd.readouterr()

    def command(*arguments: str | Path) -> tuple[int, str, str]:
        code = run([*map(str, arguments)])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return command


def test_pictures_become_an_adapter_that_knows_them(command, pictures) -> None:
    code, out, err = command("adapt", pictures, "-o", "patterns", *TINY, "-t", "a photo of {}.")

    folder = adapter_folder("patterns")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("18 pictures of 3 classes, 5 folds; 768 numbers fitted (strength ")
    assert [line.split()[0] for line in lines[2:6]] == ["alpha", "beta", "gamma", "all"]
    assert lines[-2].startswith("better than zero-shot: accuracy +")
    assert lines[-1] == f"written: {folder}; use it with `clipcli classify --adapter patterns`"
    adapter = read_adapter("patterns")
    assert adapter.labels.names == ("alpha", "beta", "gamma")
    assert adapter.labels.templates == ("a photo of {}.",)

    code, out, err = command("classify", "-r", pictures, "--adapter", "patterns")

    assert (code, err) == (0, "")
    answers = [line.split("\t") for line in out.splitlines()]
    right = [Path(name).parent.name == answer for name, answer, _ in answers]
    assert sum(right) >= 17


def test_json_holds_the_figures(command, pictures, tmp_path) -> None:
    code, out, _ = command("adapt", pictures, "-o", tmp_path / "x", *TINY, "--json", "--shots", "4")

    record = json.loads(out)
    assert code == record["exit_code"]
    assert record["labels"] == ["alpha", "beta", "gamma"]
    assert (record["counts"], record["folds"]) == ([4, 4, 4], 4)
    assert record["hyperparameters"]["rule"] == "3 p^2"
    assert record["parameters"] == 3 * 256
    assert {"accuracy", "log_loss", "calibration_error"} == record["all"]["adapted"].keys()
    assert len(record["classes"]) == 3
    assert record["gate"]["passed"] == (code == 0)
    assert set(record["thresholds"]) == {"knn", "mahalanobis"}


def test_the_same_command_makes_the_same_adapter(command, pictures) -> None:
    for name in ("one", "two"):
        command("adapt", pictures, "-o", name, *TINY, "--shots", "4", "--seed", "7", "--ungated")

    tensors = [read_adapter(name).tensors for name in ("one", "two")]
    assert all(np.array_equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


def shuffled(pictures: Path, folder: Path) -> Path:
    """The same pictures under labels that tell nothing: each class has two of each pattern."""
    names = ["alpha", "beta", "gamma"]
    for place, file in enumerate(sorted(pictures.glob("*/*.png"))):
        target = folder / names[place % 3]
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target / f"{place}.png")
    return folder


def test_what_is_no_better_is_not_written(command, pictures, tmp_path) -> None:
    data = shuffled(pictures, tmp_path / "shuffled")

    code, out, err = command("adapt", data, "-o", "nothing", *TINY)

    assert code == 6
    assert "all " in out
    assert err.startswith("clipcli: nothing: not written (--ungated writes it), being not surely")
    assert "each must be by one standard error at least" in err
    assert not adapter_folder("nothing").exists()

    code, _, err = command("adapt", data, "-o", "nothing", *TINY, "--ungated")

    assert code == 0
    assert "written all the same" in err
    assert adapter_folder("nothing").is_dir()


def test_one_picture_a_class_is_written_and_said_so(command, pictures) -> None:
    code, out, err = command("adapt", pictures, "-o", "few", *TINY, "--shots", "1")

    assert code == 0
    assert "one picture a class: nothing can be held out" in err
    assert "3 pictures of 3 classes, nothing held out" in out
    assert read_adapter("few").description.thresholds == {}
    code, _, err = command("-r", pictures, "--adapter", "few", "--novelty", "knn")
    assert code == 2
    assert "has no threshold" in err


def test_a_broken_picture_is_told_and_left_out(command, pictures, tmp_path) -> None:
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    (data / "alpha" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")

    code, out, err = command("adapt", data, "-o", "x", *TINY)

    assert code == 3
    assert err.startswith(f"clipcli: {data}/alpha/broken.png: ")
    assert out.startswith("18 pictures")
    assert adapter_folder("x").is_dir()


def test_uneven_classes_are_told(command, pictures, tmp_path) -> None:
    data = pattern_folders(tmp_path / "data", 1, names="alpha")
    pattern_folders(tmp_path / "more", 10, names="alpha beta")
    shutil.move(tmp_path / "more" / "beta", data)

    _, _, err = command("adapt", data, "-o", "x", *TINY)

    assert "uneven classes, from 1 of 'alpha' to 10 of 'beta'" in err


def test_labels_without_pictures_are_known_by_their_text(command, pictures) -> None:
    labels = [word for name in ("alpha", "beta", "gamma", "a cat") for word in ("-l", name)]

    code, _, err = command("adapt", pictures, "-o", "x", *TINY, *labels)

    assert code == 0
    assert "no picture of 'a cat': it is known by its text alone" in err
    assert read_adapter("x").description.counts == [6, 6, 6, 0]


def test_embeddings_take_the_place_of_pictures(command, pictures, tmp_path, monkeypatch) -> None:
    file = tmp_path / "patterns.npz"
    monkeypatch.chdir(pictures.parent)
    assert command("embed", "-r", pictures.name, "-o", file, *TINY)[0] == 0

    code, _, err = command("adapt", pictures, "-o", "x", "--embeddings", file, *TINY)
    assert (code, err) == (0, "")
    command("adapt", pictures, "-o", "y", *TINY)
    one, other = (read_adapter(name) for name in "xy")
    assert one.description.pictures == other.description.pictures
    assert one.tensors["pictures"] == pytest.approx(other.tensors["pictures"], abs=1e-5)

    elsewhere = pattern_folders(tmp_path / "elsewhere", 2)
    code, _, err = command("adapt", elsewhere, "-o", "z", "--embeddings", file, *TINY)
    assert code == 2
    assert "has none of these pictures, by their paths" in err


def test_the_adapter_answers_for_its_models_embeddings(command, pictures, written, tmp_path):
    file = tmp_path / "patterns.npz"
    # A probe leaves embeddings as they are.
    assert command("embed", "-r", pictures, "-o", file, "--adapter", written)[0] == 0

    by_file = command("classify", "--embeddings", file, "--adapter", written)
    by_pictures = command("classify", "-r", pictures, "--adapter", written)

    assert by_file[0] == by_pictures[0] == 0
    answers = [
        [line.split("\t")[:2] for line in out.splitlines()] for _, out, _ in (by_file, by_pictures)
    ]
    assert answers[0] == answers[1]
    assert command("classify", "--embeddings", file, "-l", "a", "-l", "b")[0] == 0


def test_eval_sets_it_beside_zero_shot(command, pictures, written, tmp_path) -> None:
    figures = tmp_path / "figures.json"

    code, out, err = command("eval", pictures, "--adapter", written, "--json", figures)

    assert code == 0
    assert f"{written} was made of 18 of these 18 pictures, and knows their answers" in err
    adapted, zero_shot = json.loads(figures.read_text())["rows"]
    assert adapted["prompts"] == f"adapter {written}"
    assert zero_shot["prompts"] == "zero-shot"
    assert adapted["top1"]["value"] > zero_shot["top1"]["value"] + 0.3
    assert adapted["model"]["fingerprint"] != zero_shot["model"]["fingerprint"]
    assert out.count("zero-shot") == 1

    other = pattern_folders(tmp_path / "other", 2, names="delta beta")
    code, _, err = command("eval", other, "--adapter", written)
    assert code == 2
    assert "the data's class 'delta' is none of the labels" in err


def test_what_is_like_none_of_the_pictures_is_unknown(command, pictures, written, photos) -> None:
    names = [str(photos / name) for name in ("chelsea.png", "coffee.png", "rocket.jpg")]
    line = ("--adapter", written, "--jsonl")
    for way in ("knn", "mahalanobis"):
        code, out, _ = command(*names, *line, "--novelty", way, "--expect", "unknown")
        records = [json.loads(text) for text in out.splitlines()]
        assert code == 0
        assert [record["answer"] for record in records] == [None] * 3
        assert all(record["novel"] for record in records)
    _, out, _ = command(*names, *line)
    assert all(json.loads(text)["answer"] for text in out.splitlines())
    code, out, _ = command(*names, "--adapter", written, "--novelty", "knn", "--format", "human")
    assert out.count("Best match: unknown (like none of the pictures that the adapter knows)") == 3


def test_results_of_adapters_do_not_mix(command, pictures, written, tmp_path) -> None:
    output = tmp_path / "answers.jsonl"
    line = ("-r", pictures, "-o", output)
    assert command(*line, "--adapter", written)[0] == 0
    (tmp_path / "answers.jsonl").rename(tmp_path / "answers.jsonl.part")
    other = tmp_path / "other"
    command("adapt", pictures, "-o", other, *TINY, "--seed", "1", "--shots", "5", "--ungated")

    code, _, err = command(*line, "--adapter", other, "--resume")
    assert code == 2
    assert "fingerprint" in err
    labels = [word for name in ("alpha", "beta", "gamma") for word in ("-l", name)]
    assert command(*line, *labels, *TINY, "--resume")[0] == 2
    code, _, err = command(*line, "--adapter", written, "--novelty", "knn", "--resume")
    assert code == 2
    assert "novelty: none then, knn now" in err
    assert command(*line, "--adapter", written, "--resume")[0] == 0


USAGE = {
    "adapter and labels": (["x.png", "--adapter", "a", "-l", "b"], "brings its own labels"),
    "adapter and templates": (["x.png", "--adapter", "a", "-t", "{}"], "brings its own labels"),
    "novelty alone": (["x.png", "-l", "a", "-l", "b", "--novelty", "knn"], "goes with --adapter"),
    "unknown adapter": (["x.png", "--adapter", "gone"], "there is no adapter gone"),
    "no adapter's folder": (["x.png", "--adapter", "./"], "holds no adapter.json"),
    "eval compares": (
        ["eval", "data", "--adapter", "a", "--compare-models", "tiny"],
        "leave out --compare-templates and --compare-models",
    ),
    "embed": (["embed", "x.png", "-o", "x.npz", "--adapter", "gone"], "there is no adapter gone"),
    "no name": (["adapt", "data"], "the adapter needs a name"),
    "bad name": (["adapt", "data", "-o", ".hidden"], "no adapter can be called '.hidden'"),
    "no data": (["adapt", "gone", "-o", "x"], "cannot read gone"),
    "no shots": (["adapt", "data", "-o", "x", "--shots", "0"], "Invalid value"),
    "no method": (["adapt", "data", "-o", "x", "--method", "magic"], "Invalid value"),
}


@pytest.mark.parametrize(("line", "reason"), USAGE.values(), ids=USAGE)
def test_slips_are_usage_errors(command, line, reason) -> None:
    code, out, err = command(*line)

    assert (code, out) == (2, "")
    assert reason in err


def test_another_model_is_refused_with_both_names(command, pictures, written, tmp_path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(written, folder)
    file = folder / "adapter.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "model": "ViT-B-32:openai", "fingerprint": "0" * 32}))

    for line in (
        ["classify", "-r", pictures],
        ["eval", pictures],
        ["embed", "-r", pictures, "-o", tmp_path / "x.npz"],
    ):
        code, _, err = command(*line, "--adapter", folder, *TINY)
        assert code == 2
        assert "adapts ViT-B-32:openai (fingerprint 0000" in err
        assert "not tiny: use --model ViT-B-32:openai" in err
    assert not (tmp_path / "x.npz").exists()


def test_another_preprocessing_is_told(command, pictures, written) -> None:
    for line in (["classify", pictures / "alpha" / "0.png"], ["eval", pictures]):
        _, _, err = command(*line, "--adapter", written, "--preprocess", "reference")
        assert "was made with --preprocess plain, and this is reference" in err
        _, _, err = command(*line, "--adapter", written, "--fit", "pad")
        assert "was made with --fit crop, and this is pad" in err


def test_an_adapter_is_replaced_when_asked_to(command, pictures) -> None:
    line = ("adapt", pictures, "-o", "x", *TINY, "--shots", "5", "--ungated")
    command(*line)
    before = read_adapter("x").sha256

    code, _, err = command(*line, "--seed", "1")
    assert code == 2
    assert "-o x exists already" in err
    assert read_adapter("x").sha256 == before
    assert command(*line, "--seed", "1", "--force")[0] in (0, 3)
    assert read_adapter("x").sha256 != before


def test_models_lists_adapters_and_no_cache_goes_near_them(command, written) -> None:
    folder = adapter_folder("patterns")
    shutil.copytree(written, folder)
    command("cache", "--clear")

    assert f"adapter    patterns  probe of tiny  3 labels  {folder}\n" in command("models")[1]
    (record,) = [
        one for one in json.loads(command("models", "--json")[1]) if one["kind"] == "adapter"
    ]
    assert (record["adapter"], record["model"], record["labels"]) == ("patterns", "tiny", 3)
    assert command("models", "--remove", "patterns")[0] == 0
    assert not folder.exists()


def test_an_interrupted_fit_writes_nothing(command, pictures, monkeypatch) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("clipcli.adaptation.probing.fit", interrupted)

    assert command("adapt", pictures, "-o", "x", *TINY)[0] == 130
    assert not adapter_folder("x").parent.exists()


KILLED = """
import os, signal, sys
from clipcli.adaptation import writing
from clipcli.cli.main import run
writing.replace_folder = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
run(sys.argv[1:])
"""


@pytest.mark.skipif(os.name == "nt", reason="no such signal")
def test_a_killed_one_leaves_no_adapter_and_the_next_cleans_up(command, pictures) -> None:
    line = ("adapt", str(pictures), "-o", "x", *TINY, "--ungated")
    environment = {**clean_environment(), "CLIPCLI_DATA_DIR": os.environ["CLIPCLI_DATA_DIR"]}
    killed = subprocess.run([sys.executable, "-c", KILLED, *line], env=environment, check=False)

    parent = adapter_folder("x").parent
    assert killed.returncode == -signal.SIGKILL
    assert [name[0] for name in os.listdir(parent)] == ["."]
    assert "adapter " not in command("models")[1]
    assert command(*line)[0] == 0
    assert os.listdir(parent) == ["x"]


def test_an_answer_with_a_probe_loads_no_torch_and_no_texts(written, photos) -> None:
    line = (str(photos / "chelsea.png"), "--adapter", str(written))
    modules, code = loaded_modules(PROGRAM, *line)

    assert code == 0
    assert modules & HEAVY == {"numpy", "onnxruntime", "PIL", "safetensors"}
    assert "sqlite3" not in modules
    assert not [name for name in modules if name.startswith("clipcli.adaptation.p")]


@pytest.mark.parametrize("line", ["adapt --help", "adapt gone -o x", "x.png --adapter gone"])
def test_a_start_without_a_fit_is_light(line) -> None:
    modules, code = loaded_modules(PROGRAM, *line.split())

    assert code == (0 if "--help" in line else 2)
    assert modules & HEAVY == set()


def test_from_python(pictures, tmp_path, photos) -> None:
    folder = tmp_path / "patterns"
    tiny = Classifier("tiny")

    report = adapt(pictures, folder, tiny, templates="a photo of {}.", options=AdaptOptions(seed=1))

    assert (report.folder, report.is_better) == (folder, True)
    assert report.figures["all"]["adapted"]["accuracy"] > 0.8
    with pytest.raises(UsageError, match="exists already"):
        adapt(pictures, folder, tiny)
    adapted = Classifier("tiny", adapter=folder)
    results = adapted.classify(sorted(pictures.glob("*/*.png")))
    right = [Path(result.name).parent.name == result.answer for result in results]
    assert sum(right) >= 17
    assert adapted.info.fingerprint != tiny.info.fingerprint
    with pytest.raises(UsageError, match="brings its own labels"):
        adapted.classify(photos / "coffee.png", ["cup", "cat"])
    with pytest.raises(UsageError, match="no labels"):
        tiny.classify(photos / "coffee.png")
    with pytest.warns(ClipcliWarning, match="one picture a class"):
        adapt(pictures, tmp_path / "few", tiny, options=AdaptOptions(shots=1))
