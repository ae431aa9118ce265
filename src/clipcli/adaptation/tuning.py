"""The method `lora`: the model itself changed a little, and checked on pictures held out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from clipcli.adaptation.augmentation import kept_picture
from clipcli.adaptation.folds import FOLDS, alike_groups, stratified_folds
from clipcli.adaptation.judgement import HeldOut
from clipcli.adaptation.material import Fitted, Material, Tell, Trainable
from clipcli.adaptation.options import AdaptOptions
from clipcli.adaptation.probing import fit as fit_probe
from clipcli.arrays import Float32, Float64, Int64
from clipcli.engines.base import Adaptable
from clipcli.errors import ClipcliWarning, UsageError
from clipcli.evaluation.encoding import encode_images
from clipcli.heads.adapters import LORA_PREFIX
from clipcli.heads.zero_shot import build_head
from clipcli.images.reading import read_picture

if TYPE_CHECKING:
    from PIL import Image

    from clipcli.adaptation.torch.lora import Estimate, TrainedLora
    from clipcli.engines.base import Engine
    from clipcli.heads.zero_shot import ZeroShotHead
    from clipcli.images.sources import ImageRef
    from clipcli.runs.options import PipelineOptions

_TOLD = 10  # times in a training


def fit(material: Material, options: AdaptOptions, tell: Tell) -> Fitted:
    """Train a LoRA: once without a fifth of the pictures, on which it is checked, then on all.

    Args:
        material: the pictures, with what is trained.
        options: how.
        tell: takes a line about how far it has come.

    Raises:
        UsageError: there is nothing that could be trained.
    """
    if material.trainable is None:
        raise UsageError("LoRA is trained on pictures, and there are only embeddings")
    folds, held_out = _folds(material, options)
    tuning = _Tuning(material, material.trainable, options, tell, trainings=len(held_out) + 1)
    adapted = np.empty((len(material.truth), len(material.labels.names)))
    for fold in held_out:
        assert folds is not None
        is_out = folds == fold
        tell(f"training without {is_out.sum():,} pictures, which are held out")
        tuned = tuning.tuned(np.flatnonzero(~is_out))
        pictures = tuned.embed(np.flatnonzero(is_out))
        adapted[is_out] = material.scale.logits(pictures, tuned.weights)
    tell(f"training on all {len(material.truth):,} pictures")
    tuned = tuning.tuned(np.arange(len(material.truth)))
    names = {f"{LORA_PREFIX}{name}": value for name, value in tuned.lora.weights.items()}
    return Fitted(
        {"weights": tuned.weights, **names},
        {**_hyperparameters(options), "steps": len(tuned.lora.losses), **tuned.probed},
        tuned.lora.parameters + (tuned.weights.size if options.head else 0),
        _where(tuned.lora.layers),
        _judged(material, folds, held_out, adapted),
        tuned.pictures,
        tuned.texts,
        len(held_out),
    )


def trainable(
    engine: Engine,
    head: ZeroShotHead,
    options: PipelineOptions,
    confirm: Callable[[float], None] = lambda _seconds: None,
) -> Trainable:
    """What a LoRA is trained on.

    Args:
        engine: the model, in torch and fp32.
        head: of the labels.
        options: how pictures are read.
        confirm: as in `Trainable`.

    Raises:
        UsageError: the engine cannot be trained.
    """
    if not isinstance(engine, Adaptable):
        raise UsageError("LoRA is trained in torch: use --engine torch")

    def read(ref: ImageRef) -> Image.Image:
        return read_picture(ref, options.images, options.fetch)

    def embed(engine: Engine, refs: Sequence[ImageRef]) -> Float32:
        numbered = [replace(ref, index=index) for index, ref in enumerate(refs)]
        encoded = encode_images(numbered, engine, options)
        for error in encoded.failures.values():
            raise error  # it could be read before
        return encoded.embeddings

    return Trainable(engine, head, read, embed, confirm)


def _folds(material: Material, options: AdaptOptions) -> tuple[Int64 | None, Sequence[int]]:
    """The fold of each picture, and which folds are held out, one after the other."""
    if material.folds is None:
        return None, ()
    groups, count = alike_groups(material.pictures, material.truth), options.folds or FOLDS
    folds = stratified_folds(material.truth, groups, options.seed, count)
    assert folds is not None
    return folds, range(int(folds.max()) + 1) if options.folds else (0,)


@dataclass(frozen=True, eq=False)
class _Tuned:
    """A model that was trained, and what it makes of the pictures that it was trained on.

    Attributes:
        lora: what was trained.
        embed: the pictures of some places as it sees them.
        pictures: those that it was trained on, shape (n, d).
        texts: the labels' embeddings, shape (L, d).
        weights: of the head, shape (L, d).
        probed: how these were fitted, where they were.
    """

    lora: TrainedLora
    embed: Callable[[Int64], Float32]
    pictures: Float32
    texts: Float32
    weights: Float32
    probed: Mapping[str, Any]


class _Tuning:
    """Trainings on parts of the pictures, which are read once."""

    def __init__(
        self,
        material: Material,
        trainable: Trainable,
        options: AdaptOptions,
        tell: Tell,
        *,
        trainings: int,
    ) -> None:
        self._material, self._trainable, self._options = material, trainable, options
        self._tell, self._left = tell, trainings
        config = trainable.engine.info.preprocess
        self._pictures: list[Image.Image] = [
            kept_picture(trainable.read(ref), config) for ref in material.refs
        ]
        self._is_confirmed = False

    def tuned(self, places: Int64) -> _Tuned:
        """Train on the pictures of some places."""
        lora = self._trained(places)
        self._left -= 1
        engine: Any = self._trainable.engine
        adapted: Engine = engine.adapted(lora.weights, lora.scale)
        refs = self._material.refs

        def embed(some: Int64) -> Float32:
            return self._trainable.embed(adapted, [refs[place] for place in some])

        with warnings.catch_warnings():
            # What there is to say of the labels has been said.
            warnings.simplefilter("ignore", ClipcliWarning)
            texts = build_head(adapted, self._material.labels).embeddings
        pictures = embed(places)
        is_probed = self._options.head
        weights, probed = self._probed(places, pictures, texts) if is_probed else (texts, {})
        return _Tuned(lora, embed, pictures, texts, weights, probed)

    def _trained(self, places: Int64) -> TrainedLora:
        # torch takes seconds to import, and is by now.
        from clipcli.adaptation.torch.lora import Examples, Watch, train_lora

        engine: Any = self._trainable.engine
        examples = Examples(
            [self._pictures[place] for place in places],
            self._material.truth[places].tolist(),
            self._material.labels,
            self._trainable.head,
        )
        options = replace(self._options.lora, seed=self._options.seed)
        trained = train_lora(engine, examples, options, Watch(self._progress, self._confirm))
        assert trained is not None  # who does not want it raises an error
        return trained

    def _progress(self, step: int, steps: int, loss: float, seconds: float) -> None:
        if step % max(1, steps // _TOLD) == 0:
            self._tell(f"step {step:,} of {steps:,}: loss {loss:.3f}, {seconds:.0f} s")

    def _confirm(self, estimate: Estimate) -> bool:
        if not self._is_confirmed:
            from clipcli.adaptation.torch.lora import TIMED_STEPS

            whole = estimate.steps_left + TIMED_STEPS
            steps = estimate.steps_left + (self._left - 1) * whole
            self._trainable.confirm(estimate.seconds_a_step * steps)
            self._is_confirmed = True
        return True

    def _probed(
        self, places: Int64, pictures: Float32, texts: Float32
    ) -> tuple[Float32, dict[str, Any]]:
        truth = self._material.truth[places]
        folds = stratified_folds(truth, alike_groups(pictures, truth), self._options.seed)
        part = replace(
            self._material,
            texts=texts,
            refs=[self._material.refs[place] for place in places],
            sha256=[self._material.sha256[place] for place in places],
            truth=truth,
            pictures=pictures,
            folds=folds,
            trainable=None,
        )
        fitted = fit_probe(part, self._options, lambda _line: None)
        return fitted.tensors["weights"], dict(fitted.hyperparameters)


def _judged(
    material: Material, folds: Int64 | None, held_out: Sequence[int], adapted: Float64
) -> HeldOut | None:
    if folds is None:
        return None
    is_out = np.isin(folds, held_out)
    truth = material.truth[is_out]
    zero_shot = material.scale.logits(material.pictures[is_out], material.texts)
    together = folds[is_out]
    if len(held_out) == 1:
        # One model answered all: a temperature for some of them can be fitted on the others.
        together = np.arange(len(truth)) % FOLDS
    return HeldOut(truth, together, zero_shot, adapted[is_out], material.scale)


def _hyperparameters(options: AdaptOptions) -> dict[str, Any]:
    lora = options.lora
    asked = {name: value for name, value in asdict(lora).items() if name not in ("seed", "steps")}
    if lora.last is None:
        del asked["last"]
    return {**asked, "targets": ",".join(lora.targets), "scale": lora.scale}


def _where(layers: Sequence[str]) -> tuple[str, ...]:
    """Layers of the model, in few words: how many of each tower."""
    vision = sum(name.startswith("visual.") for name in layers)
    counts = {"image tower": vision, "text tower": len(layers) - vision}
    return tuple(f"{count} weights of the {tower}" for tower, count in counts.items() if count)
