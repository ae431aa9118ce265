"""From embeddings to answers: the zero-shot head, scores, ties, `Prediction` and `Failure`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from clipcli.arrays import Float32, Float64
from clipcli.engines.prompts import warn_of_cut
from clipcli.errors import ClipcliWarning
from clipcli.heads.alike import labels_alike
from clipcli.heads.cosines import Cosines
from clipcli.heads.labels import LabelSet
from clipcli.heads.prompt_encoder import PromptEncoder
from clipcli.heads.results import ScoreOptions
from clipcli.heads.scored import ScoredBlock, best_places
from clipcli.printable import printable, shortened

if TYPE_CHECKING:
    from clipcli.engines.base import Engine
    from clipcli.heads.text_cache import TextCache
    from clipcli.images.sources import ImageRef
    from clipcli.models.specs import Activation


# Of a label in a message: enough to know it by.
_SHOWN_COLUMNS = 40


@dataclass(frozen=True, eq=False)
class ZeroShotHead:
    """The labels' embeddings and how a model turns cosines into probabilities.

    Attributes:
        labels: L names.
        embeddings: shape (L, embed_dim), unit rows.
        logit_scale: multiplies the cosines.
        logit_bias: is added to them; one number, or one for each label.
        activation: `softmax` (which of these?) or `sigmoid` (each on its own).
        alike: groups of labels that are one text to the model.
        doubt_below: the cosine below which no label fits well; None where it is not known.
        thresholds: the cosine from which on each label fits, shape (L,), where several may; None
            where one is the answer.
    """

    labels: tuple[str, ...]
    embeddings: Float32
    logit_scale: float
    logit_bias: float | Float64
    activation: Activation
    alike: tuple[tuple[str, ...], ...] = ()
    doubt_below: float | None = None
    thresholds: Float64 | None = None

    def same_as(self, label: str) -> tuple[str, ...]:
        """A label and those that are the same text to the model."""
        return next((group for group in self.alike if label in group), (label,))

    def at_temperature(self, temperature: float) -> ZeroShotHead:
        """The same labels with all logits divided by a temperature (Guo et al. 2017, 4.2)."""
        return replace(
            self,
            logit_scale=self.logit_scale / temperature,
            logit_bias=self.logit_bias / temperature,
        )

    def multi_label(self, thresholds: Float64) -> ZeroShotHead:
        """The same labels, each judged on its own: several may fit, or none.

        A label's probability is the sigmoid of what its cosine is above its threshold, times the
        scale: one half at the threshold.

        Args:
            thresholds: cosines, shape (L,).
        """
        bias = -self.logit_scale * thresholds
        return replace(self, activation="sigmoid", logit_bias=bias, thresholds=thresholds)

    @cached_property
    def _cosines(self) -> Cosines:
        # Once for all images: of many labels this takes longer than a batch of images.
        return Cosines(self.embeddings)

    def similarities(self, image_embeddings: Float32) -> Float64:
        """Cosines, shape (n, L), of unit image embeddings, shape (n, embed_dim).

        Each depends on its image and its label alone, to the last digit: see `Cosines`.
        """
        return self._cosines.of(image_embeddings)

    def compare(self, image_embeddings: Float32) -> tuple[Float64, Float64]:
        """Cosines, and what logits are made of: here the same, shape (n, L)."""
        cosines = self.similarities(image_embeddings)
        return cosines, cosines

    def probabilities(self, products: Float64) -> Float64:
        """Probabilities, of the shape of the cosines, or of an adapter's products.

        The logits are `logit_scale * cosine + logit_bias`; softmax as in CLIP (Radford et al.
        2021, section 3.1.2), sigmoid as in SigLIP (Zhai et al. 2023, section 3.2).
        """
        logits = self.logit_scale * products + self.logit_bias
        if self.activation == "sigmoid":
            return sigmoid(logits)
        return softmax(logits)

    def score(
        self, refs: Sequence[ImageRef], image_embeddings: Float32, options: ScoreOptions
    ) -> ScoredBlock:
        """Score images whose unit embeddings are the rows of an array.

        Returns:
            One prediction for each image.
        """
        return self.pick(refs, *self.compare(image_embeddings), options)

    def pick(
        self,
        refs: Sequence[ImageRef],
        cosines: Float64,
        products: Float64,
        options: ScoreOptions,
    ) -> ScoredBlock:
        """The best labels of images.

        Args:
            refs: n images.
            cosines: with all labels, shape (n, L).
            products: what logits are made of, shape (n, L).
            options: what is kept.
        """
        margins = None if self.thresholds is None else cosines - self.thresholds
        # By the product: far from the best, probabilities round to equal zeros.
        ranked = products if margins is None else margins
        places = best_places(ranked, options.top_k or len(self.labels))
        shares = np.take_along_axis(self.probabilities(products), places, axis=1)
        cosines = np.take_along_axis(cosines, places, axis=1)
        best = cosines[:, 0]
        is_known = (shares[:, 0] >= options.min_probability) & (best >= options.min_similarity)
        if margins is not None:
            is_known &= margins.max(axis=1) >= 0
        # Whoever says what similarity is wanted needs no doubt.
        doubt_below = (
            None if options.min_similarity > -1 or margins is not None else self.doubt_below
        )
        is_doubtful = is_known & (best < (-np.inf if doubt_below is None else doubt_below))
        return ScoredBlock(
            refs, self.labels, places, shares, cosines, is_known, is_doubtful, margins=margins
        )


def build_head(
    engine: Engine,
    labels: LabelSet,
    cache: TextCache | None = None,
    *,
    several_may_fit: bool = False,
) -> ZeroShotHead:
    """Encode labels into a zero-shot head.

    The prompts of a label are encoded, normalised, averaged over its templates and normalised
    again, as in OpenAI's notebook and open_clip's `build_zero_shot_classifier`.

    Args:
        engine: the model.
        labels: L labels and their templates.
        cache: where embeddings of earlier runs are looked for, and new ones are kept.
        several_may_fit: each label will be judged on its own.

    Raises:
        UsageError: one label under softmax, or a text that cannot be tokenised.
    """
    info = engine.info
    activation = "sigmoid" if several_may_fit else info.activation
    labels.check_alternatives(activation)
    embeddings = text_embeddings(engine, labels, cache)
    alike = labels_alike(engine, labels.names, labels.prompts(), embeddings)
    places = {name: place for place, name in enumerate(labels.names)}
    for first, *others in alike:
        # Then they tie, and the first one named wins.
        embeddings[[places[name] for name in others]] = embeddings[places[first]]
    if activation == "softmax":
        _warn_of_alike(alike)
    return ZeroShotHead(
        labels.names,
        embeddings,
        info.logit_scale,
        info.logit_bias,
        info.activation,
        alike,
        info.doubt_below,
    )


def text_embeddings(engine: Engine, labels: LabelSet, cache: TextCache | None = None) -> Float32:
    """A unit row for each label: its prompts' embeddings, averaged; shape (L, embed_dim).

    Raises:
        UsageError: a text cannot be tokenised.
    """
    info = engine.info
    embeddings = np.empty((len(labels.names), info.embed_dim), np.float32)
    encoder = PromptEncoder(engine, cache)
    for place, rows in enumerate(encoder.rows(labels.prompts())):
        embeddings[place] = rows[0] if len(rows) == 1 else normalise(rows.mean(axis=0))
    warn_of_cut(encoder.cut, info.context_length)
    return embeddings


def _warn_of_alike(groups: tuple[tuple[str, ...], ...]) -> None:
    if groups:
        first = " and ".join(repr(shortened(printable(name), _SHOWN_COLUMNS)) for name in groups[0])
        more = f" (and {len(groups) - 1} more such groups)" if len(groups) > 1 else ""
        message = f"{first}{more} are the same text to this model and share its probability"
        warnings.warn(f"{message}: keep one of them", ClipcliWarning, stacklevel=3)


def products_of(images: Float32, rows: Float32) -> Float64:
    """Products of rows, shapes (n, d) and (L, d), as (n, L).

    Each is summed by itself, in double precision: a matrix product's last digits depend on its
    shape, so that equal labels would not tie, nor a row be the same in other company.
    """
    products: Float64 = np.einsum("nd,ld->nl", images.astype(np.float64), rows.astype(np.float64))
    return products


def normalise(embeddings: Float32) -> Float32:
    """Rows scaled to length 1."""
    unit: Float32 = embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)
    return unit


def softmax(logits: Float64) -> Float64:
    """Softmax over the last axis; the largest logit is taken off first, so nothing overflows."""
    # The same shares, since a common factor cancels.
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Float64 = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def sigmoid(logits: Float64) -> Float64:
    """1 / (1 + exp(-x)), by way of tanh, which does not overflow."""
    shares: Float64 = 0.5 * (1 + np.tanh(0.5 * logits))
    return shares
