"""The names of everything the pictures show, and which of them are true of a class."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from scripts.train_tiny.concepts import ALSO_TRUE, CIFAR10, SYNONYMS, TINY_IMAGENET, Names
from scripts.train_tiny.folders import DataFolder, WorkFolder
from scripts.train_tiny.templates import PICTURE_TEMPLATES

TINY_IMAGENET_COUNT = len(TINY_IMAGENET)
BASE_COUNT = TINY_IMAGENET_COUNT + len(CIFAR10)
OWN_NAME_SHARE = 0.65
SYNONYM_SHARE = 0.15


def base_classes(data: DataFolder) -> list[Names]:
    """Return the names of the classes of Tiny ImageNet and CIFAR-10, in the order of labels."""
    return [TINY_IMAGENET[wnid] for wnid in data.wnids()] + list(CIFAR10.values())


def more_classes(work: WorkFolder) -> list[Names]:
    """Return the names of the additional classes, in the order of labels."""
    return [tuple(names) for names in json.loads(work.more_classes.read_text())]


@dataclass(frozen=True)
class Vocabulary:
    """The classes' names, and the concepts: all different names, in order of appearance.

    Attributes:
        classes: Each class's names, its own first.
        concepts: The column of each concept.
        excluded: Shape (classes, concepts), bool: names that are or may be true of a class,
            so that they do not count as wrong answers for its pictures.
    """

    classes: Sequence[Names]
    concepts: dict[str, int]
    excluded: NDArray[np.bool_]

    @classmethod
    def of(cls, classes: Sequence[Names]) -> Self:
        """Build the vocabulary of these classes: Tiny ImageNet's first, then CIFAR-10's."""
        concepts: dict[str, int] = {}
        for names in classes:
            for name in names:
                concepts.setdefault(name, len(concepts))
        excluded = np.zeros((len(classes), len(concepts)), bool)
        for label in range(len(classes)):
            columns = [concepts[name] for name in _true_names(classes, label)]
            excluded[label, columns] = True
        return cls(classes, concepts, excluded)

    def draw_targets(self, labels: Sequence[int]) -> list[int]:
        """Draw the concept each picture is to be recognised as.

        Mostly its class's own name, else one of the broader ones.

        Returns:
            The concepts' columns, one a label.
        """
        return [self.concepts[_draw_name(self.classes[label])] for label in labels]

    def draw_prompts(self) -> list[str]:
        """Put every concept, now and then one of its synonyms, into one template drawn at random.

        Returns:
            The prompts, in the order of the concepts' columns.
        """
        template = random.choice(PICTURE_TEMPLATES)
        return [template.format(_draw_synonym(concept)) for concept in self.concepts]


def _true_names(classes: Sequence[Names], label: int) -> set[str]:
    own = classes[label]
    true = {*own, *ALSO_TRUE.get(own[0], ())}
    if label < TINY_IMAGENET_COUNT:
        return true
    # A CIFAR-10 cat may be a tabby cat; a Tiny ImageNet cougar is none of the other wild cats.
    for names in (*classes[:TINY_IMAGENET_COUNT], *classes[BASE_COUNT:]):
        if own[0] in names:
            true.update(names[: names.index(own[0])])
    return true


def _draw_name(names: Names) -> str:
    if len(names) == 1 or random.random() < OWN_NAME_SHARE:
        return names[0]
    return random.choice(names[1:])


def _draw_synonym(concept: str) -> str:
    synonyms = SYNONYMS.get(concept)
    if synonyms and random.random() < SYNONYM_SHARE:
        return random.choice(synonyms)
    return concept
