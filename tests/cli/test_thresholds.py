"""When the answer is `unknown`, and how sure answers are: --min-similarity and --temperature."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command import PHOTOS

LINE = (PHOTOS / "chelsea.png", "-l", "a photo of a cat", "-l", "a photo of a dog", "-m", "tiny")


def record(clipcli, *options, code=0):
    result = clipcli(*LINE, "--json", *options)
    assert result.returncode == code, result.stderr
    return json.loads(result.stdout)[0]


def test_below_min_similarity_the_answer_is_unknown_and_at_it_it_is_not(clipcli):
    best = record(clipcli)["predictions"][0]
    just_above = str(np.nextafter(best["similarity"], 1))
    assert record(clipcli, "--min-similarity", str(best["similarity"]))["answer"] == best["label"]
    unknown = record(clipcli, "--min-similarity", just_above, "--expect", "unknown")
    assert unknown["answer"] is None
    assert unknown["predictions"][0] == best  # what is shown stays what it is
    record(clipcli, "--min-similarity", just_above, "--expect", best["label"], code=6)


def test_a_temperature_divides_the_logits(clipcli):
    def odds(*options):
        first, second = record(clipcli, *options)["predictions"]
        return np.log(first["probability"] / second["probability"])

    assert odds("--temperature", "2") == pytest.approx(odds() / 2, rel=1e-9)
    assert odds("--temperature", "0.25") == pytest.approx(odds() * 4, rel=1e-9)
    assert odds("--temperature", "1") == odds()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--min-similarity", "nan"), "--min-similarity is a number from -1 to 1"),
        (("--min-similarity", "1.1"), "1.1 is not in the range"),
        (("--temperature", "0"), "0.0 is not in the range"),
        (("--temperature", "nan"), "--temperature is a number above 0"),
        (("--temperature", "inf"), "--temperature is a number above 0"),
        (("--expect", "unknown"), "needs --min-probability, --min-similarity or --novelty"),
        (("-l", "unknown", "--min-similarity", "-1"), "a label 'unknown' cannot be told from"),
    ],
)
def test_what_is_no_threshold_is_refused(clipcli, options, message):
    result = clipcli(*LINE, *options)
    assert (result.returncode, result.stdout) == (2, b"")
    assert message in result.stderr.decode()


def test_where_no_label_fits_well_people_and_programs_are_told(clipcli):
    """Of a cup of coffee among cat and dog one is the best, and neither fits."""
    line = (PHOTOS / "coffee.png", *LINE[1:])
    shown = clipcli(*line, "--format", "human").stdout.decode()
    assert "No label fits well: a cosine of" in shown.splitlines()[-1]
    told = json.loads(clipcli(*line, "--jsonl").stdout)
    assert told["doubt"] is True
    assert told["answer"] is not None
    assert clipcli(*line).stdout.decode().split("\t")[1] == told["answer"]


@pytest.mark.parametrize("options", [("--min-similarity", "-0.9"), ("--min-probability", "0.9999")])
def test_who_has_said_what_is_wanted_is_spared_the_remark(clipcli, options):
    line = (PHOTOS / "coffee.png", *LINE[1:], *options)
    assert "doubt" not in json.loads(clipcli(*line, "--jsonl").stdout)
    assert "No label fits well" not in clipcli(*line, "--format", "human").stdout.decode()


def test_a_label_that_fits_leaves_no_doubt(clipcli):
    assert "doubt" not in record(clipcli)
