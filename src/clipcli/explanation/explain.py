"""Where in a picture an answer comes from: a map for each label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clipcli.arrays import Float32, Float64
from clipcli.engines.base import Differentiable
from clipcli.errors import UsageError
from clipcli.explanation.occlusion import occlusion_maps
from clipcli.explanation.options import ExplainOptions
from clipcli.heads.results import Prediction, ScoreOptions
from clipcli.heads.zero_shot import ZeroShotHead
from clipcli.images.decoding import as_seen, prepare
from clipcli.images.sources import ImageRef
from clipcli.images.views import View
from clipcli.runs.pipeline import unusable

if TYPE_CHECKING:
    from clipcli.engines.base import Engine

FAINTEST = 0.15
"""Below this share of the brightest value there is more noise than heat."""


@dataclass(frozen=True, eq=False)
class HeatMap:
    """Where one label's score comes from.

    Attributes:
        label: as the user gave it.
        probability: of the label.
        values: shape (rows, columns), over the view; above 0 what speaks for the label, below
            what speaks against it. By occlusion in logits, by gradients without a unit.
        highest: the value that is drawn brightest; 0 where nothing speaks for any label.
    """

    label: str
    probability: float
    values: Float64
    highest: float

    def shares(self, values: Float64) -> Float64:
        """Values of the map as shares of the brightest, 0..1."""
        return np.clip(values / self.highest, 0, 1) if self.highest > 0 else np.zeros_like(values)

    @property
    def is_empty(self) -> bool:
        """Whether nothing in the picture speaks for the label, or too little to be seen."""
        return float(self.shares(self.values).max()) < FAINTEST


@dataclass(frozen=True, eq=False)
class Explanation:
    """One answer, and where it comes from.

    Attributes:
        prediction: the answer, with all labels.
        picture: the image, as a viewer shows it, RGB.
        view: the part of the picture that the model sees.
        maps: of the best labels, in the prediction's order.
    """

    prediction: Prediction
    picture: Image.Image
    view: View
    maps: tuple[HeatMap, ...]


def explain(
    ref: ImageRef, image: Image.Image, engine: Engine, head: ZeroShotHead, options: ExplainOptions
) -> Explanation:
    """Classify an image, and map where the best labels' scores come from.

    Args:
        ref: what the image is called.
        image: as it was opened.
        engine: the model.
        head: the labels.
        options: how.

    Raises:
        InputError: the image cannot be prepared, or its embedding is not finite.
        UsageError: the engine or the model has no gradients.
    """
    config = engine.info.preprocess.fitted(options.images.fit)
    prepared = prepare(image, config, options.images)
    pixels = prepared.pixels
    prediction = _classified(ref, pixels, engine, head).at(prepared.sight)
    # By name: the prediction is best first, the head in the user's order.
    labels = [score.label for score in prediction.scores[: options.top_k]]
    rows = directions(head)[[head.labels.index(label) for label in labels]]
    if options.method == "gradient":
        maps = _gradient_maps(engine, pixels, rows)
    else:
        maps = occlusion_maps(engine, pixels, rows, options.grid, options.batch_size)
    # The map is of what the model saw, which is upright unless the reference's transform is asked.
    shown = image.convert("RGB") if options.images.reference else as_seen(image)
    return Explanation(
        prediction,
        shown,
        View.of(shown.size, config),
        tuple(
            HeatMap(
                score.label,
                score.probability,
                values,
                max(0.0, float((values if options.each_scale else maps).max())),
            )
            for score, values in zip(prediction.scores, maps, strict=False)
        ),
    )


def directions(head: ZeroShotHead) -> Float64:
    """For each label, the direction in which an embedding's score for it grows, (L, embed_dim).

    The score that is explained is the label's logit less the mean of the other labels' logits:
    what is covered lowers every label's cosine, and only the difference decides between them. A
    model with sigmoid judges each label on its own; there it is the logit.
    """
    texts = head.logit_scale * head.embeddings.astype(np.float64)
    if head.activation == "sigmoid":
        return texts
    # t - (sum - t) / (n - 1) is (t - mean) n / (n - 1).
    count = len(texts)
    contrasted: Float64 = (texts - texts.mean(axis=0)) * (count / (count - 1))
    return contrasted


def _classified(ref: ImageRef, pixels: Float32, engine: Engine, head: ZeroShotHead) -> Prediction:
    # The same arithmetic as `classify`, in a batch of one.
    rows = engine.encode_images(pixels[None])
    for error in unusable(rows).values():
        raise error
    return head.score([ref], rows, ScoreOptions()).prediction(0)


def _gradient_maps(engine: Engine, pixels: Float32, rows: Float64) -> Float64:
    if not isinstance(engine, Differentiable):
        raise UsageError("--method gradient runs in torch only: add --engine torch")
    return engine.gradient_maps(pixels, rows.astype(np.float32)).astype(np.float64)
