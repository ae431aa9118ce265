"""`clipcli eval`: from a folder of one's own pictures to tables, JSON, figures and exit codes."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import skimage
from fake_engine import FakeEngine, grey_png
from report_pages import Page

from clipcli.cli.main import run
from clipcli.models.specs import ModelSpec
from clipcli.runs import lookahead

TINY = ("--model", "tiny")
# Plain photos of things, so that any weights worth shipping name them right.
PICTURES = {
    "cat": ["chelsea.png"],
    "cup_of_coffee": ["coffee.png"],
    "rocket": ["rocket.jpg"],
    "motorcycle": ["motorcycle_left.png", "motorcycle_right.png"],
}
# Filed under a class that they do not show: mistakes on purpose, whatever the weights.
MISFILED = {"coins": "chelsea.png", "horse": "coffee.png", "moon": "rocket.jpg"}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of seven class folders with eight real pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, files in PICTURES.items():
        (folder / name).mkdir()
        for file in files:
            shutil.copy(Path(skimage.data_dir) / file, folder / name)
    for name, file in MISFILED.items():
        (folder / name).mkdir()
        shutil.copy(Path(skimage.data_dir) / file, folder / name)
    return folder


@pytest.fixture
def evaluated(capfd, monkeypatch, tmp_path):
    """Runs `clipcli eval` with `--json`: exit code, JSON or None, standard output and error."""
    monkeypatch.delenv("CLIPCLI_MODEL", raising=False)

    def evaluated(*arguments: str | Path):
        file = tmp_path / "figures.json"
        file.unlink(missing_ok=True)
        code = run(["eval", *map(str, arguments), "--json", str(file)])
        captured = capfd.readouterr()
        record = json.loads(file.read_text()) if file.exists() else None
        return code, record, captured.out, captured.err

    return evaluated


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """The size of each file that is decoded from now on."""
    sizes: list[int] = []
    decode = lookahead.decode_marked

    def counted(data: bytes, *rest: object) -> object:
        sizes.append(len(data))
        return decode(data, *rest)

    monkeypatch.setattr(lookahead, "decode_marked", counted)
    return sizes


@pytest.fixture
def fake_engines(monkeypatch) -> list[FakeEngine]:
    """The engines that are opened in place of real ones."""
    engines: list[FakeEngine] = []

    def opened(*_: object, **_options: object) -> FakeEngine:
        engines.append(FakeEngine())
        return engines[-1]

    # Not by its dotted name, which is the command's, too.
    monkeypatch.setattr(import_module("clipcli.cli.running.evaluation"), "open_engine", opened)
    return engines


def greys(folder: Path, **classes: list[int]) -> Path:
    """A folder of class folders with one-coloured pictures."""
    for name, values in classes.items():
        (folder / name).mkdir(parents=True)
        for place, value in enumerate(values):
            (folder / name / f"{place}.png").write_bytes(grey_png(value))
    return folder


def test_a_folder_of_real_pictures(evaluated, pictures: Path) -> None:
    code, record, out, err = evaluated(pictures, *TINY)

    assert (code, err) == (0, "")
    labels = ["cat", "coins", "cup of coffee", "horse", "moon", "motorcycle", "rocket"]
    assert record["labels"] == record["classes"] == labels
    assert (record["images"], record["failures"], record["exit_code"]) == (8, [], 0)
    (row,) = record["rows"]
    right = [one for one in record["answers"] if one["answer"] == one["label"]]
    assert {one["label"] for one in right} == {"cat", "cup of coffee", "motorcycle", "rocket"}
    assert row["top1"]["value"] == len(right) / 8 == 5 / 8
    assert row["mean_recall"] == {"value": 4 / 7, "low": None, "high": None}
    assert all(one["rank"] == 1 for one in right)
    assert row["top5"]["value"] == sum(one["rank"] <= 5 for one in record["answers"]) / 8
    assert {one["label"]: one["recall"] for one in row["classes"]} == {
        **dict.fromkeys(labels, 0.0),
        **dict.fromkeys(["cat", "cup of coffee", "motorcycle", "rocket"], 1.0),
    }
    pairs = Counter((one["label"], one["answer"]) for one in record["answers"])
    assert {(one["label"], one["answer"]): one["images"] for one in row["confusion"]} == pairs
    by_index = {one["index"]: one for one in record["answers"]}
    wrong = [by_index[index]["probability"] for index in row["mistakes"]]
    assert len(wrong) == 3
    assert wrong == sorted(wrong, reverse=True)
    first, *lines = out.splitlines()
    assert first == "tiny, prompts {}: 8 images of 7 classes, 7 labels"
    assert lines[1].split()[:2] == ["top-1", "0.6250"]
    shown = {one["label"]: one["answer"] for one in record["answers"] if one not in right}
    assert shown == {"coins": "cat", "horse": "cup of coffee", "moon": "rocket"}
    surest = by_index[row["mistakes"][0]]
    assert f"{surest['probability']:.4f}  {surest['label']}" in out
    assert surest["input"] in out


def test_json_has_settings_and_versions(evaluated, pictures: Path) -> None:
    _, record, *_ = evaluated(pictures, *TINY, "-t", "a {}.", "-t", "{}", "--batch-size", "3")

    settings = record["settings"]
    assert (settings["model"], settings["precision"], settings["batch_size"]) == ("tiny", "fp32", 3)
    assert {"clipcli", "numpy", "scikit-learn", "engine"} <= settings["provenance"].keys()
    (row,) = record["rows"]
    assert (row["prompts"], row["templates"]) == ("a {}. + {}", ["a {}.", "{}"])
    assert row["model"] == {"name": "tiny", "fingerprint": settings["fingerprint"]}
    assert record["intervals"]["draws"] == 2000


def test_a_file_of_labels_gives_what_the_folder_gives(evaluated, pictures, tmp_path) -> None:
    _, expected, *_ = evaluated(pictures, *TINY)
    rows = [f"{one['input']}\t{one['label']}" for one in expected["answers"]]
    file = tmp_path / "labels.tsv"
    file.write_text("\n".join(["path\tlabel", *rows]))

    _, record, *_ = evaluated(file, *TINY)

    for part in ("rows", "answers", "labels"):
        assert record[part] == expected[part]


def test_images_are_read_once_however_many_templates(evaluated, pictures, decoded) -> None:
    sets = ["{}", "a photo of a {}.", "openai7"]
    compared = [word for name in sets for word in ("--compare-templates", name)]

    code, record, out, _ = evaluated(pictures, *TINY, "-t", "the {}", *compared)

    files = [file for file in pictures.rglob("*.*") if file.is_file()]
    assert code == 0
    assert sorted(decoded) == sorted(file.stat().st_size for file in files)
    rows = record["rows"]
    assert [row["prompts"] for row in rows] == ["the {}", *sets]
    assert [len(row["templates"]) for row in rows] == [1, 1, 1, 7]
    assert rows[0]["difference"] is None
    for row in rows[1:]:
        ahead = row["top1"]["value"] - rows[0]["top1"]["value"]
        assert row["difference"]["value"] == pytest.approx(ahead)
        assert row["difference"]["low"] <= ahead <= row["difference"]["high"]
    heading, *table = out.split("\n\n")[0].splitlines()
    assert heading.split()[:3] == ["model", "prompts", "top-1"]
    assert len(table) == 4


def test_a_row_is_the_same_alone_and_beside_others(evaluated, pictures) -> None:
    _, together, *_ = evaluated(pictures, *TINY, "-t", "{}", "--compare-templates", "openai7")

    for place, name in enumerate(["{}", "openai7"]):
        _, alone, *_ = evaluated(pictures, *TINY, "-t", name)
        row = {**together["rows"][place], "difference": None}
        assert row == alone["rows"][0]


def test_each_model_reads_and_embeds_once_and_rows_are_their_product(
    evaluated, tmp_path, decoded, fake_engines
) -> None:
    data = greys(tmp_path / "data", a=[0, 10, 20], bbbb=[100, 120])
    models = ("--model", "tiny", "--compare-models", "ViT-B-32", "--compare-models", "tiny")
    templates = ("--compare-templates", "{}", "--compare-templates", "{}{}")

    _, record, *_ = evaluated(data, *models, *templates)

    assert len(fake_engines) == 2
    assert len(decoded) == 10
    assert [sum(engine.batches) for engine in fake_engines] == [5, 5]
    assert [row["prompts"] for row in record["rows"]] == ["{}", "{}{}"] * 2


@pytest.mark.parametrize(
    ("named", "environment", "models"),
    [
        (["--compare-models", "ViT-L-14", "--compare-models", "tiny"], None, ["ViT-L-14", "tiny"]),
        (["--compare-models", "tiny"], "ViT-B-16", ["ViT-B-16", "tiny"]),
        (["--compare-models", "tiny", "--model", "ViT-B-16"], None, ["ViT-B-16", "tiny"]),
        ([], None, ["ViT-B-32"]),
    ],
)
def test_a_model_that_nobody_named_is_not_compared(
    evaluated, tmp_path, monkeypatch, fake_engines, named, environment, models
) -> None:
    data = greys(tmp_path / "data", a=[0], bbbb=[100])
    if environment:
        monkeypatch.setenv("CLIPCLI_MODEL", environment)
    module = import_module("clipcli.cli.running.evaluation")
    opened = []
    fake = module.open_engine

    def open_and_note(spec: ModelSpec, *rest: object, **options: object) -> FakeEngine:
        opened.append(spec.name)
        return fake(spec, *rest, **options)

    monkeypatch.setattr(module, "open_engine", open_and_note)

    evaluated(data, *named)

    assert [name.split(":")[0].removesuffix("-quickgelu") for name in opened] == models


def test_labels_may_be_more_than_the_classes(evaluated, pictures) -> None:
    names = ["sky", *(name.replace("_", " ") for name in (*PICTURES, *MISFILED))]

    code, record, out, _ = evaluated(pictures, *TINY, *(f"-l{name}" for name in names))

    assert code == 0
    assert record["labels"] == names
    sky = record["rows"][0]["classes"][0]
    assert (sky["label"], sky["images"], sky["recall"]) == ("sky", 0, None)
    assert "8 images of 7 classes, 8 labels" in out


def test_a_class_that_is_no_label_is_named(evaluated, pictures) -> None:
    code, record, out, err = evaluated(pictures, *TINY, "-l", "cat", "-l", "cup_of_coffee")

    assert (code, record, out) == (2, None, "")
    assert "the data's class 'coins' (and 5 more) is none of the labels: add it with -l" in err


def test_failures_are_told_counted_and_left_out(evaluated, pictures, tmp_path) -> None:
    _, expected, *_ = evaluated(pictures, *TINY)
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    (data / "cat" / "a_broken.png").write_bytes(b"no image")
    (data / "moon" / "z_empty.jpg").touch()

    code, record, _, err = evaluated(data, *TINY)

    assert code == record["exit_code"] == 3
    told, empty, summary = err.splitlines()
    assert told.startswith(f"clipcli: {data / 'cat' / 'a_broken.png'}: not an image")
    assert "z_empty.jpg" in empty
    assert summary.startswith("clipcli: 8 done, 2 failed (not_an_image 1, empty 1)")
    assert [one["index"] for one in record["failures"]] == [0, 6]
    assert record["failures"][1]["error"]["code"] == "empty"
    assert record["images"] == 8
    wrong = {one["index"] for one in record["answers"] if one["answer"] != one["label"]}
    assert set(record["rows"][0]["mistakes"]) == wrong == {2, 4, 5}
    for part in ("top1", "top5", "confusion", "classes", "mean_recall"):
        assert record["rows"][0][part] == expected["rows"][0][part]


def test_an_image_that_fails_with_one_model_counts_with_none(
    evaluated, tmp_path, monkeypatch, decoded
) -> None:
    class HalfBlind(FakeEngine):
        """Its embedding of a white image is not finite."""

        def encode_images(self, pixels: np.ndarray) -> np.ndarray:
            rows = super().encode_images(pixels)
            rows[pixels.mean(axis=(1, 2, 3)) > 0.9] = np.nan
            return rows

    engines = iter([FakeEngine(), HalfBlind()])
    module = import_module("clipcli.cli.running.evaluation")
    monkeypatch.setattr(module, "open_engine", lambda *_, **_options: next(engines))
    data = greys(tmp_path / "data", a=[0, 255], bbbb=[100])
    (data / "a" / "9.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")

    code, record, _, err = evaluated(data, *TINY, "--compare-models", "ViT-B-32")

    assert code == 3
    assert len(decoded) == 4 + 3  # what one model could not read, the next does not try
    assert err.count("\n") == 3
    assert "2 done, 2 failed (damaged 1, not_finite 1)" in err
    assert [one["index"] for one in record["failures"]] == [1, 2]
    assert [sum(one["images"] for one in row["classes"]) for row in record["rows"]] == [2, 2]


def test_without_a_single_image_there_are_no_figures(evaluated, tmp_path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "a.png").write_bytes(b"broken")

    code, record, out, err = evaluated(tmp_path / "data", *TINY, "--min-accuracy", "0.5")

    assert (code, record, out) == (4, None, "")
    assert "0 done, 2 failed" in err


@pytest.mark.parametrize(
    ("least", "broken", "expected"),
    [("0", False, 0), ("0.625", False, 0), ("0.6251", False, 6), ("0", True, 3), ("1", True, 6)],
)
def test_the_exit_code_says_whether_accuracy_is_high_enough(
    evaluated, pictures, tmp_path, least: str, broken: bool, expected: int
) -> None:
    data = tmp_path / "data"
    shutil.copytree(pictures, data)
    if broken:
        (data / "cat" / "broken.png").write_bytes(b"no image")

    code, record, _, err = evaluated(data, *TINY, "--min-accuracy", least)

    assert code == record["exit_code"] == expected
    told = f"clipcli: {data}: top-1 accuracy is 0.6250 (5 of 8), below {least}\n"
    assert (told in err) == (expected == 6)


def test_accuracy_is_that_of_the_first_row(evaluated, tmp_path, fake_engines) -> None:
    # Texts are told apart by their length alone: without the label in front, none are.
    data = greys(tmp_path / "data", a=[26, 28], bbbbbbbbb=[230, 225])
    good, bad = "{}", "long text of nothing {}"

    for first, second, expected in ((good, bad, 0), (bad, good, 6)):
        compared = ("--compare-templates", first, "--compare-templates", second)
        code, record, *_ = evaluated(data, *TINY, *compared, "--min-accuracy", "0.9")
        values = {row["prompts"]: row["top1"]["value"] for row in record["rows"]}
        assert values == {good: 1.0, bad: 0.5}
        assert code == expected


def test_a_threshold_does_in_classify_what_eval_says(evaluated, pictures, capfd) -> None:
    _, record, out, _ = evaluated(pictures, *TINY, "--precision-target", "0.9")
    (found,) = record["rows"][0]["thresholds"]
    assert found["target"] == 0.9
    assert "8 images are too few for suggestions" in out  # the figures are for those who insist
    labels = [word for label in record["labels"] for word in ("-l", label)]

    least = ("--min-probability", str(found["min_probability"]))
    run(["classify", str(pictures), "-r", *labels, *TINY, "--jsonl", *least])

    answers = [json.loads(line)["answer"] for line in capfd.readouterr().out.splitlines()]
    truth = [one["label"] for one in record["answers"]]
    assert sum(answer is not None for answer in answers) == found["answered"] > 0
    assert sum(map(str.__eq__, truth, map(str, answers))) == found["right"]
    assert found["precision"] == found["right"] / found["answered"] >= 0.9


def test_plots_are_drawn_where_asked(evaluated, pictures, tmp_path) -> None:
    code, *_ = evaluated(pictures, *TINY, "--plots", tmp_path / "new" / "figures")

    assert code == 0
    names = sorted(file.name for file in (tmp_path / "new" / "figures").iterdir())
    assert names == sorted(
        f"{name}.{kind}"
        for name in ("confusion", "recall", "reliability")
        for kind in ("png", "svg")
    )


def test_a_folder_that_cannot_be_made_for_plots_is_told(pictures, capfd) -> None:
    code = run(["eval", str(pictures), *TINY, "--plots", "a" * 300])

    assert code == 1
    assert f"cannot write --plots {'a' * 300} (File name too long)" in capfd.readouterr().err


def test_many_classes_are_cut_to_the_worst_unless_all_are_asked_for(
    evaluated, tmp_path, fake_engines
) -> None:
    data = greys(tmp_path / "data", **{f"c{place:02}": [place * 10] for place in range(25)})

    _, _, short, _ = evaluated(data, *TINY)
    _, _, long, _ = evaluated(data, *TINY, "-v")

    classes = [part for part in short.split("\n\n") if part.startswith("class (lowest recall)")]
    assert len(classes[0].splitlines()) == 11
    classes = [part for part in long.split("\n\n") if part.startswith("class ")]
    assert len(classes[0].splitlines()) == 26


def test_an_interval_is_shown_where_it_says_something(evaluated, tmp_path, fake_engines) -> None:
    data = greys(tmp_path / "data", a=[26, 28], bbbbbbbbb=[230, 225])

    _, record, out, _ = evaluated(data, *TINY)

    assert record["rows"][0]["top1"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert "\ntop-1                    1.0000  -\n" in out


def test_where_all_images_fail_the_report_says_why(evaluated, tmp_path, fake_engines) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "broken.png").write_bytes(b"no image")

    code, *_ = evaluated(tmp_path / "data", *TINY, "--report", tmp_path / "report.html")

    assert code == 4
    codes = [image["failure"]["code"] for image in Page(tmp_path / "report.html").images]
    assert codes == ["not_an_image"] * 2


def test_columns_are_aligned_and_hostile_names_tamed(evaluated, tmp_path, fake_engines) -> None:
    file = tmp_path / "labels.csv"
    (tmp_path / "a\x1b[2J.png").write_bytes(grey_png(255))
    (tmp_path / "b.png").write_bytes(grey_png(0))
    file.write_text('"a\x1b[2J.png","日本語"\nb.png,"ding\x07 dong dong"\n', encoding="utf-8")

    _, record, out, _ = evaluated(file, *TINY)

    assert "\x1b" not in out
    assert "\x07" not in out
    assert record["labels"] == ["ding\x07 dong dong", "日本語"]
    (table,) = (part for part in out.split("\n\n") if part.startswith("class"))
    heading, first, second = table.splitlines()
    # Three wide letters take the place of six.
    assert len(heading) == len(first) == len(second) + 3


def test_headings_are_bold_on_a_terminal_only(evaluated, pictures, monkeypatch) -> None:
    assert "\x1b" not in evaluated(pictures, *TINY)[2]
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)
    assert "\x1b[1msuggestions\x1b[0m" in evaluated(pictures, *TINY, "-q")[2]
    assert "\x1b" not in evaluated(pictures, *TINY, "-q", "--no-color")[2]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in evaluated(pictures, *TINY, "-q")[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone"], "cannot read gone (No such file or directory): name a folder of class folders"),
        (["data", "-r"], "No such option"),
        (["data", "--min-accuracy", "nan"], "--min-accuracy and --precision-target are numbers"),
        (["data", "--precision-target", "nan"], "--min-accuracy and --precision-target are"),
        (["data", "--min-accuracy", "90"], "90.0 is not in the range 0<=x<=1"),
        (["data", "--compare-templates", "a photo"], "template 'a photo' has no {}"),
        (["data", "--plots", "labels.csv/figures"], "cannot write --plots labels.csv/figures"),
        (["labels.csv", "--report", "labels.csv"], "--report labels.csv is no name of a page"),
        (["one"], "one label alone always has probability 1"),
        (["data", "--decode-timeout", "3"], "--decode-timeout goes with --isolate"),
    ],
)
def test_what_cannot_work_is_refused_before_a_model_is_loaded(
    evaluated, tmp_path, monkeypatch, fake_engines, arguments, message
) -> None:
    monkeypatch.chdir(tmp_path)
    greys(tmp_path / "data", a=[0], b=[100])
    greys(tmp_path / "one", a=[0])
    (tmp_path / "labels.csv").touch()

    code, record, out, err = evaluated(*arguments)

    assert (code, record, out) == (2, None, "")
    assert message in err
    assert fake_engines == []


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("--json no/x.json", "cannot write --json no/x.json (there is no folder no)"),
        ("--json ./labels.csv", "--json ./labels.csv is the data itself"),
        ("--json r.html --report ./r.html", "--json and --report name the same file"),
    ],
)
def test_figures_without_a_place_of_their_own_are_refused_at_once(
    tmp_path, monkeypatch, capfd, files: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.csv").write_text("a.png,a\nb.png,b\n", encoding="utf-8")

    code = run(["eval", "labels.csv", *TINY, *files.split()])

    assert code == 2
    assert message in capfd.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["labels.csv"]


@pytest.mark.parametrize(
    ("package", "arguments", "needed"),
    [("sklearn", [], "scikit-learn"), ("matplotlib", ["--plots", "figures"], "matplotlib")],
)
def test_a_missing_package_is_told_with_its_extra(
    evaluated, pictures, monkeypatch, package: str, arguments: list[str], needed: str
) -> None:
    for room in ("clipcli.cli.arguments.eval", "clipcli.evaluation.plots"):
        module = import_module(room)
        found = module.find_spec
        monkeypatch.setattr(
            module, "find_spec", lambda name, found=found: None if name == package else found(name)
        )

    code, _, _, err = evaluated(pictures, *TINY, *arguments)

    assert code == 2
    assert f"needs the package {needed}: pip install 'clipcli[eval]'" in err


def test_without_matplotlib_all_but_the_figures_works(evaluated, pictures, monkeypatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    assert evaluated(pictures, *TINY)[0] == 0


def test_the_report_shows_each_image_beside_its_true_label(evaluated, pictures, tmp_path) -> None:
    broken = shutil.copytree(pictures, tmp_path / "pictures")
    (broken / "cat" / "zebra.png").write_bytes(b"no image")

    line = (*TINY, "-t", "a photo of a {}.", "--report", tmp_path / "report.html")
    code, record, _, _ = evaluated(broken, *line)

    page = Page(tmp_path / "report.html")
    labels = record["labels"]
    truths = [labels[image["truth"]] for image in page.images]
    assert code == 3
    assert truths == sorted(truths)  # folder by folder
    assert Counter(truths)["cat"] == 2
    assert len(page.thumbnails) == len(page.images)
    assert [bool(jpeg) for jpeg in page.thumbnails].count(False) == 1
    assert f"data {broken} templates a photo of a {{}}." in page.text
