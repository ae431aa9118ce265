"""What adapters gain, what the gate refuses, and how well novelty is told.

    python benchmarks/adapt.py [--model tiny] [--seeds 10] [--pictures 40]

Pictures are scikit-learn's digits, scaled up. Of each class as many as are named are read; what an
adapter is not made of, it is measured on. Far pictures are crops of photos. Beside the probe stand
the same one begun at random directions in place of the labels' texts, and scikit-learn's logistic
regression on the same embeddings, which begins at nothing.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from clipcli.adaptation.adapt import Adaptation, adapt
from clipcli.adaptation.folds import alike_groups, stratified_folds
from clipcli.adaptation.material import Material
from clipcli.adaptation.options import AdaptOptions
from clipcli.adaptation.probe import Scale
from clipcli.arrays import Float32, Float64, Int64
from clipcli.assets import preset
from clipcli.engines.base import Engine, EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.evaluation.encoding import encode_images
from clipcli.heads.densities import Density
from clipcli.heads.labels import LabelSet
from clipcli.heads.novelty import DENSITIES, density
from clipcli.heads.zero_shot import build_head
from clipcli.images.sources import ImageRef
from clipcli.models.names import BUNDLED_MODEL, resolve_model
from clipcli.models.specs import ModelRequest
from clipcli.runs.options import PipelineOptions

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHOTS = (1, 2, 4, 8, 16)
PHOTOS = Path(__file__).parents[1] / "examples" / "photos"
SIDE = 240


def embed(engine: Engine, pictures: list[Image.Image]) -> Float32:
    """Unit rows, shape (n, d)."""
    refs = [ImageRef(place, str(place), _png(one)) for place, one in enumerate(pictures)]
    encoded = encode_images(refs, engine, PipelineOptions(whole_blocks=True))
    assert not encoded.failures
    return encoded.embeddings


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def digits(engine: Engine, count: int) -> tuple[Material, Float32]:
    """Digits with their labels, so many of each, and crops of photos."""
    found = load_digits()
    places = np.concatenate([np.flatnonzero(found.target == one)[:count] for one in range(10)])
    pictures = [
        Image.fromarray((found.images[place] * (255 / 16)).astype(np.uint8)).resize((SIDE, SIDE))
        for place in places
    ]
    labels = LabelSet(NAMES)
    head = build_head(engine, labels)
    scale = Scale(head.logit_scale, float(head.logit_bias), head.activation)
    truth = np.repeat(np.arange(10), count)
    rows = embed(engine, pictures)
    material = Material(labels, head.embeddings, scale, [], [None] * len(truth), truth, rows, None)
    return material, embed(engine, list(_crops()))


def _crops() -> Iterator[Image.Image]:
    random = np.random.default_rng(0)
    for file in sorted(PHOTOS.iterdir()):
        with Image.open(file) as photo:
            image = photo.convert("RGB")
        for _ in range(20):
            left, top = (int(random.integers(0, size - SIDE // 2)) for size in image.size)
            yield image.crop((left, top, left + SIDE // 2, top + SIDE // 2))


def drawn(material: Material, shots: int, seed: int) -> tuple[Material, Int64]:
    """So many pictures of each class with their folds, and the places of all others."""
    random = np.random.default_rng(seed)
    classes = np.unique(material.truth)
    chosen = np.concatenate(
        [random.permutation(np.flatnonzero(material.truth == one))[:shots] for one in classes]
    )
    rest = np.setdiff1d(np.arange(len(material.truth)), chosen)
    pictures, truth = material.pictures[chosen], material.truth[chosen]
    folds = stratified_folds(truth, alike_groups(pictures, truth), seed)
    made = replace(
        material, pictures=pictures, truth=truth, folds=folds, sha256=[None] * len(truth)
    )
    return made, rest


def accuracy(material: Material, rows: Int64, weights: Float32) -> float:
    """Of some of the pictures."""
    logits = material.scale.logits(material.pictures[rows], weights)
    return float((logits.argmax(axis=1) == material.truth[rows]).mean())


def gains(material: Material, seeds: int) -> None:
    """Accuracy on pictures that were not learned from, and what the gate says."""
    print("digits: accuracy on other pictures, mean of the seeds (standard deviation)")
    print("shots  zero-shot  probe          random start   logistic       accepted")
    for shots in SHOTS:
        rows = [_gain(material, shots, seed) for seed in range(seeds)]
        zero, *others, accepted = np.array(rows, dtype=float).T
        told = "  ".join(f"{one.mean():.3f} ({one.std():.3f})" for one in others)
        checked = f"{int(accepted.sum())} of {seeds}" if shots > 1 else "not checked"
        print(f"{shots:>5}  {zero.mean():>9.3f}  {told}  {checked}", flush=True)


def _gain(material: Material, shots: int, seed: int) -> tuple[float, float, float, float, bool]:
    made, rest = drawn(material, shots, seed)
    adaptation = adapt(made, AdaptOptions())
    scale = material.scale.logit_scale
    logistic = LogisticRegression(max_iter=2000)
    # At the model's own scale: of rows of length 1, the penalty would leave little.
    logistic.fit(made.pictures * scale, made.truth)
    hits = logistic.predict(material.pictures[rest] * scale) == material.truth[rest]
    return (
        accuracy(material, rest, material.texts),
        accuracy(material, rest, adaptation.fitted.tensors["weights"]),
        accuracy(material, rest, _from_random(made, seed)),
        float(hits.mean()),
        adaptation.is_accepted,
    )


def _from_random(made: Material, seed: int) -> Float32:
    """A probe that is begun at random directions, and held near them."""
    texts = np.random.default_rng(seed).normal(size=made.texts.shape)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    begun = replace(made, texts=texts.astype(np.float32))
    return adapt(begun, AdaptOptions()).fitted.tensors["weights"]


def already_right(engine: Engine, seeds: int) -> None:
    """Embeddings drawn around the labels' own: there is nothing to learn."""
    head = build_head(engine, LabelSet(tuple(preset("labels", "cifar10"))))
    scale = Scale(head.logit_scale, float(head.logit_bias), head.activation)
    print("already right: drawn around the labels' own embeddings, 40 runs")
    print("shots  zero-shot  ungated: worst  gated: worst  refused")
    for shots in (4, 8, 16):
        runs = [_right(head.embeddings, scale, shots, seed) for seed in range(4 * seeds)]
        zero, gap, refused = np.array(runs, dtype=float).T
        worst, gated = gap.min(), np.where(refused, 0, gap).min()
        share = f"{int(refused.sum())} of {len(runs)}"
        print(
            f"{shots:>5}  {zero.mean():>9.3f}  {worst:>+14.3f}  {gated:>+12.3f}  {share}",
            flush=True,
        )


