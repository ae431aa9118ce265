"""What is trained on: features with the names that are true of them.

Three kinds: features made of the classifier's own weights, for ImageNet's 1,000 classes (no pictures
needed); features of labelled pictures; and features of pictures with the classifier's opinion of them.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from scripts.train_tiny import backbone, extract, vocabulary
from scripts.train_tiny.caption_names import names_of
from scripts.train_tiny.measure import TestSet
from scripts.train_tiny.pictures import Picture, Row, pictures, table

UNSEEN = "caltech101-unseen"
CAPTIONED = "flickr8k"
NEAR = 0.72
"""Cosine of two names' teacher embeddings from which they do not exclude each other."""
SEEN = 0.08
"""A class that the classifier gives at least this probability is not held against a picture."""
SHARPENING = 1.3
"""Factor on the classifier's logits: label smoothing made it shy."""


@dataclass(frozen=True)
class Batch:
    """Features (n, 1280), the concept that each is to match, and concepts as true as that one."""

    features: Tensor
    targets: Tensor
    excused: Tensor


@dataclass(frozen=True)
class Labelled:
    """Features of pictures, both views of each, and the row or file that says what they show."""

    features: Tensor
    groups: list[int]
    names: list[tuple[str, ...]]
    files: list[str]


def training_rows() -> list[Row]:
    return [row for row in table() if row.set != UNSEEN]


def found(data: Path, work: Path, rows: list[Row]) -> list[tuple[Picture, NDArray[np.float16]]]:
    """Pictures whose features (views, 1280) were extracted."""
    features: dict[str, NDArray[np.float16]] = {}
    for name in dict.fromkeys(row.set for row in rows):
        features |= extract.load(work / "features" / f"{name}.npz")
    return [(one, features[one.sha256]) for one in pictures(data, rows) if one.sha256 in features]


def labelled(data: Path, known: list[tuple[Picture, NDArray[np.float16]]]) -> Labelled:
    """The pictures to train on."""
    told = vocabulary.captions(data)
    groups: dict[tuple[str, tuple[str, ...]], int] = {}
    features, places, files = [], [], []
    for picture, views in known:
        file = picture.file.name
        is_captioned = picture.row.set == CAPTIONED
        names = names_of(told[file]) if is_captioned else picture.row.names
        if picture.held_out or not names:
            continue
        group = groups.setdefault((file if is_captioned else picture.row.set, names), len(groups))
        features.append(views)
        places += [group] * len(views)
        files += [file if is_captioned else ""] * len(views)
    stacked = torch.from_numpy(np.concatenate(features)).float()
    return Labelled(stacked, places, [names for _, names in groups], files)


