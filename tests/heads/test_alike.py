"""Labels that are one text to the model."""

from __future__ import annotations

import unicodedata
import warnings

import numpy as np
import pytest
from fake_engine import FakeEngine

from clipcli.engines.base import EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.errors import ClipcliWarning
from clipcli.heads.labels import LabelSet
from clipcli.heads.text_cache import TextCache
from clipcli.heads.zero_shot import build_head
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest


@pytest.fixture(scope="module")
def tiny():
    return load_engine(resolve_model(ModelRequest("tiny")), EngineOptions("cpu", engine="onnx"))


LONG = "a very long story of " * 30


@pytest.mark.parametrize(
    "names",
    [
        ("Cat", "cat"),
        ("a  cat", "a cat", "A CAT"),
        (unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")),
        (LONG + "cats", LONG + "dogs"),
        ("Tom &amp; Jerry", "Tom & Jerry"),
    ],
    ids=["case", "blanks", "composed", "cut", "escaped"],
)
def test_labels_of_the_same_tokens_are_named_and_tie(tiny, names):
    with pytest.warns(ClipcliWarning) as told:
        head = build_head(tiny, LabelSet((names[0], "a rocket", *names[1:])))
    assert head.alike == (names,)
    assert head.same_as(names[-1]) == names
    assert head.same_as("a rocket") == ("a rocket",)
    assert (head.embeddings[2:] == head.embeddings[0]).all()
    text = next(str(one.message) for one in told if "same text" in str(one.message))
    assert repr(names[1])[:30] in text


def test_each_group_has_its_own_labels_and_one_line_tells_of_all(tiny):
    with pytest.warns(ClipcliWarning, match="'Cat' and 'cat' .and 1 more such group") as told:
        head = build_head(tiny, LabelSet(("Cat", "Dog", "rocket", "cat", "dog")))
    assert head.alike == (("Cat", "cat"), ("Dog", "dog"))
    assert len(told) == 1


def test_labels_from_the_cache_are_told_of_in_each_run(tiny, tmp_path):
    cache = TextCache(tmp_path / "texts.sqlite3")
    for _ in range(2):
        with pytest.warns(ClipcliWarning, match="same text"):
            build_head(tiny, LabelSet(("Cat", "cat")), cache)


def test_labels_that_only_seem_alike_are_not_joined(tiny):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        head = build_head(tiny, LabelSet(("cat", "cats", "a cat", "cat.", "two cats")))
    assert head.alike == ()


def test_close_embeddings_of_other_tokens_are_no_equal_labels():
    engine = FakeEngine()  # it knows a text by its length alone
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert build_head(engine, LabelSet(("cat", "dog"))).alike == ()


def test_many_labels_take_no_time_in_their_number_squared(monkeypatch):
    from clipcli.heads import alike

    rows = np.random.default_rng(0).standard_normal((30_000, 64)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[29_999] = rows[7]
    assert alike._close_rows(rows) == [7, 29_999]


def test_under_sigmoid_nothing_is_shared_and_nothing_told():
    engine = FakeEngine("sigmoid")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_head(engine, LabelSet(("cat", "dog")))
