"""The report: what is in the page, what cannot be, and what is left of a run that fails."""

from __future__ import annotations

import base64
import hashlib
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_pages import Page

from clipcli.errors import FailureCode, UsageError
from clipcli.heads.results import Failure, LabelScore, Prediction, Result
from clipcli.outputs.report import pictures
from clipcli.outputs.report.writer import Report
from clipcli.printable import printable

LABELS = ("cat", "dog", "cup of coffee")
HOSTILE = (
    "<img src=x onerror=alert(1)>.png",
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]>",
    "{{ 7 * 7 }}{% for %}",
    "\"'`&amp;\\u003c",
    "\u2028\u2029\u202egnp.exe",
    "\udcff\x00\x1b[31m",
)


def prediction(index: int, name: str = "cat.jpg", answer: str | None = "cat") -> Prediction:
    scores = LabelScore("cat", 0.75, 0.31), LabelScore("dog", 0.25, 0.2)
    return Prediction(index, name, scores, answer)


def failure(index: int, name: str = "notes.txt", message: str = "not an image") -> Failure:
    return Failure(index, name, FailureCode.NOT_AN_IMAGE, message)


def write(path: Path, *results: Result, labels: tuple[str, ...] = LABELS, **made: Any) -> Page:
    with Report(path, "Pets", labels, made) as report:
        for result in results:
            report.add(result)
        report.finish()
    return Page(path)


def test_a_result_is_on_the_page_with_all_its_scores(tmp_path):
    page = write(tmp_path / "report.html", prediction(4, "a/b.jpg"))
    assert page.data(id="labels") == [["cat", "dog", "cup of coffee"]]
    assert page.images == [
        {"index": 4, "name": "a/b.jpg", "answer": 0, "scores": [[0, 0.75, 0.31], [1, 0.25, 0.2]]}
    ]


def test_an_unknown_answer_a_failure_and_a_true_label_are_on_the_page(tmp_path):
    with Report(tmp_path / "report.html", "Pets", LABELS, {}) as report:
        report.add(prediction(0, answer=None))
        report.add(failure(1), truth="cup of coffee")
        report.finish()
    unknown, failed = Page(tmp_path / "report.html").images
    assert unknown["answer"] is None
    assert failed == {
        "index": 1,
        "name": "notes.txt",
        "truth": 2,
        "failure": {"code": "not_an_image", "message": "not an image"},
    }


def test_thumbnails_stay_with_their_images(tmp_path):
    with Report(tmp_path / "report.html", "Pets", LABELS, {}) as report:
        with ThreadPoolExecutor(4) as threads:
            for index in range(0, 200, 2):
                threads.submit(report.add_thumbnail, index, b"jpeg %d" % index)
        for index in reversed(range(200)):
            report.add(prediction(index))
        report.finish()
    page = Page(tmp_path / "report.html")
    expected = {i: b"" if i % 2 else b"jpeg %d" % i for i in range(200)}
    found = {image["index"]: jpeg for image, jpeg in zip(page.images, page.thumbnails, strict=True)}
    assert found == expected


def test_large_pictures_stay_with_their_images(tmp_path):
    with Report(tmp_path / "report.html", "Pets", LABELS, {}) as report:
        for index in range(6):
            report.add_thumbnail(
                index, b"small %d" % index, b"large %d" % index if index % 2 else b""
            )
        for index in (5, 0, 9, 3):
            report.add(prediction(index))
        report.finish()
    page = Page(tmp_path / "report.html")
    assert page.thumbnails == [b"small 5", b"small 0", b"", b"small 3"]
    assert page.large == {0: b"large 5", 3: b"large 3"}


def test_large_pictures_end_where_the_room_for_them_does(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "LARGE_BYTES", 250)
    with Report(tmp_path / "report.html", "Pets", LABELS, {}) as report:
        wanted = []
        for index in range(5):
            wanted.append(report.wants_large)
            # The last would find room, but nobody wants it any more.
            report.add_thumbnail(index, b"small", bytes(10 if index == 4 else 100))
            report.add(prediction(index))
        report.finish()
    page = Page(tmp_path / "report.html")
    assert wanted == [True, True, True, False, False]
    assert page.thumbnails == [b"small"] * 5
    assert page.large == {0: bytes(100), 1: bytes(100)}


def test_an_image_has_a_link_to_its_file_or_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    names = ("a b.jpg", "missing.jpg", "https://me:geheim@example.org/cat.jpg", "javascript:1")
    (tmp_path / names[0]).write_bytes(b"")
    results = [prediction(place, name) for place, name in enumerate(names)]
    page = write(Path("out/report.html"), *results, failure(4, names[0]))
    assert [image.get("link") for image in page.images] == [
        *("../a%20b.jpg", None, "https://example.org/cat.jpg", None, "../a%20b.jpg")
    ]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_nothing_but_a_name_wherever_it_comes(tmp_path, name):
    harmless = write(tmp_path / "a.html", prediction(0), failure(1), model="tiny", words=["x"])
    labels = (name, "dog")
    scores = (LabelScore(name, 1.0, 0.5),)
    with Report(tmp_path / "b.html", name, labels, {"model": name, "words": [name]}) as report:
        report.add(Prediction(0, name, scores, name))
        report.add(failure(1, name, name))
        report.finish()
    page = Page(tmp_path / "b.html")

    assert [*map(str, page.tags)] == [*map(str, harmless.tags)]
    assert page.data(id="labels") == [[printable(name), "dog"]]
    assert [image["name"] for image in page.images] == [printable(name)] * 2
    assert page.images[1]["failure"]["message"] == printable(name)
    assert " ".join(printable(name).split()) in page.text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.text(st.characters(codec=None), max_size=30), max_size=5))
