"""What each format makes of the same results."""

from __future__ import annotations

import ast
import base64
import csv
import io
import json
import math
import os
import re

import pytest

from clipcli.errors import FailureCode
from clipcli.heads.results import Failure, LabelScore, Prediction
from clipcli.outputs.writers import FORMATS, OutputOptions, record
from clipcli.printable import printable, shortened, valid_unicode, width

LABELS = ("cat", "dog", "bird", "fish", "ant", "bee")
SHARES = (0.1 + 0.2, 1 / 3, 1e-17, 0.2, 0.1, 0.05)
NAMES = ["plain.png", "a\tb\nc\rd\\e.png", 'q"uo,te.png', "猫.png", os.fsdecode(b"\xff\xfe.png")]


def options(**changes) -> OutputOptions:
    return OutputOptions(LABELS, "tiny", "0123", 128, **changes)


def prediction(name: str = "cat.png", index: int = 0, *, known: bool = True) -> Prediction:
    order = sorted(range(len(LABELS)), key=lambda place: -SHARES[place])
    scores = tuple(LabelScore(LABELS[place], SHARES[place], SHARES[place] / 2) for place in order)
    return Prediction(index, name, scores, scores[0].label if known else None)


def failure(name: str = "gone.png", index: int = 1) -> Failure:
    return Failure(index, name, FailureCode.NOT_FOUND, "no such file")


def written(format_name: str, *results: Prediction | Failure, **changes) -> str:
    stream = io.StringIO(newline="")
    writer = FORMATS[format_name](stream, options(**changes))
    writer.begin()
    for result in results:
        writer.write(result)
    writer.end()
    return stream.getvalue()


def test_tsv_escapes_what_would_break_its_lines():
    text = written("tsv", *map(prediction, NAMES))
    cells = [line.split("\t") for line in text.split("\n")[:-1]]
    assert [row[0] for row in cells] == [NAMES[0], "a\\tb\\nc\\rd\\\\e.png", *NAMES[2:]]
    assert cells[0] == ["plain.png", "dog", "0.333333"]


HOSTILE = "\x1b]0;owned\x07\x9b2J\u202egnp.png\x00\x7f"


def test_tsv_escapes_what_a_terminal_would_obey_and_gives_names_back_by_its_escapes():
    name = HOSTILE + "\\x41 ünï"
    cell = written("tsv", prediction(name)).split("\t")[0]
    assert printable(cell) == cell
    back = re.sub(
        r"\\(\\|[tnr]|x..|u....)",
        lambda match: ast.literal_eval(f"'{match[0]}'"),
        cell,
    )
    assert back == name


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_holds_no_formula_but_raw(start):
    name = f"{start}HYPERLINK(1).png"
    for result in (prediction(name), failure(name)):
        (row, *_) = csv.DictReader(io.StringIO(written("csv", result), newline=""))
        assert row["input"] == f"'{name}"
        (row, *_) = csv.DictReader(io.StringIO(written("csv", result, raw=True), newline=""))
        assert row["input"] == name


def test_csv_tames_labels_and_messages_and_leaves_numbers_alone():
    scores = (LabelScore("=1+1", 0.5, -0.25), LabelScore(HOSTILE, 0.5, -0.5))
    told = Failure(1, "a", FailureCode.NOT_FOUND, "-no\x1b")
    text = written("csv", Prediction(0, "a", scores, "=1+1"), told)
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["label"] for row in rows] == ["'=1+1", printable(HOSTILE), ""]
    assert [row["answer"] for row in rows] == ["'=1+1", "'=1+1", ""]
    assert [row["similarity"] for row in rows] == ["-0.25", "-0.5", ""]
    assert rows[2]["error_message"] == r"'-no\x1b"
    assert "\x1b" not in text


def test_tsv_gives_pairs_for_top_k_and_leaves_failures_out():
    assert written("tsv", failure(), prediction(), top_k=2, verbose=True) == (
        "cat.png\tdog\t0.333333\tcat\t0.300000\n"
    )


def test_tsv_says_unknown_in_place_of_the_best_label():
    assert written("tsv", prediction(known=False), top_k=2).split("\t")[1:4:2] == ["unknown", "cat"]


@pytest.mark.parametrize("name", NAMES)
def test_csv_gives_any_name_back(name):
    text = written("csv", prediction(name), failure(name))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["input"] for row in rows] == [name] * 6  # five labels and the failure
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5", ""]
    assert [float(row["probability"]) for row in rows[:2]] == [1 / 3, 0.1 + 0.2]
    assert rows[5]["error_code"] == "not_found"


@pytest.mark.parametrize("results", [(), (failure(),), (prediction(), failure(), prediction())])
def test_json_is_one_array_of_the_records_of_jsonl(results):
    lines = written("jsonl", *results).splitlines()
    assert json.loads(written("json", *results)) == [json.loads(line) for line in lines]
    assert len(lines) == len(results)


