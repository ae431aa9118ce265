"""Several labels may fit: each is judged by its own threshold."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command import PHOTOS

from clipcli.cli.main import run
from clipcli.errors import UsageError
from clipcli.evaluation.label_thresholds import learned_thresholds
from clipcli.heads.results import ScoreOptions
from clipcli.heads.thresholds import read_thresholds, thresholds_of
from clipcli.heads.zero_shot import ZeroShotHead, sigmoid
from clipcli.images.dataset import Dataset
from clipcli.images.sources import ImageRef

HEAD = ZeroShotHead(("x", "y", "z"), np.eye(3, dtype=np.float32), 10.0, 0.0, "softmax")
ROW = np.array([[0.6, 0.0, 0.8]], np.float32)
REFS = [ImageRef(0, "a.png", b"")]


@pytest.mark.parametrize(
    ("thresholds", "answers"),
    [
        ([0.5, 0.5, 0.5], ("z", "x")),
        ([0.1, 0.5, 0.7], ("x", "z")),
        ([0.7, -0.1, 0.9], ("y",)),
        ([0.0, 0.0, 0.0], ("z", "x", "y")),
        ([0.9, 0.9, 0.9], ()),
    ],
)
def test_all_labels_above_their_thresholds_fit_the_surest_first(thresholds, answers):
    limits = np.array(thresholds)
    (result,) = HEAD.multi_label(limits).score(REFS, ROW, ScoreOptions())
    assert result.answers == answers
    assert result.answer == (answers[0] if answers else None)
    cosines = {"x": 0.6, "y": 0.0, "z": 0.8}
    for score in result.scores:
        margin = cosines[score.label] - limits[HEAD.labels.index(score.label)]
        assert score.probability == pytest.approx(sigmoid(np.array([10 * margin]))[0], abs=1e-6)
    shares = [score.probability for score in result.scores]
    assert shares == sorted(shares, reverse=True)


def test_what_is_shown_does_not_bound_what_fits():
    (result,) = HEAD.multi_label(np.zeros(3)).score(REFS, ROW, ScoreOptions(top_k=1))
    assert (len(result.scores), result.answers) == (1, ("z", "x", "y"))
    assert result.to_dict()["answers"] == ["z", "x", "y"]


@pytest.mark.parametrize(
    "content", ["", "[]", "3", '{"a": "x"}', '{"a": true}', '{"a": 1.5}', '{"a": NaN}', "[" * 9999]
)
def test_a_file_of_anything_else_is_refused(tmp_path, content):
    file = tmp_path / "thresholds.json"
    file.write_text(content)
    with pytest.raises(UsageError, match="--thresholds"):
        read_thresholds(file)


def test_each_label_has_a_threshold_or_the_usual_one(tmp_path):
    file = tmp_path / "thresholds.json"
    file.write_text('{"a": 0.25, "other": 1}')
    known = read_thresholds(file)
    assert thresholds_of(["a", "b"], known, 0.5) == [0.25, 0.5]
    with pytest.raises(UsageError, match="no threshold for 'b'"):
        thresholds_of(["a", "b"], known, None)
    with pytest.raises(UsageError, match="cannot read"):
        read_thresholds(tmp_path / "missing.json")


def test_learned_thresholds_have_the_highest_f1():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((60, 3)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    has = rows + 0.3 * rng.standard_normal(rows.shape) > 0.2
    pairs = [(place, label) for place, label in np.argwhere(has).tolist() if label < 2]
    refs = tuple(ImageRef(number, str(place), b"") for number, (place, _) in enumerate(pairs))
    data = Dataset(refs, tuple(HEAD.labels[label] for _, label in pairs))
    places = [place for place, _ in pairs]
    found = learned_thresholds(HEAD, rows[places], data)
    assert [*found] == ["x", "y"]
    images = sorted(set(places))

    def f1(label, threshold):
        fits = rows[images, label].astype(np.float64) >= threshold
        true = has[images, label]
        return 2 * (fits & true).sum() / (fits.sum() + true.sum())

    for label in (0, 1):
        best = max(f1(label, value) for value in rows[images, label].astype(np.float64))
        assert f1(label, found[HEAD.labels[label]]) == pytest.approx(best)


LINE = [str(PHOTOS / "coffee.png"), "-l", "cup of coffee", "-l", "drink", "-l", "cat", "-m", "tiny"]


@pytest.mark.parametrize(
    ("words", "shown", "code"),
    [
        (["--min-similarity", "0.2"], ["cup of coffee", "drink"], 0),
        (["--min-similarity", "0.99"], ["unknown"], 0),
        (["--min-similarity", "0.2", "--expect", "drink"], ["cup of coffee", "drink"], 0),
        (["--min-similarity", "0.2", "--expect", "cat"], ["cup of coffee", "drink"], 6),
        (["--min-similarity", "0.99", "--expect", "unknown"], ["unknown"], 0),
    ],
)
def test_the_command_shows_all_that_fit(capsys, words, shown, code):
    assert run([*LINE, "--multi-label", *words, "--tsv"]) == code
    cells = capsys.readouterr().out.rstrip("\n").split("\t")
    assert cells[1::2] == shown
    assert run([*LINE, "--multi-label", *words, "--jsonl"]) == code
    answers = json.loads(capsys.readouterr().out)["answers"]
    assert answers == [label for label in shown if label != "unknown"]


def test_one_label_alone_may_be_asked_for_and_thresholds_need_the_option(capsys, tmp_path):
    one = [LINE[0], "-l", "cat", "-m", "tiny"]
    assert run([*one, "--multi-label", "--min-similarity", "0.3"]) == 0
    assert "unknown" in capsys.readouterr().out
    assert run([*one, "--thresholds", str(tmp_path / "x.json")]) == 2
    assert "--thresholds goes with --multi-label" in capsys.readouterr().err


def test_eval_learns_what_classify_reads(capsys, tmp_path):
    pytest.importorskip("sklearn")
    table, file = tmp_path / "data.csv", tmp_path / "thresholds.json"
    pairs = [("chelsea.png", "cat"), ("coffee.png", "cup"), ("coffee.png", "drink")]
    pairs.append(("rocket.jpg", "rocket"))
    table.write_text("".join(f"{PHOTOS / name},{label}\n" for name, label in pairs))
    assert run(["eval", str(table), "-m", "tiny", "--learn-thresholds", str(file)]) == 0
    capsys.readouterr()
    assert {*json.loads(file.read_text())} == {"cat", "cup", "drink", "rocket"}
    asked = ["-l", "cat", "-l", "cup", "-l", "drink", "-l", "rocket", "--multi-label", "--jsonl"]
    photo = str(PHOTOS / "coffee.png")
    assert run([photo, *asked, "--thresholds", str(file), "-m", "tiny"]) == 0
    assert {*json.loads(capsys.readouterr().out)["answers"]} == {"cup", "drink"}