def _right(texts: Float32, scale: Scale, shots: int, seed: int) -> tuple[float, float, bool]:
    random = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(texts)), shots + 200)
    # So far that about eight of ten are nearest to their own.
    noise = random.normal(size=(len(truth), texts.shape[1])) * _noise(texts)
    rows = texts[truth] + noise
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    labels = LabelSet(tuple(map(str, range(len(texts)))))
    material = Material(labels, texts, scale, [], [None] * len(truth), truth, rows, None)
    made, rest = drawn(material, shots, seed)
    adaptation = adapt(made, AdaptOptions())
    before = accuracy(material, rest, texts)
    after = accuracy(material, rest, adaptation.fitted.tensors["weights"])
    return before, after - before, not adaptation.is_accepted


def _noise(texts: Float32) -> float:
    """The noise at which about .80 of pictures around texts are nearest to their own."""
    random = np.random.default_rng(0)
    noise = random.normal(size=(2000, texts.shape[1]))
    truth = np.arange(2000) % len(texts)

    def share(size: float) -> float:
        hits = ((texts[truth] + size * noise) @ texts.T).argmax(axis=1) == truth
        return float(hits.mean())

    sizes = np.linspace(0.01, 1.0, 100)
    return float(min(sizes, key=lambda size: abs(share(size) - 0.8)))