def test_any_name_comes_back_as_it_is_shown_elsewhere(tmp_path, names):
    results = [prediction(place, name) for place, name in enumerate(names)]
    page = write(tmp_path / "report.html", *results)
    assert [image["name"] for image in page.images] == [*map(printable, names)]


def test_the_page_allows_only_its_own_script_and_style_and_no_connection(tmp_path):
    page = write(tmp_path / "report.html", prediction(0))
    policies = [attributes for _, attributes in page.tags if "http-equiv" in attributes]
    assert [policy["http-equiv"] for policy in policies] == ["Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in str(policies[0]["content"]).split("; "))
    (style,) = (t for (tag, _), t in zip(page.tags, page.texts, strict=True) if tag == "style")
    (script,) = (
        text
        for (tag, attributes), text in zip(page.tags, page.texts, strict=True)
        if tag == "script" and "type" not in attributes
    )

    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'{csp_hash(style)}'",
        "script-src": f"'{csp_hash(script)}'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }


def csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_the_page_names_no_other_file(tmp_path):
    page = write(tmp_path / "report.html", prediction(0))
    links = {
        attributes[name]
        for _, attributes in page.tags
        for name in ("src", "href", "srcset", "action", "data")
        if name in attributes
    }
    assert links == {"data:,", "#gallery"}


def test_the_summary_tells_what_the_run_was_made_with(tmp_path):
    made = {
        "words": ("cat", "dog"),
        "templates": [],
        "model": "ViT-B/32",
        "fast_decode": False,
        "min_probability": None,
        "batch_size": 32,
        "provenance": {"engine": "onnx", "numpy": "2.1"},
    }
    text = write(tmp_path / "report.html", prediction(0), failure(1), **made).text
    for words in (
        *("Images 2", "Failed 1", "Labels 3", "Model ViT-B/32", "words cat, dog"),
        *("templates none", "fast decode no", "min probability none", "batch size 32"),
        "versions engine onnx, numpy 2.1",
    ):
        assert words in text
    for words in ("Unknown", "Accuracy", "The run ended before"):
        assert words not in text


def test_accuracy_counts_what_has_a_score_and_a_true_label(tmp_path):
    with Report(tmp_path / "report.html", "Pets", LABELS, {}) as report:
        for truth in ("cat", "cat", "dog", None):
            report.add(prediction(0), truth)
        report.add(prediction(0, answer=None), "cat")
        report.add(failure(0), "cat")
        report.finish({"Calibration <error>": "0.031"})
    text = Page(tmp_path / "report.html").text
    assert "Accuracy 50.0%" in text
    assert "Unknown 1" in text
    assert "Calibration <error> 0.031" in text


def test_an_empty_run_has_a_page(tmp_path):
    page = write(tmp_path / "report.html")
    assert (page.images, page.thumbnails) == ([], [])
    assert "Images 0" in page.text


def test_a_cut_run_has_what_was_done_and_says_so(tmp_path):
    with Report(tmp_path / "report.html", "Pets", LABELS, {}) as report:
        report.add_thumbnail(1, b"of an image that was never done")
        report.add(prediction(0))
        report.finish(is_cut=True)
    page = Page(tmp_path / "report.html")
    assert len(page.images) == len(page.thumbnails) == 1
    assert "The run ended before its images did." in page.text


def test_a_report_that_is_not_finished_leaves_what_was_there(tmp_path):
    (tmp_path / "report.html").write_text("the last run's", encoding="utf-8")
    with Report(tmp_path / "report.html", "Pets", LABELS, {}) as report:
        report.add(prediction(0))
        with pytest.raises(KeyError, match="mouse"):
            report.add(prediction(1), truth="mouse")
    assert [file.read_text(encoding="utf-8") for file in tmp_path.iterdir()] == ["the last run's"]


def test_a_place_that_cannot_be_written_is_told_before_the_run(tmp_path):
    with pytest.raises(UsageError, match=r"^cannot write --report \S+gone/x\.html \(No such file"):
        Report(tmp_path / "gone" / "x.html", "Pets", LABELS, {})


def test_a_page_that_cannot_take_its_place_leaves_no_part_of_it(tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(UsageError, match=r"^cannot write --report .* \(Is a directory\)$"):
        write(tmp_path / "report.html", prediction(0))
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_memory_is_flat(tmp_path):
    picture = bytes(range(256)) * 40
    tracemalloc.start()
    try:
        with Report(tmp_path / "report.html", "Pets", LABELS, {}) as report:
            for index in range(10_000):
                report.add_thumbnail(index, picture)
                report.add(prediction(index, f"photos/{index:06}.jpg"))
            report.finish()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = (tmp_path / "report.html").stat().st_size
    assert size > 100_000_000
    assert peak < size / 20
