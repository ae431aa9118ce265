"""From embeddings to answers: the zero-shot head, scores, ties, `Prediction` and `Failure`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from clipcli.arrays import Float32, Float64, Int64
from clipcli.engines.prompts import warn_of_cut
from clipcli.errors import ClipcliWarning
from clipcli.heads.alike import labels_alike
from clipcli.heads.labels import LabelSet
from clipcli.heads.prompt_encoder import PromptEncoder
from clipcli.heads.results import LabelScore, Prediction, ScoreOptions
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
        logit_bias: is added to them.
        activation: `softmax` (which of these?) or `sigmoid` (each on its own).
        alike: groups of labels that are one text to the model.
        doubt_below: the cosine below which no label fits well; None where it is not known.
    """

    labels: tuple[str, ...]
    embeddings: Float32
    logit_scale: float
    logit_bias: float
    activation: Activation
    alike: tuple[tuple[str, ...], ...] = ()
    doubt_below: float | None = None

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

    def similarities(self, image_embeddings: Float32) -> Float64:
        """Cosines, shape (n, L), of unit image embeddings, shape (n, embed_dim)."""
        return products_of(image_embeddings, self.embeddings)

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
    ) -> Iterator[Prediction]:
        """Score images whose unit embeddings are the rows of an array.

        Yields:
            One prediction for each image.
        """
        similarities, products = self.compare(image_embeddings)
        # By the product: far from the best, probabilities round to equal zeros.
        orders = np.argsort(-products, axis=1, kind="stable")[:, : options.top_k]
        probabilities = self.probabilities(products)
        rows = zip(refs, similarities, probabilities, orders, strict=True)
        for ref, cosines, shares, order in rows:
            yield self._prediction(ref, cosines[order], shares[order], order, options)

    def _prediction(
        self,
        ref: ImageRef,
        cosines: Float64,
        shares: Float64,
        order: Int64,
        options: ScoreOptions,
    ) -> Prediction:
        scores = tuple(
            LabelScore(self.labels[label], float(share), float(cosine))
            for label, share, cosine in zip(order, shares, cosines, strict=True)
        )
        answer = scores[0].label if options.is_known(scores[0]) else None
        doubt = answer is not None and options.min_similarity <= -1 and self._doubts(scores[0])
        return Prediction(ref.index, ref.name, scores, answer, doubt)

    def _doubts(self, best: LabelScore) -> bool:
        return self.doubt_below is not None and best.similarity < self.doubt_below


def build_head(engine: Engine, labels: LabelSet, cache: TextCache | None = None) -> ZeroShotHead:
    """Encode labels into a zero-shot head.

    The prompts of a label are encoded, normalised, averaged over its templates and normalised
    again, as in OpenAI's notebook and open_clip's `build_zero_shot_classifier`.

    Args:
        engine: the model.
        labels: L labels and their templates.
        cache: where embeddings of earlier runs are looked for, and new ones are kept.

    Raises:
        UsageError: one label under softmax, or a text that cannot be tokenised.
    """
    info = engine.info
    labels.check_alternatives(info.activation)
    embeddings = np.empty((len(labels.names), info.embed_dim), np.float32)
    encoder = PromptEncoder(engine, cache)
    prompts = labels.prompts()
    for place, rows in enumerate(encoder.rows(prompts)):
        embeddings[place] = rows[0] if len(rows) == 1 else normalise(rows.mean(axis=0))
    warn_of_cut(encoder.cut, info.context_length)
    alike = labels_alike(engine, labels.names, prompts, embeddings)
    places = {name: place for place, name in enumerate(labels.names)}
    for first, *others in alike:
        # Then they tie, and the first one named wins.
        embeddings[[places[name] for name in others]] = embeddings[places[first]]
    if info.activation == "softmax":
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