def novelty(material: Material, far: Float32, seeds: int) -> None:
    """How well pictures of no class are told from those of a class."""
    print("novelty: AUROC, mean of the seeds; near: the five other digits, far: crops of photos")
    print("shots        near    far     way")
    known = material.truth < 5
    near = material.pictures[~known]
    few = replace(
        material,
        texts=material.texts[:5],
        labels=LabelSet(NAMES[:5]),
        truth=material.truth[known],
        pictures=material.pictures[known],
    )
    for shots in (4, 16):
        made = [drawn(few, shots, seed) for seed in range(seeds)]
        for way, scorer in _ways():
            areas = np.array([_areas(few, one, rest, scorer, (near, far)) for one, rest in made])
            told = "  ".join(f"{area:.3f}" for area in areas.mean(axis=0))
            print(f"{shots:>5}        {told}   {way}", flush=True)


Scorer = Callable[[Material, Float32], Float64]


def _ways() -> Iterator[tuple[str, Scorer]]:
    for name in DENSITIES:
        yield name, partial(_usual, density(name))
    yield "largest cosine", lambda one, rows: (rows @ one.texts.T).max(axis=1)
    yield "largest probability, zero-shot", lambda one, rows: _surest(one, rows, one.texts)
    yield "largest probability, adapted", lambda one, rows: _surest(one, rows, _weights(one))


def _usual(kind: type[Density], one: Material, rows: Float32) -> Float64:
    return kind(one.pictures, one.truth).score(rows)


def _surest(one: Material, rows: Float32, weights: Float32) -> Float64:
    shares: Float64 = one.scale.probabilities(one.scale.logits(rows, weights)).max(axis=1)
    return shares


def _weights(one: Material) -> Float32:
    adaptation: Adaptation = adapt(replace(one, folds=None), AdaptOptions())
    return adaptation.fitted.tensors["weights"]


def _areas(
    few: Material,
    one: Material,
    rest: Int64,
    scorer: Scorer,
    others: tuple[Float32, Float32],
) -> list[float]:
    own = few.pictures[rest]
    areas = []
    for strange in others:
        scores = scorer(one, np.concatenate([own, strange]))
        areas.append(float(roc_auc_score([1] * len(own) + [0] * len(strange), scores)))
    return areas


def times() -> None:
    """A fit, and one with its cross-validation, of 50 classes, 16 pictures each, 512 wide."""
    random = np.random.default_rng(0)
    texts = random.normal(size=(50, 512)) + 2 * random.normal(size=512)
    truth = np.repeat(np.arange(50), 16)
    rows = texts[truth] + 2 * random.normal(size=(50, 512))[truth] + random.normal(size=(800, 512))
    texts, rows = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (texts, rows))
    labels = LabelSet(tuple(map(str, range(50))))
    one = Material(
        labels,
        texts.astype(np.float32),
        Scale(100.0),
        [],
        [None] * 800,
        truth,
        rows.astype(np.float32),
        stratified_folds(truth, np.arange(800), 0),
    )
    for name, material in (("a fit", replace(one, folds=None)), ("with cross-validation", one)):
        started = time.perf_counter()
        adapt(material, AdaptOptions())
        print(f"50 x 16 x 512, {name}: {time.perf_counter() - started:.2f} s", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=BUNDLED_MODEL)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--pictures", type=int, default=40, help="of each digit")
    arguments = parser.parse_args()
    spec = resolve_model(ModelRequest(arguments.model))
    engine = load_engine(spec, EngineOptions(), offline=True)
    material, far = digits(engine, arguments.pictures)
    gains(material, arguments.seeds)
    already_right(engine, arguments.seeds)
    novelty(material, far, arguments.seeds)
    times()


if __name__ == "__main__":
    main()
