"""Cosines of pictures and strange words, and what they say of a best label."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from fake_engine import FakeEngine

from clipcli.engines.base import EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.engines.unrelated import doubt_below, unrelated_cosines
from clipcli.heads.labels import LabelSet
from clipcli.heads.results import ScoreOptions
from clipcli.heads.zero_shot import build_head
from clipcli.images.sources import ImageRef
from clipcli.models.manifests import Manifest
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest

LABELS = LabelSet(("1", "12345", "123456789"))
REF = ImageRef(0, "a.png", b"")


@pytest.fixture(scope="module")
def tiny():
    return load_engine(resolve_model(ModelRequest("tiny")), EngineOptions("cpu", engine="onnx"))


def test_the_quantiles_rise_and_are_what_the_bundle_holds(tiny):
    found = unrelated_cosines(tiny)
    assert list(found.values()) == sorted(found.values())
    assert doubt_below(found) == pytest.approx(tiny.info.doubt_below, abs=1e-5)


def test_a_bundle_of_an_earlier_version_raises_no_doubts():
    assert doubt_below({}) is None
    head = build_head(FakeEngine(), LABELS)
    (result,) = head.score([REF], -head.embeddings[:1], ScoreOptions())
    assert not result.doubt


@pytest.mark.parametrize(
    ("cosine", "options", "doubt"),
    [
        (0.29, ScoreOptions(), True),
        (0.31, ScoreOptions(), False),
        (0.29, ScoreOptions(min_similarity=0.2), False),
        (0.29, ScoreOptions(min_probability=1.0), False),
    ],
)
def test_doubt_is_below_the_measured_cosine_and_only_where_nobody_asked(cosine, options, doubt):
    rows = np.array([[1, 0], [0, 1]], np.float32)
    head = dataclasses.replace(
        build_head(FakeEngine(), LabelSet(("1", "123456789"))), embeddings=rows, doubt_below=0.3
    )
    image = np.array([[cosine, -np.sqrt(1 - cosine**2)]], np.float32)
    (result,) = head.score([REF], image, options)
    assert result.doubt is doubt


@pytest.mark.parametrize("value", [[], "x", {"0.98": "x"}, {"0.98": float("nan")}, None])
def test_a_manifest_with_other_cosines_is_refused(value):
    bundle = resolve_model(ModelRequest("tiny")).folder
    fields = Manifest.from_json((bundle / "manifest.json").read_text())
    with pytest.raises(ValueError, match="unrelated_cosines"):
        Manifest.from_json(dataclasses.replace(fields, unrelated_cosines=value).to_json())
