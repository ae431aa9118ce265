"""Counts of results, whether they come from this run or from an earlier one's file."""

from __future__ import annotations

import pytest

from clipcli.errors import FailureCode
from clipcli.heads.results import Failure, LabelScore, Prediction, Result
from clipcli.outputs.writers import OutputOptions, record
from clipcli.runs.tally import Ending, Tally, summary

OPTIONS = OutputOptions(("cat", "dog"), "tiny", "0123", 128)


def prediction(answer: str | None) -> Prediction:
    return Prediction(0, "a.png", (LabelScore("cat", 0.5, 0.2),), answer)


def failure(code: FailureCode) -> Failure:
    return Failure(0, "a.png", code, "why")


RESULTS: list[Result] = [
    prediction("cat"),
    prediction("dog"),
    prediction(None),
    failure(FailureCode.NOT_FOUND),
    failure(FailureCode.URL_TIMEOUT),
    failure(FailureCode.NOT_FOUND),
]


@pytest.mark.parametrize(
    ("expected", "unexpected"), [(None, 0), ("cat", 2), ("unknown", 2), ("bird", 3)]
)
def test_records_of_a_file_count_like_the_results_they_were(expected, unexpected):
    fresh, read = Tally(expected), Tally(expected)
    for result in RESULTS:
        fresh.add(result)
        read.add_record(record(result, OPTIONS))
    assert fresh == read
    assert (fresh.done, fresh.unexpected, fresh.total) == (3, unexpected, 6)
    assert fresh.failed == {"not_found": 2, "url_timeout": 1}


def test_a_copy_stays_as_it_is():
    tally = Tally("cat")
    before = tally.copy()
    tally.add(RESULTS[0])
    tally.add(RESULTS[3])
    assert before == Tally("cat") != tally


def test_the_summary_speaks_for_the_file_and_its_rate_for_this_run():
    tally = Tally("cat")
    for result in RESULTS:
        tally.add(result)
    settings = {"model": "tiny", "provenance": {"clipcli": "1"}}
    assert summary(tally, Ending(2.0, 6, kept=2, interrupted=True), settings) == {
        "done": 3,
        "failed": {"not_found": 2, "url_timeout": 1},
        "unexpected": 2,
        "kept_from_before": 2,
        "seconds": 2.0,
        "images_per_second": 2.0,
        "exit_code": 6,
        "interrupted": True,
        "settings": settings,
    }


def test_a_run_without_any_time_has_no_rate():
    assert summary(Tally(), Ending(0.0, 4), {})["images_per_second"] == 0.0
