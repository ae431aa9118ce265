"""LoRA on the bundled model, beside zero-shot and the probe, on scikit-learn's digits as pictures.

    python -m benchmarks.lora [--shots 8] [--seeds 3] [--steps 80] [--learning-rate 2e-4] [--last N]

A row for each seed: accuracy on 300 digits that nothing was fitted on, and the time of a step.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from clipcli.adaptation.folds import stratified_folds
from clipcli.adaptation.lora_options import LoraOptions
from clipcli.adaptation.material import Material
from clipcli.adaptation.options import AdaptOptions
from clipcli.adaptation.probe import Scale
from clipcli.adaptation.probing import fit as fit_probe
from clipcli.adaptation.torch.lora import Examples, train_lora
from clipcli.arrays import Float32, Int64
from clipcli.engines.base import EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.heads.labels import LabelSet
from clipcli.heads.zero_shot import build_head
from clipcli.images.decoding import preprocess
from clipcli.images.options import ImageOptions
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest

if TYPE_CHECKING:
    from clipcli.engines.base import Engine

_DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_LABELS = LabelSet(tuple(f"the digit {name}" for name in _DIGITS))
_TESTED = 30  # of each digit
_AT_ONCE = 32


def _picture(values: Any) -> Image.Image:  # noqa: ANN401
    grey = Image.fromarray((values * 255 / 16).round().astype(np.uint8))
    return grey.convert("RGB").resize((128, 128), Image.Resampling.BICUBIC)


def _embedded(engine: Engine, pictures: list[Image.Image]) -> Float32:
    config, options = engine.info.preprocess, ImageOptions()
    pixels = [preprocess(picture, config, options) for picture in pictures]
    parts = [pixels[start : start + _AT_ONCE] for start in range(0, len(pixels), _AT_ONCE)]
    return np.concatenate([engine.encode_images(np.stack(part)) for part in parts])


class _Set:
    """Some digits, as pictures.

    Args:
        places: in scikit-learn's set.
    """

    def __init__(self, digits: Any, places: Int64) -> None:  # noqa: ANN401
        self.pictures = [_picture(values) for values in digits.images[places]]
        self.truth: Int64 = digits.target[places].astype(np.int64)

    def accuracies(self, engine: Engine, taught: _Set) -> tuple[float, float]:
        """Of a model by the labels' texts alone, and by a probe that was fitted on other digits."""
        head = build_head(engine, _LABELS)
        scale = Scale(head.logit_scale, float(head.logit_bias), head.activation)
        rows, known = _embedded(engine, self.pictures), _embedded(engine, taught.pictures)
        folds = stratified_folds(taught.truth, np.arange(len(known)), 0)
        material = Material(_LABELS, head.embeddings, scale, [], [], taught.truth, known, folds)
        weights = fit_probe(material, AdaptOptions(), lambda _line: None).tensors["weights"]
        plain, probed = (scale.logits(rows, each) for each in (head.embeddings, weights))
        return self._right(plain), self._right(probed)

    def _right(self, logits: Any) -> float:  # noqa: ANN401
        return float((logits.argmax(axis=1) == self.truth).mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind, default in (("shots", int, 8), ("seeds", int, 3), ("steps", int, 80)):
        parser.add_argument(f"--{name}", type=kind, default=default)
    parser.add_argument("--learning-rate", type=float, default=LoraOptions().learning_rate)
    parser.add_argument("--last", type=int)
    asked = parser.parse_args()
    digits, model = load_digits(), resolve_model(ModelRequest("tiny"))
    engine: Any = load_engine(model, EngineOptions("cpu", engine="torch"))
    by_class = [np.flatnonzero(digits.target == digit) for digit in range(len(_DIGITS))]
    tested = _Set(digits, np.concatenate([places[-_TESTED:] for places in by_class]))
    print(
        "| seed | zero-shot | probe | LoRA | LoRA and probe | s a step |\n|---|---|---|---|---|---|"
    )
    for seed in range(asked.seeds):
        random = np.random.default_rng(seed)
        drawn = [random.permutation(places[:-_TESTED])[: asked.shots] for places in by_class]
        taught = _Set(digits, np.concatenate(drawn))
        examples = Examples(
            taught.pictures, taught.truth.tolist(), _LABELS, build_head(engine, _LABELS)
        )
        options = LoraOptions(
            steps=asked.steps, last=asked.last, learning_rate=asked.learning_rate, seed=seed
        )
        lora = train_lora(engine, examples, options)
        assert lora is not None
        before = tested.accuracies(engine, taught)
        after = tested.accuracies(engine.adapted(lora.weights, lora.scale), taught)
        cells = [f"{value:.3f}" for value in (*before, *after)]
        print(
            "|", seed, "|", " | ".join(cells), f"| {lora.seconds / asked.steps:.2f} |", flush=True
        )


if __name__ == "__main__":
    main()
