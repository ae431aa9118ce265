"""Embeddings, lazy classification and how a prediction shows itself, in Python."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command import PHOTOS

from clipcli import Classifier, Failure, InputError, Prediction, UsageError
from clipcli.heads.results import LabelScore

FILES = [PHOTOS / name for name in ("chelsea.png", "coffee.png", "rocket.jpg")]
TEXTS = ["a cat", "a cup of coffee", "a rocket"]


@pytest.fixture(scope="module")
def tiny():
    return Classifier("tiny", threads=1)


def test_images_and_texts_have_unit_rows_whose_products_are_the_similarities(tiny):
    images, texts = tiny.encode_images(FILES), tiny.encode_texts(TEXTS)
    assert images.dtype == texts.dtype == np.float32
    assert images.shape == texts.shape == (3, tiny.info.embed_dim)
    assert np.linalg.norm(images, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    cosines = images.astype(np.float64) @ texts.T.astype(np.float64)
    assert tiny.similarity(FILES, TEXTS) == pytest.approx(cosines, abs=1e-6)
    assert (tiny.similarity(images, texts) == tiny.similarity(FILES, texts)).all()
    assert tiny.similarity(images, texts).argmax(axis=1).tolist() == [0, 1, 2]
    shown = tiny.classify(FILES, TEXTS)
    best = [result.best.similarity for result in shown]
    assert best == pytest.approx(cosines.max(axis=1), abs=1e-6)


def test_one_text_several_templates_and_repeated_texts(tiny):
    (row,) = tiny.encode_texts("a cat")
    twice = tiny.encode_texts(["a cat", "a dog", "a cat"])
    assert (twice[0] == twice[2]).all()
    assert twice[0] == pytest.approx(row, abs=1e-5)
    mean = tiny.encode_texts(["a cat", "one cat"]).mean(axis=0)
    (found,) = tiny.encode_texts("cat", templates=["a {}", "one {}"])
    assert found == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    assert tiny.encode_texts([]).shape == (0, tiny.info.embed_dim)
    assert tiny.encode_images([]).shape == (0, tiny.info.embed_dim)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c: c.encode_images(["missing.png"]), InputError, "missing.png: no such file"),
        (lambda c: c.encode_images([3]), UsageError, "give a path"),
        (lambda c: c.encode_texts([3]), UsageError, "of type int: give a text"),
        (lambda c: c.encode_texts([""]), UsageError, "empty"),
        (lambda c: c.encode_texts("a", templates="a photo"), UsageError, "has no {}"),
        (lambda c: c.similarity(np.eye(3), "a"), UsageError, "embeddings of width 3"),
        (lambda c: c.iter_classify([], []), UsageError, "no labels"),
        (lambda c: Classifier("tiny", threads=0), UsageError, "threads"),
    ],
)
def test_what_cannot_be_is_told_at_once(tiny, call, error, message):
    with pytest.raises(error, match=message):
        call(tiny)


def test_images_are_taken_as_they_are_needed(tiny):
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield FILES[taken % 3]

    results = tiny.iter_classify(endless(), TEXTS)
    assert taken == 0
    first = [next(results) for _ in range(40)]
    assert [result.name for result in first[:3]] == [str(FILES[place]) for place in (1, 2, 0)]
    assert taken <= 40 + 4 * 32
    results.close()


def test_lazily_and_at_once_results_are_the_same(tiny):
    given = [*FILES, "missing.png"]
    assert [*tiny.iter_classify(given, TEXTS)] == tiny.classify(given, TEXTS)


def test_a_prediction_is_a_record_a_line_and_a_table_with_bars(tiny):
    prediction, failure = tiny.classify([FILES[0], "missing.png"], ["a cat", "<b>&"])
    assert isinstance(prediction, Prediction)
    assert isinstance(failure, Failure)
    record = json.loads(json.dumps(prediction.to_dict()))
    assert [*record] == ["index", "input", "status", "answer", "predictions"]
    assert record["predictions"][0] == vars(prediction.best)
    assert len(prediction.to_dict(top_k=1)["predictions"]) == 1
    assert failure.to_dict()["error"] == {"code": "not_found", "message": "no such file"}
    assert (
        repr(prediction)
        == f"Prediction({str(FILES[0])!r}: 'a cat', {prediction.best.probability:.4f})"
    )
    page = prediction._repr_html_()
    assert "&lt;b&gt;&amp;" in page
    assert "<b>&" not in page
    assert page.count("width:") >= 2


def test_a_table_shows_five_labels_and_counts_the_rest():
    scores = tuple(LabelScore(str(place), 0.1, 0.2) for place in range(12))
    page = Prediction(0, "a.png", scores, None)._repr_html_()
    assert page.count("<tr>") == 5
    assert "and 7 more" in page
    assert "unknown" in page