def test_a_json_record_holds_the_documented_fields_and_exact_numbers():
    assert json.loads(written("jsonl", prediction("猫.png"), top_k=2)) == {
        "index": 0,
        "input": "猫.png",
        "status": "ok",
        "answer": "dog",
        "predictions": [
            {"label": "dog", "probability": 1 / 3, "similarity": 1 / 6},
            {"label": "cat", "probability": 0.1 + 0.2, "similarity": (0.1 + 0.2) / 2},
        ],
        "model": {"name": "tiny", "fingerprint": "0123"},
    }
    assert json.loads(written("jsonl", failure())) == {
        "index": 1,
        "input": "gone.png",
        "status": "error",
        "error": {"code": "not_found", "message": "no such file"},
        "model": {"name": "tiny", "fingerprint": "0123"},
    }


def test_json_is_ascii_and_its_unknown_answer_is_null():
    text = written("json", prediction("猫.png", known=False))
    assert text.isascii()
    assert json.loads(text)[0]["answer"] is None


def test_json_refuses_what_json_cannot_hold():
    scores = (LabelScore("cat", math.nan, 0.0),)
    with pytest.raises(ValueError, match="not JSON compliant"):
        written("jsonl", Prediction(0, "x.png", scores, "cat"))


def test_a_name_that_is_not_text_comes_in_base64_and_others_do_not():
    found = record(prediction(NAMES[-1]), options())
    assert found["input"] == "\N{REPLACEMENT CHARACTER}" * 2 + ".png"
    assert base64.b64decode(found["input_b64"]) == b"\xff\xfe.png"
    assert "input_b64" not in record(prediction("猫.png"), options())


@pytest.mark.parametrize(
    ("changes", "count"), [({}, 5), ({"verbose": True}, 6), ({"top_k": 2, "verbose": True}, 2)]
)
def test_five_labels_are_shown_unless_asked_otherwise(changes, count):
    assert len(record(prediction(), options(**changes))["predictions"]) == count
    assert len(written("csv", prediction(), **changes).splitlines()) == 1 + count
    assert written("human", prediction(), **changes).count("\n  ") == count


def test_people_see_bars_in_proportion_and_the_best_match():
    lines = written("human", prediction(), failure(), top_k=2).splitlines()
    assert lines == [
        "cat.png",
        f"  dog  {'█' * 8:24}  0.3333  cosine  0.17",
        f"  cat  {'█' * 7 + '▎':24}  0.3000  cosine  0.15",
        "Best match: 'dog' with probability 0.3333",
    ]


def test_people_see_shapes_and_probabilities_in_the_labels_order_when_asked():
    assert written("human", prediction(), verbose=True).splitlines()[-3:] == [
        "Image features shape: (1, 128)",
        "Text features shape: (6, 128)",
        "Similarity probabilities: [[0.3 0.3333 1e-17 0.2 0.1 0.05]]",
    ]


def test_people_are_told_when_the_answer_is_unknown():
    last = written("human", prediction(known=False)).splitlines()[-1]
    assert last == "Best match: unknown ('dog' has only probability 0.3333, cosine 0.17)"


def test_colours_come_only_when_asked():
    assert "\x1b" not in written("human", prediction())
    coloured = written("human", prediction(), color=True)
    assert coloured.startswith("\x1b[1mcat.png\x1b[0m\n")
    assert "\x1b[36m█" in coloured


def test_blocks_of_several_images_are_set_apart():
    assert written("human", prediction("a"), failure(), prediction("b")).count("\n\n") == 1


def test_bars_line_up_beside_labels_of_any_script():
    labels = ("cat", "寿司", "🍣 sushi", "cafe\N{COMBINING ACUTE ACCENT}", "猫" * 60)
    scores = tuple(LabelScore(label, 0.2, 0.1) for label in labels)
    text = written("human", Prediction(0, "x.png", scores, "cat"))
    starts = {width(line.partition("█")[0]) for line in text.splitlines()[1:-1]}
    assert starts == {2 + 47 + 2}  # the longest is cut to 23 wide characters and an ellipsis


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("cat", 3),
        ("", 0),
        ("寿司", 4),
        ("\N{FULLWIDTH LATIN CAPITAL LETTER A}", 2),
        ("e\u0301", 1),
        ("🍣", 2),
        ("a\u200db", 2),
    ],
)
def test_width_counts_the_columns_of_a_terminal(text, columns):
    assert width(text) == columns


@pytest.mark.parametrize(
    ("text", "short"),
    [("abcdef", "abcdef"), ("abcdefg", "abcde…"), ("寿司寿司", "寿司…"), ("abc寿司", "abc寿…")],
)
def test_what_is_too_wide_ends_with_an_ellipsis(text, short):
    assert shortened(text, 6) == short


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\tb\r\nc", "a\\tb\\r\\nc"),
        ("\x7f\x9b31m", "\\x7f\\x9b31m"),
        ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),
        ("\udcff", "\N{REPLACEMENT CHARACTER}"),
        ("naïve 猫 🍣\u200d", "naïve 猫 🍣\u200d"),
    ],
)
def test_printable_text_cannot_drive_a_terminal(text, safe):
    assert printable(text) == safe


def test_half_a_surrogate_pair_is_shown_as_a_character_that_is_none():
    assert valid_unicode("a\ud800b") == "a\N{REPLACEMENT CHARACTER}b"
