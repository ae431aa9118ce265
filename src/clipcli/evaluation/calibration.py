"""Whether probabilities mean what they say, and the temperature at which they would.

After Guo et al. 2017, On Calibration of Modern Neural Networks: the expected calibration error
over 15 bins of equal width (section 2), and temperature scaling (section 4.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipcli.arrays import Float32, Float64
from clipcli.heads.zero_shot import sigmoid, softmax

if TYPE_CHECKING:
    from clipcli.evaluation.answers import Answers
    from clipcli.models.specs import Activation

BINS = 15

FEWEST_IMAGES = 30
"""With fewer, nothing is suggested: chance would decide."""

# Of the halves of the images: whoever repeats the evaluation gets the same figures.
SEED = 0

# Whoever is beyond these has too few mistakes, or too many, for a temperature to be found.
_TEMPERATURES = 0.01, 100.0
# Where all is right, the likelihood is as good as 1 over a wide range: any lower one would do.
_NO_LOSS = 1e-9
_IMAGES_AT_ONCE = 1024


@dataclass(frozen=True)
class Bin:
    """The images whose best label's probability is above `low` and at most `high`.

    Attributes:
        low: lower end, in 0..1.
        high: upper end, in 0..1.
        images: how many there are.
        confidence: the mean of their probabilities; None where there are none.
        accuracy: the share of right answers; None where there are none.
    """

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Temperature:
    """A temperature fitted on the data.

    Attributes:
        value: divides the logits; above 1 the model is too sure of itself.
        error: the expected calibration error with it, on the same images.
        trial: what one that was fitted on half of the images does on the other half; None where
            there are too few of them.
    """

    value: float
    error: float
    trial: Trial | None

    @property
    def is_confirmed(self) -> bool:
        """Whether it helps where it was not fitted."""
        return self.trial is not None and self.trial.error < self.trial.error_without


@dataclass(frozen=True)
class Trial:
    """A temperature tried on images that it was not fitted on.

    Attributes:
        images: how many.
        error: their expected calibration error with it.
        error_without: the same without.
    """

    images: int
    error: float
    error_without: float


def reliability_curve(
    confidence: Float64, correct: NDArray[np.bool_], bins: int = BINS
) -> tuple[Bin, ...]:
    """Accuracy by confidence, in bins of equal width that are open below and closed above.

    Args:
        confidence: the best label's probability for each image, shape (n,).
        correct: whether it is the true label, shape (n,).
        bins: how many.
    """
    edges = np.linspace(0, 1, bins + 1)
    # A probability of exactly 0 has its place in the first bin.
    places = np.clip(np.digitize(confidence, edges, right=True) - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    confidences = np.bincount(places, confidence, bins)
    hits = np.bincount(places, correct, bins)
    return tuple(
        Bin(
            float(edges[place]),
            float(edges[place + 1]),
            int(count),
            float(confidences[place] / count) if count else None,
            float(hits[place] / count) if count else None,
        )
        for place, count in enumerate(counts)
    )


def expected_calibration_error(curve: Sequence[Bin]) -> float:
    """The mean over all images of their bin's |accuracy - confidence|, in 0..1."""
    gaps = (
        one.images * abs(one.accuracy - one.confidence)
        for one in curve
        if one.accuracy is not None and one.confidence is not None
    )
    return math.fsum(gaps) / sum(one.images for one in curve)


def fit_temperature(
    logits: Float32, answers: Answers, activation: Activation
) -> Temperature | None:
    """Find the temperature at which the true labels are likeliest.

    Args:
        logits: shape (n, L).
        answers: for the same n images.
        activation: under `sigmoid` each label's yes or no is counted as likely or not.

    Returns:
        None where there is no best one: every answer is right, for example.
    """
    value = _likeliest(logits, answers.truth, activation)
    if value is None:
        return None
    error = _error(logits, answers.correct, activation, value)
    return Temperature(value, error, _tried(logits, answers, activation))


def _tried(logits: Float32, answers: Answers, activation: Activation) -> Trial | None:
    """What a temperature of one half of the images does on the other."""
    count = len(logits)
    if count < FEWEST_IMAGES:
        return None
    order = np.random.default_rng(SEED).permutation(count)
    fitted, tried = order[: count // 2], order[count // 2 :]
    value = _likeliest(logits[fitted], answers.truth[fitted], activation)
    if value is None:
        return None
    correct = answers.correct[tried]
    with_it, without = (
        _error(logits[tried], correct, activation, temperature) for temperature in (value, 1.0)
    )
    return Trial(len(tried), with_it, without)


def _likeliest(logits: Float32, truth: NDArray[np.int64], activation: Activation) -> float | None:
    """The temperature at which the true labels are likeliest; None where there is no best one."""
    from scipy.optimize import minimize_scalar

    low, high = (math.log(end) for end in _TEMPERATURES)
    found = minimize_scalar(
        lambda log: negative_log_likelihood(logits, truth, activation, math.exp(log)),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-6},
    )
    is_at_end = not low + 0.01 < found.x < high - 0.01
    if is_at_end or found.fun < _NO_LOSS:
        return None
    return math.exp(found.x)


def _error(
    logits: Float32, correct: NDArray[np.bool_], activation: Activation, temperature: float
) -> float:
    confidence = _confidence(logits, activation, temperature)
    return expected_calibration_error(reliability_curve(confidence, correct))


def negative_log_likelihood(
    logits: Float32,
    truth: NDArray[np.int64],
    activation: Activation,
    temperature: float,
) -> float:
    """The mean over images of -log p(truth), in nats, with the logits divided by a temperature.

    Under `sigmoid`, -log p of the yes to the true label and of the no to every other.
    """
    total = 0.0
    for start in range(0, len(logits), _IMAGES_AT_ONCE):
        scaled = logits[start : start + _IMAGES_AT_ONCE].astype(np.float64) / temperature
        own = np.take_along_axis(scaled, truth[start : start + len(scaled), None], axis=1)[:, 0]
        if activation == "sigmoid":
            # -log sigmoid(x) is log(1 + exp(-x)), and a no is a yes of the opposite sign.
            losses = np.logaddexp(0, scaled).sum(axis=1) - own
        else:
            # log(sum(exp)) with the largest taken off; four times as fast as logaddexp.reduce.
            largest = scaled.max(axis=1)
            scaled -= largest[:, None]
            losses = np.log(np.exp(scaled, out=scaled).sum(axis=1)) + largest - own
        total += float(losses.sum())
    return total / len(logits)


def _confidence(logits: Float32, activation: Activation, temperature: float) -> Float64:
    """The best label's probability at a temperature, shape (n,)."""
    shares = sigmoid if activation == "sigmoid" else softmax
    parts = [
        shares(logits[start : start + _IMAGES_AT_ONCE].astype(np.float64) / temperature)
        for start in range(0, len(logits), _IMAGES_AT_ONCE)
    ]
    return np.concatenate([part.max(axis=1) for part in parts])
