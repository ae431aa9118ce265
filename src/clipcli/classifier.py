"""From embeddings to answers: the zero-shot head, scores, ties, `Prediction` and `Failure`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipcli.errors import ClipcliWarning, FailureCode, InputError, UsageError
from clipcli.labels import LabelSet

if TYPE_CHECKING:
    from clipcli.cache import TextCache
    from clipcli.engines.base import Engine, ModelInfo
    from clipcli.models import Activation
    from clipcli.sources import ImageRef

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_PROMPTS_AT_ONCE = 64
_UNIT_TOLERANCE = 1e-3  # of a squared length, after rounding to half precision


@dataclass(frozen=True)
class LabelScore:
    """How well one label fits one image.

    Attributes:
        label: as the user gave it.
        probability: in 0..1; over all labels they add up to 1 under softmax, not under sigmoid.
        similarity: cosine of the image's and the label's embeddings, in -1..1.
    """

    label: str
    probability: float
    similarity: float


@dataclass(frozen=True)
class Prediction:
    """One image, scored.

    Attributes:
        index: position in the input order, from 0.
        name: the input as the user gave it.
        scores: best first; of equal labels the one named first comes first.
        answer: the best label, or None where its probability is below the wanted minimum.
    """

    index: int
    name: str
    scores: tuple[LabelScore, ...]
    answer: str | None

    @property
    def best(self) -> LabelScore:
        """The best label with its score, whether or not it is the answer."""
        return self.scores[0]


@dataclass(frozen=True)
class Failure:
    """One image that could not be classified.

    Attributes:
        index: position in the input order, from 0.
        name: the input as the user gave it.
        code: what kind of failure it is.
        message: the reason and, where there is one, the way out.
    """

    index: int
    name: str
    code: FailureCode
    message: str

    @classmethod
    def of(cls, ref: ImageRef, error: InputError) -> Failure:
        """The failure of one image to be read or used."""
        return cls(ref.index, ref.name, error.code, error.message)


Result = Prediction | Failure


@dataclass(frozen=True)
class ScoreOptions:
    """What of the scores is kept, and when the answer is `unknown`.

    Attributes:
        top_k: how many labels a prediction holds; None for all.
        min_probability: below it the answer is unknown.
    """

    top_k: int | None = None
    min_probability: float = 0.0


@dataclass(frozen=True, eq=False)
class ZeroShotHead:
    """The labels' embeddings and how a model turns cosines into probabilities.

    Attributes:
        labels: L names.
        embeddings: shape (L, embed_dim), unit rows.
        logit_scale: multiplies the cosines.
        logit_bias: is added to them.
        activation: `softmax` (which of these?) or `sigmoid` (each on its own).
    """

    labels: tuple[str, ...]
    embeddings: Float32
    logit_scale: float
    logit_bias: float
    activation: Activation

    def similarities(self, image_embeddings: Float32) -> Float64:
        """Cosines, shape (n, L), of unit image embeddings, shape (n, embed_dim).

        In double precision, so that a row does not depend on the rows beside it.
        """
        product: Float64 = image_embeddings.astype(np.float64) @ self.embeddings.T.astype(
            np.float64
        )
        return product

    def probabilities(self, similarities: Float64) -> Float64:
        """Probabilities, of the shape of the cosines.

        The logits are `logit_scale * cosine + logit_bias`; softmax as in CLIP (Radford et al.
        2021, section 3.1.2), sigmoid as in SigLIP (Zhai et al. 2023, section 3.2).
        """
        logits = self.logit_scale * similarities + self.logit_bias
        if self.activation == "sigmoid":
            return sigmoid(logits)
        return softmax(logits)

    def score(
        self, refs: Sequence[ImageRef], image_embeddings: Float32, options: ScoreOptions
    ) -> Iterator[Result]:
        """Score images whose unit embeddings are the rows of an array.

        Yields:
            One result for each image; a `Failure` where its embedding is not finite.
        """
        similarities = self.similarities(image_embeddings)
        probabilities = self.probabilities(similarities)
        for ref, cosines, shares in zip(refs, similarities, probabilities, strict=True):
            if not np.isfinite(cosines).all():
                error = InputError(
                    FailureCode.NOT_FINITE, "the model's embedding of this image is not finite"
                )
                yield Failure.of(ref, error)
                continue
            yield self._prediction(ref, cosines, shares, options)

    def _prediction(
        self, ref: ImageRef, cosines: Float64, shares: Float64, options: ScoreOptions
    ) -> Prediction:
        order = np.argsort(-cosines, kind="stable")[: options.top_k]
        scores = tuple(
            LabelScore(self.labels[label], float(shares[label]), float(cosines[label]))
            for label in order
        )
        known = scores[0].probability >= options.min_probability
        return Prediction(ref.index, ref.name, scores, scores[0].label if known else None)


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
    prompts = labels.prompts()
    known = _usable(cache.read(info.fingerprint, prompts), info) if cache else {}
    missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in known]
    if missing:
        new = dict(zip(missing, encode_prompts(engine, missing), strict=True))
        known |= new
        if cache:
            cache.write(info.fingerprint, new)
    rows = np.stack([known[prompt] for prompt in prompts])
    by_label = rows.reshape(len(labels.names), len(labels.templates), -1)
    embeddings = by_label[:, 0] if len(labels.templates) == 1 else normalise(by_label.mean(axis=1))
    return ZeroShotHead(
        labels.names, embeddings, info.logit_scale, info.logit_bias, info.activation
    )


def _usable(found: dict[str, Float32], info: ModelInfo) -> dict[str, Float32]:
    """What a cache gave back, without rows that cannot be this model's."""
    return {
        prompt: row
        for prompt, row in found.items()
        if row.shape == (info.embed_dim,) and abs(float(row @ row) - 1) < _UNIT_TOLERANCE
    }


def encode_prompts(engine: Engine, prompts: Sequence[str]) -> Float32:
    """Embed texts: unit rows of shape (n, embed_dim).

    Where a model's text tower is causal and takes the embedding at the end-of-text token,
    positions after it change nothing: prompts are sorted by length, and each batch is cut to its
    longest. Other models get their whole context.

    Raises:
        UsageError: a text cannot be tokenised.
    """
    try:
        tokens = engine.tokenize(prompts)
    except ValueError as error:
        raise UsageError(f"a label cannot be read: {error}") from error
    for position in tokens.truncated:
        length = engine.info.context_length
        message = f"only the first {length} tokens of this prompt count: {prompts[position]!r}"
        warnings.warn(message, ClipcliWarning, stacklevel=2)
    order = np.argsort(tokens.lengths, kind="stable")
    embeddings = np.empty((len(prompts), engine.info.embed_dim), np.float32)
    for start in range(0, len(order), _PROMPTS_AT_ONCE):
        batch = order[start : start + _PROMPTS_AT_ONCE]
        ids = tokens.ids[batch]
        if engine.info.short_context:
            ids = ids[:, : tokens.lengths[batch].max()]
        embeddings[batch] = engine.encode_tokens(np.ascontiguousarray(ids))
    return embeddings


def normalise(embeddings: Float32) -> Float32:
    """Rows scaled to length 1."""
    unit: Float32 = embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)
    return unit


def softmax(logits: Float64) -> Float64:
    """Softmax over the last axis; the largest logit is taken off first, so nothing overflows."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Float64 = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def sigmoid(logits: Float64) -> Float64:
    """1 / (1 + exp(-x)), by way of tanh, which does not overflow."""
    shares: Float64 = 0.5 * (1 + np.tanh(0.5 * logits))
    return shares
