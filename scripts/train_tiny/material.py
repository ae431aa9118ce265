"""What is trained on: features with the names that are true of them.

Three kinds: features made of the classifier's own weights, for ImageNet's 1,000 classes (no
pictures needed); features of labelled pictures; and of pictures, with the classifier's opinion.
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
"""The set that is measured only: Caltech-101's categories that were kept out."""
CAPTIONED = "flickr8k"
CLASSES = 1000
MADE, SHOWN, JUDGED = 70, 130, 20
"""How many of each kind are in a batch."""
NEAR = 0.72
"""Cosine of two names' teacher embeddings from which they do not exclude each other."""
SEEN = 0.08
"""A class that the classifier gives at least this probability is not held against a picture."""
SHARPENING = 1.3
"""Factor on the classifier's logits: label smoothing made it shy."""
OWN_NAME, PLAINEST = 0.6, 0.6
"""How often a class gets one of its own names, not a broader one; and of these the first."""
PLAIN_BROADER = 0.75
"""How often a broader name is one that users type, where the class has such."""
FIRST_NAME = 0.45
"""How often a picture gets its first name outright; else any, the first included."""
CAPTIONED_WEIGHT = 0.11
PRIOR = 2.0
"""Added to the logits of names that have pictures, in training only.

Such names need that much less to win, and afterwards, without it, do not draw pictures away from
words that have none (logit adjustment, Menon et al. 2021).
"""
DROPPED = 0.4
"""Share of a picture's features that a batch leaves out."""


@dataclass(frozen=True)
class Known:
    """A picture and the features (views, 1280) of its views."""

    picture: Picture
    views: NDArray[np.float16]


@dataclass(frozen=True)
class Batch:
    """Features (n, 1280), the concept that each is to match, and concepts as true as that one."""

    features: Tensor
    targets: Tensor
    excused: Tensor


@dataclass(frozen=True)
class Labelled:
    """Pictures to train on.

    Features (n, 1280) of their views; the group that each belongs to, and the names of each group;
    the file's name for a picture with captions, else an empty string.
    """

    features: Tensor
    groups: list[int]
    names: list[tuple[str, ...]]
    files: list[str]


def found(data: Path, work: Path, rows: list[Row]) -> list[Known]:
    """Pictures of the rows whose features were extracted."""
    features: dict[str, NDArray[np.float16]] = {}
    for name in dict.fromkeys(row.set for row in rows):
        features |= extract.load(work / "features" / f"{name}.npz")
    return [
        Known(one, features[one.sha256]) for one in pictures(data, rows) if one.sha256 in features
    ]


def labelled(data: Path, known: list[Known]) -> Labelled:
    """The pictures to train on."""
    captions = vocabulary.captions(data)
    groups: dict[tuple[str, tuple[str, ...]], int] = {}
    shown = Labelled(torch.zeros(0), [], [], [])
    features = []
    for one in known:
        row, file = (
            one.picture.row,
            one.picture.file.name if one.picture.row.set == CAPTIONED else "",
        )
        names = names_of(captions[file]) if file else row.names
        if one.picture.held_out or not names:
            continue
        group = groups.setdefault((file or row.set, names), len(groups))
        features.append(one.views)
        shown.groups.extend([group] * len(one.views))
        shown.files.extend([file] * len(one.views))
    stacked = torch.from_numpy(np.concatenate(features)).float()
    return Labelled(stacked, shown.groups, [names for _, names in groups], shown.files)


