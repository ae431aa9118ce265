"""The text-anchored probe: a row of weights for each label, held near the label's own embedding.

Minimises over W, shape (L, d), the convex objective

    mean over pictures of loss(s F W^T + b, y)  +  strength * ||W - T||^2

with unit embeddings F of the pictures, unit embeddings T of the labels, and the model's own scale
s, bias b and loss: cross-entropy under softmax, a yes or no for each label under sigmoid. Related
to CLAP (Silva-Rodríguez et al. 2024, arXiv:2312.12730), with one fixed penalty for all labels. At
W = T it is the zero-shot head, so an endless strength is zero-shot exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipcli.arrays import Float32, Float64, Int64
from clipcli.heads.zero_shot import sigmoid, softmax
from clipcli.models.specs import Activation

STRENGTHS = (10.0, 3.0, 1.0, 0.3, 0.1, 1e-2, 1e-3)
"""Of which cross-validation chooses; each fit starts where the one before, a stronger, ended."""

FEW_PICTURES = 4
"""A class, on average: with no more of them, `few_shot_strength` does as well as a choice."""

FINE, COARSE = 1e-9, 1e-4
"""Of a row's distance to the optimum, in lengths of a label's embedding; coarse is for a choice."""

_MOST_STEPS, _MOST_PRODUCTS, _MOST_HALVINGS = 100, 200, 30
_LEAST_DESCENT = 1e-4  # of what the slope promises (Nocedal & Wright 2006, 3.1)
_ROUNDING = 1e-13


@dataclass(frozen=True)
class Scale:
    """How a model turns the products of rows and embeddings into probabilities.

    Attributes:
        logit_scale: multiplies them.
        logit_bias: is added.
        activation: `softmax` or `sigmoid`.
    """

    logit_scale: float
    logit_bias: float = 0.0
    activation: Activation = "softmax"

    def logits(self, pictures: Float32 | Float64, weights: Float32 | Float64) -> Float64:
        """Shape (n, L), of rows of shapes (n, d) and (L, d)."""
        products = pictures.astype(np.float64) @ weights.T.astype(np.float64)
        logits: Float64 = self.logit_scale * products + self.logit_bias
        return logits

    def probabilities(self, logits: Float64) -> Float64:
        """Of the shape of the logits."""
        return sigmoid(logits) if self.activation == "sigmoid" else softmax(logits)

    def losses(self, logits: Float64, truth: Int64) -> Float64:
        """-log p of the truth for each picture, in nats, shape (n,), of logits of shape (n, L).

        Under sigmoid, -log p of the yes to the true label and of the no to every other.
        """
        own = np.take_along_axis(logits, truth[:, None], axis=1)[:, 0]
        if self.activation == "sigmoid":
            losses: Float64 = np.logaddexp(0, logits).sum(axis=1) - own
        else:
            largest = logits.max(axis=1)
            losses = np.log(np.exp(logits - largest[:, None]).sum(axis=1)) + largest - own
        return losses


def few_shot_strength(logits: Float64, truth: Int64, scale: Scale) -> float:
    """The strength without a choice: 3 p^2, p the mean zero-shot probability of the true label.

    The surer zero-shot is of the truth, the less there is to learn. Measured on pictures of digits,
    hand signs, clothes, weather and CIFAR-10, 1 to 4 a class: as good as cross-validation.

    Args:
        logits: of zero-shot, shape (n, L).
        truth: shape (n,).
        scale: of the model.
    """
    shares = np.take_along_axis(scale.probabilities(logits), truth[:, None], axis=1)
    # Above 0, whatever has been rounded: without a penalty there may be no optimum.
    return max(float(3 * shares.mean() ** 2), 1e-6)


class Probe:
    """The pictures of one fit, ready to be fitted with any strength.

    Args:
        pictures: unit rows, shape (n, d).
        truth: their labels' places, shape (n,).
        texts: unit rows of the labels, shape (L, d).
        scale: of the model.
    """

    def __init__(self, pictures: Float32, truth: Int64, texts: Float32, scale: Scale) -> None:
        self._texts, self._truth, self._scale = texts.astype(np.float64), truth, scale
        # The optimum is moved only within the space of the pictures: few of them, few columns.
        self._axes = _principal_axes(pictures.astype(np.float64))
        self._columns = pictures.astype(np.float64) @ self._axes
        self._base = scale.logits(pictures, texts)
        self._is_true = np.zeros_like(self._base)
        self._is_true[np.arange(len(truth)), truth] = 1

    def fit(
        self, strength: float, start: Float64 | None = None, precision: float = FINE
    ) -> Float64:
        """The optimum, as W - T in the pictures' axes, shape (L, r); `weights` makes W of it.

        Newton's method, each step by conjugate gradients as far as it is worth (Dembo, Eisenstat
        & Steihaug 1982): where pictures are told apart surely the loss is flat, and methods that go
        by its largest curvature take a hundred times as long.

        Args:
            strength: of the penalty.
            start: the optimum with another strength; None for zero-shot.
            precision: `FINE` or `COARSE`.
        """
        moved = np.zeros((len(self._texts), self._axes.shape[1])) if start is None else start
        for _ in range(_MOST_STEPS):
            logits = self._logits(moved)
            shares = self._scale.probabilities(logits)
            gradient = self._pulled(shares - self._is_true) + 2 * strength * moved
            # The gradient by the least curvature bounds how far away the optimum is.
            if np.linalg.norm(gradient) <= 2 * strength * precision * np.sqrt(len(moved)):
                break
            step = self._newton_step(gradient, shares, strength)
            following = self._descended(moved, step, gradient, strength)
            if following is None:  # as near as numbers of this size can tell
                break
            moved = following
        return moved

    def weights(self, moved: Float64) -> Float64:
        """W of shape (L, d)."""
        weights: Float64 = self._texts + moved @ self._axes.T
        return weights

    def _logits(self, moved: Float64) -> Float64:
        logits: Float64 = self._base + self._scale.logit_scale * (self._columns @ moved.T)
        return logits

    def _pulled(self, slopes: Float64) -> Float64:
        """What slopes in the logits, shape (n, L), are in what is moved, shape (L, r)."""
        factor = self._scale.logit_scale / len(slopes)
        pulled: Float64 = factor * (slopes.T @ self._columns)
        return pulled

    def _objective(self, moved: Float64, strength: float) -> float:
        losses = self._scale.losses(self._logits(moved), self._truth)
        return float(losses.mean() + strength * np.sum(moved**2))

    def _newton_step(self, gradient: Float64, shares: Float64, strength: float) -> Float64:
        """The step to the optimum of the parabola here, by preconditioned conjugate gradients."""
        spread = (shares * (1 - shares)).mean(axis=0)[:, None] * self._scale.logit_scale**2
        diagonal = spread * np.mean(self._columns**2, axis=0) + 2 * strength
        length = np.linalg.norm(gradient)
        enough = min(0.3, np.sqrt(length)) * length
        step, rest = np.zeros_like(gradient), -gradient
        direction = rest / diagonal
        product = np.sum(rest * direction)
        for _ in range(_MOST_PRODUCTS):
            bent = self._bent(direction, shares) + 2 * strength * direction
            along = product / np.sum(direction * bent)
            step += along * direction
            rest -= along * bent
            if np.linalg.norm(rest) <= enough:
                break
            eased = rest / diagonal
            product, before = np.sum(rest * eased), product
            direction = eased + product / before * direction
        return step

    def _bent(self, direction: Float64, shares: Float64) -> Float64:
        """The loss's curvature along a direction: its Hessian by it."""
        slopes = self._scale.logit_scale * (self._columns @ direction.T)
        if self._scale.activation == "sigmoid":
            return self._pulled(shares * (1 - shares) * slopes)
        return self._pulled(shares * (slopes - np.sum(shares * slopes, axis=1, keepdims=True)))

    def _descended(
        self, moved: Float64, step: Float64, gradient: Float64, strength: float
    ) -> Float64 | None:
        """A place along a step that is low enough; None where none is lower."""
        here, slope = self._objective(moved, strength), float(np.sum(gradient * step))
        for halvings in range(_MOST_HALVINGS):
            part = 0.5**halvings
            following = moved + part * step
            allowed = here + _LEAST_DESCENT * part * slope + _ROUNDING * abs(here)
            if self._objective(following, strength) <= allowed:
                return following
        return None


def objective(
    weights: Float64, pictures: Float32, truth: Int64, texts: Float32, scale: Scale, strength: float
) -> float:
    """What a probe minimises, of any W of shape (L, d), written as it is in this module's head."""
    losses = scale.losses(scale.logits(pictures, weights), truth)
    return float(losses.mean() + strength * np.sum((weights - texts.astype(np.float64)) ** 2))


def _principal_axes(rows: Float64) -> Float64:
    """Orthonormal axes of the space of some rows, shape (d, r), r the lesser of n and d."""
    count, width = rows.shape
    axes = np.linalg.qr(rows.T)[0] if count < width else np.eye(width)
    columns = rows @ axes
    rotated: Float64 = axes @ np.linalg.eigh(columns.T @ columns)[1]
    return rotated
