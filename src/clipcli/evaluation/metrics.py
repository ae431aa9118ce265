"""Metrics of answers whose truth is known: for each class, and which are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from clipcli.evaluation.answers import Answers


@dataclass(frozen=True)
class ClassMetrics:
    """One label's metrics, as scikit-learn's `precision_recall_fscore_support` defines them.

    Attributes:
        label: its text.
        images: how many truly have it.
        precision: the share of right answers among those that name it; None where none does.
        recall: the share of its images that are answered right; None where there are no images.
        f1: the harmonic mean of both; None where there are neither images nor answers.
    """

    label: str
    images: int
    precision: float | None
    recall: float | None
    f1: float | None


def class_metrics(labels: Sequence[str], answers: Answers) -> tuple[ClassMetrics, ...]:
    """Each label's metrics, in their order."""
    # Here, as all of scikit-learn: it takes a second, and other commands have no use for it.
    from sklearn.metrics import precision_recall_fscore_support

    # `labels` names those, too, that no image has; NaN tells what is undefined from what is 0.
    figures = precision_recall_fscore_support(
        answers.truth, answers.predicted, labels=range(len(labels)), zero_division=np.nan
    )
    return tuple(
        ClassMetrics(label, int(images), _known(precision), _known(recall), _known(f1))
        for label, precision, recall, f1, images in zip(labels, *figures, strict=True)
    )


def confusion_matrix(count: int, answers: Answers) -> NDArray[np.int64]:
    """How many images of each label (rows) are answered with each label (columns)."""
    from sklearn.metrics import confusion_matrix as matrix

    counts: NDArray[np.int64] = matrix(answers.truth, answers.predicted, labels=range(count))
    return counts


def mean_recall(classes: Sequence[ClassMetrics]) -> float:
    """The mean of the recalls of those labels that have images: each counts the same.

    scikit-learn calls it balanced accuracy.
    """
    return float(np.mean([one.recall for one in classes if one.recall is not None]))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
