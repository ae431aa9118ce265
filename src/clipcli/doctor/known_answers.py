"""Known answers: images whose probabilities under a model are on record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli.assets import asset
from clipcli.heads.labels import LabelSet

if TYPE_CHECKING:
    from clipcli.engines.base import Engine

CHECK_PHOTOS = asset("check")
"""Where the bundled model's images are."""

# Some were published from half precision, whose steps between 16 and 32 are 1/64.
_LOGIT_TOLERANCE = 0.02


@dataclass(frozen=True)
class KnownAnswer:
    """One image with its best labels under one model.

    Attributes:
        model: the model's name.
        image: file name.
        origin: where the image comes from.
        labels: all that were to choose from.
        best: the best of them, best first.
        probabilities: of the best labels.
        tolerance: of the probabilities. Some were published with few digits, or computed in half
            precision, or with the decoder of another library.
        template: of the prompts.
        logits: of the best labels, as far as they were published.
    """

    model: str
    image: str
    origin: str
    labels: tuple[str, ...]
    best: tuple[str, ...]
    probabilities: tuple[float, ...]
    tolerance: float
    template: str = "{}"
    logits: tuple[float, ...] = ()


def known_answers() -> list[KnownAnswer]:
    """All that are on record: clipcli's own of the bundled model, and published ones."""
    records = json.loads(asset("known_answers.json").read_text(encoding="utf-8"))
    sequences = ("labels", "best", "probabilities", "logits")
    return [
        KnownAnswer(**{**record, **{name: tuple(record.get(name, ())) for name in sequences}})
        for record in records
    ]


def disagreements(engine: Engine, answers: Sequence[KnownAnswer], folder: Path) -> list[str]:
    """Where an engine answers otherwise than is on record, a line for each image.

    Args:
        engine: of the answers' model.
        answers: of images that are in the folder.
        folder: of the images.
    """
    found = ((answer.image, _disagreement(engine, answer, folder)) for answer in answers)
    return [f"{image}: {difference}" for image, difference in found if difference]


def _disagreement(engine: Engine, answer: KnownAnswer, folder: Path) -> str:
    """What differs, or an empty text."""
    probabilities, cosines = _scores(engine, answer, folder)
    logits = {label: engine.info.logit_scale * cosine for label, cosine in cosines.items()}
    # Not `>`, which NaN would pass.
    differences = [
        f"{label!r} has {probabilities[label]:.5f} and should have {expected:.5f}"
        for label, expected in zip(answer.best, answer.probabilities, strict=True)
        if not abs(probabilities[label] - expected) <= answer.tolerance
    ]
    differences += [
        f"{label!r} has the logit {logits[label]:.4f} and should have {expected:.4f}"
        for label, expected in zip(answer.best, answer.logits, strict=False)
        if not abs(logits[label] - expected) <= _LOGIT_TOLERANCE
    ]
    # By cosine, since published probabilities of 1, 0, 0 tell no order.
    best = tuple(sorted(cosines, key=lambda label: -cosines[label])[: len(answer.best)])
    if not differences and best != answer.best:
        differences = [f"the order is {', '.join(best)} and should be {', '.join(answer.best)}"]
    return "; ".join(differences)


def _scores(
    engine: Engine, answer: KnownAnswer, folder: Path
) -> tuple[dict[str, float], dict[str, float]]:
    """Label -> probability, and label -> cosine, of an answer's image."""
    from clipcli.heads.zero_shot import build_head
    from clipcli.images.decoding import decode
    from clipcli.images.options import ImageOptions

    head = build_head(engine, LabelSet(answer.labels, (answer.template,)))
    # The published answers were computed with open_clip's own transform, or OpenAI's.
    data = (folder / answer.image).read_bytes()
    pixels = decode(data, engine.info.preprocess, ImageOptions(reference=True))
    cosines = head.similarities(engine.encode_images(pixels[None]))
    (shares,) = head.probabilities(cosines).tolist()
    return (
        dict(zip(answer.labels, shares, strict=True)),
        dict(zip(answer.labels, cosines[0].tolist(), strict=True)),
    )