class Material:
    """Draws batches."""

    def __init__(
        self, wheels: Path, shown: Labelled, embeddings: dict[str, NDArray[np.float32]], seed: int
    ) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.random = np.random.default_rng(seed)
        self.embeddings = embeddings
        self.weight, self.bias = backbone.classifier(wheels)
        self.name(vocabulary.imagenet(), shown)
        self.features, self.files, self.groups = (
            shown.features,
            shown.files,
            torch.tensor(shown.groups),
        )
        sizes = Counter(shown.groups)
        self.weights = torch.tensor(
            [
                weight(sizes[group], file)
                for group, file in zip(shown.groups, shown.files, strict=True)
            ]
        )
        self.directions = functional.normalize(self.weight - self.weight.mean(0), dim=1)
        self.mean = self.features.mean(0)
        parts = [self.opinion(features) for features in torch.split(self.features, 2048)]
        self.best = torch.cat([opinion.argmax(1) for opinion in parts])
        seen = torch.cat([self.seen(opinion) for opinion in parts])
        self.excuses = seen | self.group_excuses[self.groups]

    def name(self, classes: list[vocabulary.Names], shown: Labelled) -> None:
        """Numbers the concepts, and notes which are true of what and exclude each other."""
        self.concepts = vocabulary.trained_concepts(classes, shown.names)
        self.number = {name: place for place, name in enumerate(self.concepts)}
        self.own = [self.numbers(names.own) for names in classes]
        self.broader = [self.numbers(names.broader) for names in classes]
        self.names = [self.numbers(names) for names in shown.names]
        near = self.near()
        self.class_names = self.marked(
            [own + more for own, more in zip(self.own, self.broader, strict=True)]
        )
        self.class_excuses = excuses(self.class_names, near)
        names = self.marked(self.names)
        self.group_excuses = excuses(names, near)
        self.pictured = names.any(0).float()
        typed = set(vocabulary.user_words())
        self.plain = [
            name in typed or bool(shown)
            for name, shown in zip(self.concepts, self.pictured, strict=True)
        ]

    def numbers(self, names: tuple[str, ...]) -> list[int]:
        """Places of names among the concepts."""
        return [self.number[name] for name in names]

    def near(self) -> Tensor:
        """Which concepts do not exclude each other: near-synonyms, never names of two classes."""
        vectors = torch.from_numpy(np.stack([self.embeddings[name] for name in self.concepts]))
        of_class = torch.full((len(self.concepts),), -1)
        for place, names in enumerate(self.own):
            of_class[names] = place
        two_classes = (of_class[:, None] >= 0) & (of_class >= 0) & (of_class[:, None] != of_class)
        return (vectors @ vectors.T > NEAR) & ~two_classes

    def marked(self, names: list[list[int]]) -> Tensor:
        """Lists of concepts as rows of a boolean matrix."""
        rows = torch.zeros(len(names), len(self.concepts), dtype=torch.bool)
        for row, concepts in zip(rows, names, strict=True):
            row[concepts] = True
        return rows

    def opinion(self, features: Tensor) -> Tensor:
        """The classifier's probabilities (n, 1000)."""
        return ((features @ self.weight.T + self.bias) * SHARPENING).softmax(1)

    def batch(self) -> Batch:
        """Features of all three kinds."""
        parts = (self.made(MADE), self.shown(SHOWN), self.judged(JUDGED))
        features, targets, excused = (torch.cat(each) for each in zip(*parts, strict=True))
        excused[torch.arange(len(targets)), targets] = False
        kept = torch.rand(features.shape, generator=self.generator) >= DROPPED
        return Batch(features * kept / (1 - DROPPED), targets, excused)

    def made(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Features made for classes drawn at random, targets, and what is excused."""
        classes = torch.randint(CLASSES, (count,), generator=self.generator)
        return self.make(classes), self.class_targets(classes), self.class_excuses[classes]

    def make(self, classes: Tensor, strength: float = 4.2, spread: float = 0.9) -> Tensor:
        """Features of a class: its direction in the classifier, and what else a picture shows."""
        count = len(classes)
        drawn = torch.randint(len(self.features), (count,), generator=self.generator)
        shown = self.directions[self.best[drawn]]
        rest = self.features[drawn] - self.mean
        rest = rest - (rest * shown).sum(1, keepdim=True) * shown * 0.9
        rest = rest * (0.5 + 0.5 * torch.rand(count, 1, generator=self.generator))
        strengths = strength + spread * torch.randn(count, 1, generator=self.generator)
        return (self.mean + strengths * self.directions[classes] + rest).clamp(0)

    def class_targets(self, classes: Tensor) -> Tensor:
        """A name of each class."""
        return torch.tensor([self.class_name(int(one)) for one in classes])

    def class_name(self, one: int) -> int:
        """One of its own names mostly, else a broader one."""
        own, broader = self.own[one], self.broader[one]
        if self.random.random() < OWN_NAME or not broader:
            return own[0] if self.random.random() < PLAINEST else int(self.random.choice(own))
        plain = [name for name in broader if self.plain[name]]
        chosen = plain if plain and self.random.random() < PLAIN_BROADER else broader
        return int(self.random.choice(chosen))

    def shown(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Features of labelled pictures, targets, and what is excused."""
        chosen = torch.multinomial(self.weights, count, True, generator=self.generator)
        groups = self.groups[chosen]
        names = [self.names[group] for group in groups]
        targets = [
            one[0] if self.random.random() < FIRST_NAME else int(self.random.choice(one))
            for one in names
        ]
        return self.features[chosen], torch.tensor(targets), self.excuses[chosen]

    def judged(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Features of pictures, names of what the classifier sees in them, and what is excused."""
        chosen = torch.multinomial(self.weights, count, True, generator=self.generator)
        classes = torch.multinomial(
            self.opinion(self.features[chosen]), 1, generator=self.generator
        )[:, 0]
        excused = self.class_excuses[classes] | self.excuses[chosen]
        return self.features[chosen], self.class_targets(classes), excused

    def seen(self, opinion: Tensor) -> Tensor:
        """Names of what the classifier sees in pictures, by its opinion (n, 1000) of them."""
        return (opinion > SEEN).float() @ self.class_names.float() > 0


def weight(size: int, file: str) -> float:
    """Weight of a picture in the draw: between each picture and each group weighing the same."""
    return CAPTIONED_WEIGHT if file else size**-0.5


def excuses(true: Tensor, near: Tensor) -> Tensor:
    """Concepts that are true, or near to one that is."""
    return (true.float() @ near.float() > 0) | true


def test_sets(known: list[Known]) -> list[TestSet]:
    """Held-out pictures, a test set for each set of several labels; Caltech-101's share all."""
    with_class = {name.lower() for names in vocabulary.imagenet() for name in names.all}
    caltech = sorted({row.names[0] for row in table() if row.set.startswith("caltech101")})
    shown: dict[str, list[tuple[NDArray[np.float16], str]]] = {}
    for one in known:
        row = one.picture.row
        if one.picture.held_out and row.set != CAPTIONED:
            name = row.set
            if name.startswith("caltech101"):
                name += "-imagenet" if row.names[0].lower() in with_class else "-other"
            shown.setdefault(name, []).append((one.views[0], row.names[0]))
    tests = []
    for name, pairs in shown.items():
        truth = [label for _, label in pairs]
        labels = caltech if name.startswith("caltech101") else sorted(set(truth))
        if len(labels) == 1:
            continue
        features = np.stack([views for views, _ in pairs]).astype(np.float32)
        tests.append(TestSet(name, features, truth, labels))
    return tests
