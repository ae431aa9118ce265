"""From embeddings to answers: the zero-shot head, scores, ties, `Prediction` and `Failure`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clipcli.arrays import Float32, Float64
from clipcli.engines.prompts import encode_truncating
from clipcli.errors import ModelError
from clipcli.heads.labels import LabelSet
from clipcli.heads.results import LabelScore, Prediction, ScoreOptions

if TYPE_CHECKING:
    from clipcli.engines.base import Engine
    from clipcli.heads.text_cache import TextCache
    from clipcli.images.sources import ImageRef
    from clipcli.models.specs import Activation


_PROMPTS_IN_MEMORY = 4096


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

        Each is summed by itself, in double precision: a matrix product's last digits depend on
        its shape, so that equal labels would not tie, nor a row be the same in other company.
        """
        images, texts = image_embeddings.astype(np.float64), self.embeddings.astype(np.float64)
        cosines: Float64 = np.einsum("nd,ld->nl", images, texts)
        return cosines

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
    ) -> Iterator[Prediction]:
        """Score images whose unit embeddings are the rows of an array.

        Yields:
            One prediction for each image.
        """
        similarities = self.similarities(image_embeddings)
        probabilities = self.probabilities(similarities)
        for ref, cosines, shares in zip(refs, similarities, probabilities, strict=True):
            yield self._prediction(ref, cosines, shares, options)

    def _prediction(
        self, ref: ImageRef, cosines: Float64, shares: Float64, options: ScoreOptions
    ) -> Prediction:
        # By the cosine: far from the best, probabilities round to equal zeros.
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
    templates, prompts = len(labels.templates), labels.prompts()
    embeddings = np.empty((len(labels.names), info.embed_dim), np.float32)
    # A thousand labels in eighty templates would be 160 MB at once, and as much in one write.
    at_once = max(1, _PROMPTS_IN_MEMORY // templates)
    for start in range(0, len(embeddings), at_once):
        part = slice(start, start + at_once)
        rows = _embed(engine, prompts[start * templates : part.stop * templates], cache)
        by_label = rows.reshape(-1, templates, info.embed_dim)
        embeddings[part] = by_label[:, 0] if templates == 1 else normalise(by_label.mean(axis=1))
    return ZeroShotHead(
        labels.names, embeddings, info.logit_scale, info.logit_bias, info.activation
    )


def _embed(engine: Engine, prompts: Sequence[str], cache: TextCache | None) -> Float32:
    """Unit rows of prompts, from the cache where it knows them; what is new goes into it."""
    info = engine.info
    known = cache.read(info.fingerprint, prompts, info.embed_dim) if cache else {}
    missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in known]
    if missing:
        embeddings, cut = encode_truncating(engine, missing)
        # Before any of it is kept: not the images' fault, and not one label's alone.
        if not np.isfinite(embeddings).all():
            raise ModelError(
                f"{info.name} cannot be used: its embeddings of texts are not finite; the"
                " checkpoint is damaged, or its training went wrong"
            )
        new = dict(zip(missing, embeddings, strict=True))
        if cache:
            # A prompt that was cut is encoded anew each time, so that each run warns of it.
            kept = {prompt: row for prompt, row in new.items() if prompt not in cut}
            cache.write(info.fingerprint, kept)
        known |= new
    return np.stack([known[prompt] for prompt in prompts])


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
