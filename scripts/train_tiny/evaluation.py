"""How often the model is right about pictures it was not trained on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from open_clip import CLIP
from torch import Tensor
from torch.nn.functional import normalize

from scripts.train_tiny import text_tower
from scripts.train_tiny.concepts import Names
from scripts.train_tiny.pictures import SIDE, Pictures
from scripts.train_tiny.pixels import network_input
from scripts.train_tiny.templates import EVALUATION_TEMPLATE
from scripts.train_tiny.vocabulary import BASE_COUNT, TINY_IMAGENET_COUNT

BATCH = 500
LABELS = {
    "Tiny ImageNet": range(TINY_IMAGENET_COUNT),
    "CIFAR-10": range(TINY_IMAGENET_COUNT, BASE_COUNT),
}


class Accuracy(NamedTuple):
    """The shares of pictures whose own label is the best, and among the five best."""

    top1: float
    top5: float

    def __str__(self) -> str:
        return f"{self.top1:.2%} (top-5 {self.top5:.2%})"


def evaluate(
    model: CLIP, pictures: Pictures, classes: Sequence[Names], at_most: int | None = None
) -> dict[str, Accuracy]:
    """Return the model's zero-shot accuracy on each data set, and leave it in evaluation mode.

    Args:
        model: The model to evaluate.
        pictures: The validation pictures of Tiny ImageNet and CIFAR-10.
        classes: Their classes' names.
        at_most: Evaluate only about as many pictures of each data set, evenly spread.
    """
    model.eval()
    return {
        name: _accuracy(
            model, _part(pictures, labels, at_most), classes[labels.start : labels.stop]
        )
        for name, labels in LABELS.items()
    }


def _part(pictures: Pictures, labels: range, at_most: int | None) -> Pictures:
    """Return the pictures with these labels, counted from the first of them."""
    rows = np.flatnonzero((pictures.labels >= labels.start) & (pictures.labels < labels.stop))
    if at_most is not None:
        rows = rows[:: max(1, len(rows) // at_most)]
    return Pictures(pictures.images[rows], pictures.labels[rows] - labels.start)


@torch.no_grad()
def _accuracy(model: CLIP, pictures: Pictures, classes: Sequence[Names]) -> Accuracy:
    names = [own for own, *_ in classes]
    texts = text_tower.encode(model, [EVALUATION_TEMPLATE.format(name) for name in names])
    hits = torch.zeros(2)
    for start in range(0, len(pictures), BATCH):
        part = slice(start, start + BATCH)
        embeddings = normalize(
            model.encode_image(network_input(pictures.images[part], SIDE)), dim=-1
        )
        hits += _hits(embeddings @ texts.T, torch.from_numpy(pictures.labels[part]))
    top1, top5 = (hits / len(pictures)).tolist()
    return Accuracy(top1, top5)


def _hits(similarities: Tensor, labels: Tensor) -> Tensor:
    """Count the pictures whose label is the best, and among the five best: shape (2,)."""
    best = similarities.topk(5, dim=1).indices == labels[:, None]
    return torch.stack([best[:, 0].sum(), best.any(1).sum()])
