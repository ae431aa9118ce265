"""Evaluations of several models and prompts on the same images, with how sure they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clipcli.evaluation.evaluate import Evaluation
from clipcli.evaluation.intervals import Interval, drawn_class_means, drawn_means, interval

if TYPE_CHECKING:
    from clipcli.engines.base import ModelInfo

TOP = 5


@dataclass(frozen=True, eq=False)
class Contender:
    """A model with its prompts, and how it does.

    Attributes:
        model: that was loaded.
        prompts: the name of the templates, for people.
        templates: the templates themselves.
        evaluation: of its answers.
    """

    model: ModelInfo
    prompts: str
    templates: tuple[str, ...]
    evaluation: Evaluation


@dataclass(frozen=True, eq=False)
class Row:
    """A contender beside the others.

    Attributes:
        contender: whose figures these are.
        top1: the interval of its accuracy.
        top5: the same, for the five best labels.
        mean_recall: the interval of the mean recall; None where a class has too few images.
        difference: by how much its accuracy is above the first contender's; None for the first.
        difference_interval: of that difference, over pairs of answers for the same images.
    """

    contender: Contender
    top1: Interval
    top5: Interval
    mean_recall: Interval | None
    difference: float | None = None
    difference_interval: Interval | None = None


def compare(contenders: Sequence[Contender]) -> tuple[Row, ...]:
    """Put evaluations of the same images beside each other, the first one as the yardstick."""
    return tuple(_rows(contenders))


def _rows(contenders: Sequence[Contender]) -> Iterator[Row]:
    answers = [contender.evaluation.answers for contender in contenders]
    # Side by side: an image that one contender has right and another wrong counts for their
    # difference.
    correct = np.stack([one.correct for one in answers], axis=1)
    # The same draws for all of them, and for both figures.
    top1 = drawn_means(correct)
    top5 = drawn_means(np.stack([one.within(TOP) for one in answers], axis=1))
    recalls = drawn_class_means(correct, answers[0].truth)
    for place, contender in enumerate(contenders):
        # The first has no row to be ahead of, and a difference of exactly 0 would look like news.
        ahead = contender.evaluation.accuracy() - contenders[0].evaluation.accuracy()
        yield Row(
            contender,
            top1=interval(top1[:, place]),
            top5=interval(top5[:, place]),
            mean_recall=None if recalls is None else interval(recalls[:, place]),
            difference=ahead if place else None,
            difference_interval=interval(top1[:, place] - top1[:, 0]) if place else None,
        )
