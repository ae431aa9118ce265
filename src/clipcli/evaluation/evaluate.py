"""One model with one set of prompts, measured on pictures whose labels are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipcli.arrays import Float32
from clipcli.evaluation.answers import Answers, answer
from clipcli.evaluation.calibration import (
    Bin,
    Temperature,
    expected_calibration_error,
    fit_temperature,
    reliability_curve,
)
from clipcli.evaluation.metrics import ClassMetrics, class_metrics, confusion_matrix, mean_recall
from clipcli.evaluation.thresholds import Threshold, find_threshold

if TYPE_CHECKING:
    from clipcli.heads.zero_shot import ZeroShotHead

DEFAULT_PRECISION = 0.95


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How good the answers for n images are.

    Attributes:
        labels: L of them, in the head's order.
        answers: for each image.
        classes: each label's metrics.
        confusion: images by true label (rows) and answer (columns), shape (L, L).
        reliability: accuracy by confidence.
        temperature: at which the true labels are likeliest; None where there is none.
        thresholds: of the probability, by the precision wished for; None where it cannot be
            reached.
        similarity_thresholds: of the cosine, likewise.
    """

    labels: tuple[str, ...]
    answers: Answers
    classes: tuple[ClassMetrics, ...]
    confusion: NDArray[np.int64]
    reliability: tuple[Bin, ...]
    temperature: Temperature | None
    thresholds: dict[float, Threshold | None]
    similarity_thresholds: dict[float, Threshold | None]

    @property
    def images(self) -> int:
        """How many have been answered."""
        return len(self.answers.truth)

    def accuracy(self, k: int = 1) -> float:
        """The share of images whose true label is among the k best."""
        return float(self.answers.within(k).mean())

    @property
    def mean_recall(self) -> float:
        """The mean of the recalls of the labels that have images."""
        return mean_recall(self.classes)

    @property
    def calibration_error(self) -> float:
        """The expected calibration error, in 0..1."""
        return expected_calibration_error(self.reliability)

    def mistakes(self, count: int | None = None) -> list[int]:
        """Places of the images that are answered wrong, the surest answers first."""
        # A sure mistake tells more than a near one: a wrong label in the data, or a class
        # misunderstood.
        wrong = np.flatnonzero(~self.answers.correct)
        order = np.argsort(-self.answers.confidence[wrong], kind="stable")
        places: list[int] = wrong[order][:count].tolist()
        return places


def evaluate(
    head: ZeroShotHead,
    embeddings: Float32,
    truth: NDArray[np.int64],
    precisions: Sequence[float] = (DEFAULT_PRECISION,),
) -> Evaluation:
    """Measure how good a head's answers are.

    Args:
        head: of L labels.
        embeddings: of n >= 1 images, unit rows of shape (n, embed_dim).
        truth: the true labels' places in the head, shape (n,).
        precisions: for which thresholds are suggested, in 0..1.
    """
    # Scored once: the temperature is fitted on the logits of the very answers that are counted.
    answers, logits = answer(head, embeddings, truth)
    return Evaluation(
        labels=head.labels,
        answers=answers,
        classes=class_metrics(head.labels, answers),
        confusion=confusion_matrix(len(head.labels), answers),
        reliability=reliability_curve(answers.confidence, answers.correct),
        temperature=fit_temperature(logits, answers, head.activation),
        thresholds={
            target: find_threshold(answers.confidence, answers.correct, target)
            for target in precisions
        },
        similarity_thresholds={
            target: find_threshold(answers.similarity, answers.correct, target, lowest=-1.0)
            for target in precisions
        },
    )
