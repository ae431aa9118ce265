"""Whether an adapter is better than zero-shot, on pictures that it was not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipcli.adaptation.probe import Scale
from clipcli.arrays import Float64, Int64, Mask
from clipcli.evaluation.calibration import (
    FEWEST_IMAGES,
    expected_calibration_error,
    reliability_curve,
)

_LOWEST, _HIGHEST = 0.01, 100.0  # temperatures
_HALVINGS = 50


@dataclass(frozen=True)
class Figures:
    """How good the answers for some pictures are.

    Attributes:
        accuracy: the share of right ones.
        log_loss: the mean of -log p of the truth, in nats.
        calibration_error: the expected calibration error, in 0..1.
    """

    accuracy: float
    log_loss: float
    calibration_error: float


@dataclass(frozen=True)
class ClassFigures:
    """One label's, or all labels', before and after.

    Attributes:
        label: None for all.
        pictures: how many.
        zero_shot: None where there are no pictures.
        adapted: likewise.
    """

    label: str | None
    pictures: int
    zero_shot: Figures | None
    adapted: Figures | None


@dataclass(frozen=True)
class Gain:
    """How much better one figure became, with its standard error, both over pictures."""

    mean: float
    error: float

    @property
    def is_sure(self) -> bool:
        """Whether it is better by one standard error at least."""
        return self.mean > 0 and self.mean >= self.error


@dataclass(frozen=True)
class Gate:
    """What an adapter must pass: both gains are sure.

    By accuracy alone sets that are right already were made worse by up to three points; by both,
    by 0.2 at most, and a sign test at 5 % refuses most of what helps.

    Attributes:
        accuracy: of pictures that are right.
        log_loss: by which -log p of the truth has become less, in nats, than that of zero-shot at
            the temperature that is best for it.
    """

    accuracy: Gain
    log_loss: Gain

    @property
    def is_passed(self) -> bool:
        """Whether the adapter is worth keeping."""
        return self.accuracy.is_sure and self.log_loss.is_sure


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What was answered for pictures that were held out, before and after.

    Attributes:
        truth: shape (n,).
        folds: which of them were held out together, shape (n,).
        zero_shot: logits of shape (n, L).
        adapted: logits of shape (n, L), each row of an adapter that was fitted without its fold.
        scale: of the model.
    """

    truth: Int64
    folds: Int64
    zero_shot: Float64
    adapted: Float64
    scale: Scale

    def at_temperature(self) -> tuple[HeldOut, float]:
        """The same with the adapted logits divided by a temperature, and the one for new pictures.

        Each fold's is fitted on the others. Adapters make logits larger than the truth bears out
        (Murugesan et al. 2024, arXiv:2407.13588). 1 where there are too few pictures, or none helps
        those that it was not fitted on.
        """
        value = self._fitted(np.ones(len(self.truth), np.bool_))
        divided = self.adapted.copy()
        for fold in np.unique(self.folds):
            others = self._fitted(self.folds != fold)
            divided[self.folds == fold] /= others or 1.0
        losses = (
            self.scale.losses(logits, self.truth).mean() for logits in (divided, self.adapted)
        )
        if value is None or len(self.truth) < FEWEST_IMAGES or not next(losses) < next(losses):
            return self, 1.0
        return HeldOut(self.truth, self.folds, self.zero_shot, divided, self.scale), value

    def _fitted(self, chosen: Mask) -> float | None:
        return likeliest_temperature(self.adapted[chosen], self.truth[chosen], self.scale)

    def gate(self) -> Gate:
        """Whether the adapter is worth keeping."""
        # Zero-shot with a temperature of its own: to be surer, or less sure, needs no adapter.
        own = likeliest_temperature(self.zero_shot, self.truth, self.scale) or 1.0
        both = self.zero_shot / own, self.adapted
        hits = [logits.argmax(axis=1) == self.truth for logits in both]
        losses = [self.scale.losses(logits, self.truth) for logits in both]
        return Gate(_gain(hits[1] - hits[0].astype(np.float64)), _gain(losses[0] - losses[1]))

    def classes(self, labels: Sequence[str]) -> tuple[ClassFigures, ...]:
        """Each label's figures, and at the end those of all."""
        chosen = [(label, self.truth == place) for place, label in enumerate(labels)]
        return tuple(
            self._class(label, is_one)
            for label, is_one in [*chosen, (None, np.ones(len(self.truth), np.bool_))]
        )

    def _class(self, label: str | None, chosen: Mask) -> ClassFigures:
        count, truth = int(chosen.sum()), self.truth[chosen]
        if not count:
            return ClassFigures(label, 0, None, None)
        both = (_figures(z[chosen], truth, self.scale) for z in (self.zero_shot, self.adapted))
        return ClassFigures(label, count, *both)


def likeliest_temperature(logits: Float64, truth: Int64, scale: Scale) -> float | None:
    """The temperature at which the truth is likeliest; None where there is no best one.

    The loss is convex in the temperature's inverse: its slope is 0 at one place, found by halving.

    Args:
        logits: shape (n, L).
        truth: shape (n,).
        scale: of the model.
    """
    own = np.take_along_axis(logits, truth[:, None], axis=1)[:, 0]

    def slope(temperature: float) -> float:
        shares = scale.probabilities(logits / temperature)
        return float(np.mean(np.sum(shares * logits, axis=1) - own))

    if not len(logits) or not slope(_HIGHEST) < 0 < slope(_LOWEST):
        return None
    low, high = np.log(_LOWEST), np.log(_HIGHEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(float(np.exp(middle))) > 0 else (low, middle)
    return float(np.exp((low + high) / 2))


def _gain(differences: Float64) -> Gain:
    count = len(differences)
    error = differences.std(ddof=1) / np.sqrt(count) if count > 1 else np.inf
    return Gain(float(differences.mean()), float(error))


def _figures(logits: Float64, truth: Int64, scale: Scale) -> Figures:
    correct = logits.argmax(axis=1) == truth
    confidence = scale.probabilities(logits).max(axis=1)
    return Figures(
        float(correct.mean()),
        float(scale.losses(logits, truth).mean()),
        expected_calibration_error(reliability_curve(confidence, correct)),
    )