class Material:
    """Draws batches."""

    def __init__(self, wheels: Path, shown: Labelled, embeddings: dict[str, NDArray[np.float32]], seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.random = np.random.default_rng(seed)
        self.weight, self.bias = backbone.classifier(wheels)
        classes = vocabulary.imagenet()
        self.concepts = vocabulary.trained_concepts(classes, shown.names)
        self.number = {name: place for place, name in enumerate(self.concepts)}
        near = self.near(classes, np.stack([embeddings[name] for name in self.concepts]))
        self.own = [[self.number[name] for name in names.own] for names in classes]
        self.broader = [[self.number[name] for name in names.broader] for names in classes]
        self.class_names = self.marked([own + more for own, more in zip(self.own, self.broader, strict=True)])
        self.class_excuses = self.excuses(self.class_names, near)
        self.names = [[self.number[name] for name in names] for names in shown.names]
        self.group_excuses = self.excuses(self.marked(self.names), near)
        self.features, self.files = shown.features, shown.files
        self.groups = torch.tensor(shown.groups)
        sizes = Counter(shown.groups)
        self.weights = torch.tensor([self.share(sizes[group], file) for group, file in zip(shown.groups, shown.files, strict=True)])
        self.directions = functional.normalize(self.weight - self.weight.mean(0), dim=1)
        self.mean = self.features.mean(0)
        self.best = torch.cat([self.opinion(part).argmax(1) for part in self.features.split(4096)])

    @staticmethod
    def share(size: int, file: str) -> float:
        """Weight of a picture in the draw: between one for each picture and one for each group."""
        return 0.11 if file else size**-0.5

    def near(self, classes: list[vocabulary.Names], embeddings: NDArray[np.float32]) -> Tensor:
        """Which concepts do not exclude each other: near-synonyms, but never names of two classes."""
        vectors = torch.from_numpy(embeddings)
        cls = torch.full((len(self.concepts),), -1)
        for place, names in enumerate(classes):
            cls[[self.number[name] for name in names.own]] = place
        two_classes = (cls[:, None] >= 0) & (cls[None] >= 0) & (cls[:, None] != cls[None])
        return (vectors @ vectors.T > NEAR) & ~two_classes

    def marked(self, names: list[list[int]]) -> Tensor:
        """Lists of concepts as rows of a boolean matrix."""
        rows = torch.zeros(len(names), len(self.concepts), dtype=torch.bool)
        for row, concepts in zip(rows, names, strict=True):
            row[concepts] = True
        return rows

    @staticmethod
    def excuses(true: Tensor, near: Tensor) -> Tensor:
        return (true.float() @ near.float() > 0) | true

    def opinion(self, features: Tensor) -> Tensor:
        """The classifier's probabilities (n, 1000)."""
        return ((features @ self.weight.T + self.bias) * SHARPENING).softmax(1)

    def batch(self, made: int = 200, shown: int = 140, judged: int = 20) -> Batch:
        """Features made of the classifier's weights, of labelled pictures, and of pictures as it judges them."""
        parts = (self.made(made), self.shown(shown), self.judged(judged))
        features, targets, excused = (torch.cat(each) for each in zip(*parts, strict=True))
        excused[torch.arange(len(targets)), targets] = False
        kept = torch.rand(features.shape, generator=self.generator) > 0.1
        return Batch(features * kept / 0.9, targets, excused)

    def made(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        classes = torch.randint(1000, (count,), generator=self.generator)
        return self.make(classes), self.class_targets(classes), self.class_excuses[classes]

    def make(self, classes: Tensor, strength: float = 4.2, spread: float = 0.9) -> Tensor:
        """Features of a class: its direction in the classifier, and what else some picture shows."""
        count = len(classes)
        pictures_ = torch.randint(len(self.features), (count,), generator=self.generator)
        shown = self.directions[self.best[pictures_]]
        rest = self.features[pictures_] - self.mean
        rest = rest - (rest * shown).sum(1, keepdim=True) * shown * 0.9
        rest = rest * (0.5 + 0.5 * torch.rand(count, 1, generator=self.generator))
        strengths = strength + spread * torch.randn(count, 1, generator=self.generator)
        return (self.mean + strengths * self.directions[classes] + rest).clamp(0)

    def class_targets(self, classes: Tensor) -> Tensor:
        return torch.tensor([self.class_name(int(one)) for one in classes])

    def class_name(self, one: int) -> int:
        own, broader = self.own[one], self.broader[one]
        if self.random.random() < 0.6 or not broader:
            return own[0] if self.random.random() < 0.6 else int(self.random.choice(own))
        return int(self.random.choice(broader))

    def shown(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        chosen = torch.multinomial(self.weights, count, generator=self.generator)
        groups = self.groups[chosen]
        names = [self.names[group] for group in groups]
        targets = [one[0] if self.random.random() < 0.45 else int(self.random.choice(one)) for one in names]
        excused = self.group_excuses[groups] | self.seen(chosen)
        return self.features[chosen], torch.tensor(targets), excused

    def judged(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        chosen = torch.multinomial(self.weights, count, generator=self.generator)
        classes = torch.multinomial(self.opinion(self.features[chosen]), 1, generator=self.generator)[:, 0]
        excused = self.class_excuses[classes] | self.group_excuses[self.groups[chosen]] | self.seen(chosen)
        return self.features[chosen], self.class_targets(classes), excused

    def seen(self, chosen: Tensor) -> Tensor:
        """Names of what the classifier sees in the pictures."""
        sees = self.opinion(self.features[chosen]) > SEEN
        return sees.float() @ self.class_names.float() > 0


def test_sets(known: list[tuple[Picture, NDArray[np.float16]]]) -> list[TestSet]:
    """Held-out pictures, a test set for each set of pictures; Caltech-101's share all its labels."""
    held = [(one, views[0].astype(np.float32)) for one, views in known if one.held_out and one.row.set != CAPTIONED]
    caltech = sorted({row.names[0] for row in table() if row.set.startswith("caltech101")})
    has = {name for names in vocabulary.imagenet() for name in names.all}
    tests = {}
    for one, features in held:
        name, label = one.row.set, one.row.names[0]
        if name.startswith("caltech101"):
            name += "-imagenet" if label in has else "-other"
        tests.setdefault(name, []).append((features, label))
    return [
        TestSet(
            name,
            np.stack([features for features, _ in shown]),
            [label for _, label in shown],
            caltech if name.startswith("caltech101") else sorted({label for _, label in shown}),
        )
        for name, shown in tests.items()
    ]
