"""An adapter from labelled pictures: fitted, judged on those held out, and described."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from clipcli.adaptation.density import thresholds
from clipcli.adaptation.folds import alike_groups, stratified_folds
from clipcli.adaptation.judgement import ClassFigures, Gate
from clipcli.adaptation.material import Fitted, Material, Tell
from clipcli.adaptation.options import METHODS, AdaptOptions
from clipcli.adaptation.probe import Scale
from clipcli.arrays import Float32
from clipcli.errors import UsageError
from clipcli.heads.adapter_description import Description
from clipcli.runs.provenance import library_versions
from clipcli.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clipcli.adaptation.selection import Selection
    from clipcli.engines.base import ModelInfo
    from clipcli.heads.labels import LabelSet
    from clipcli.heads.zero_shot import ZeroShotHead
    from clipcli.images.options import ImageOptions

# So many times as many pictures in one class as in another are told of.
_UNEVEN = 10


@dataclass(frozen=True)
class Seen:
    """How pictures were prepared for a model.

    Attributes:
        preprocess: `plain` or `reference`, as in `--preprocess`.
        fit: as in `--fit`.
    """

    preprocess: str
    fit: str

    @classmethod
    def of(cls, info: ModelInfo, images: ImageOptions) -> Self:
        """What a model's pictures are prepared by."""
        return cls(images.preprocessing, info.preprocess.fitted(images.fit).fit)


@dataclass(frozen=True, eq=False)
class Adaptation:
    """An adapter that was fitted, and how good it is on pictures that it was not fitted on.

    Attributes:
        material: what it was fitted on.
        fitted: what came of it.
        classes: each label's figures and, at the end, those of all; empty where nothing could be
            held out.
        gate: whether it is worth keeping; None where nothing could be held out.
        temperature: divides its logits.
        thresholds: of novelty.
        seconds: that it took.
    """

    material: Material
    fitted: Fitted
    classes: tuple[ClassFigures, ...]
    gate: Gate | None
    temperature: float
    thresholds: Mapping[str, float]
    seconds: float

    @property
    def is_accepted(self) -> bool:
        """Whether it may be written: it is better, or nobody can say that it is not."""
        return self.gate is None or self.gate.is_passed

    def may_be_written(self, options: AdaptOptions) -> bool:
        """Whether it is good enough, or wanted all the same."""
        return self.is_accepted or options.ungated

    @property
    def folds(self) -> int:
        """How many were held out, one after the other."""
        held_out = self.fitted.folds
        return self.material.fold_count if held_out is None else held_out

    def figures(self) -> dict[str, Any]:
        """What it gained, ready for JSON."""
        gate = self.gate and {**asdict(self.gate), "passed": self.gate.is_passed}
        return {
            "folds": self.folds,
            "classes": [asdict(one) for one in self.classes[:-1]],
            "all": asdict(self.classes[-1]) if self.classes else None,
            "gate": gate,
        }

    def tensors(self) -> dict[str, NDArray[Any]]:
        """What is written of it, by name."""
        return {
            **self.fitted.tensors,
            "texts": self.fitted.texts,
            "pictures": self.fitted.pictures,
            "classes": self.material.truth,
        }

    def description(self, info: ModelInfo, seen: Seen, options: AdaptOptions) -> Description:
        """What is written beside the tensors.

        Args:
            info: the model that was adapted.
            seen: how pictures were prepared for it.
            options: how it was asked for.
        """
        labels = self.material.labels
        return Description(
            method=options.method,
            model=info.name,
            fingerprint=info.fingerprint,
            embed_dim=info.embed_dim,
            preprocess=seen.preprocess,
            fit=seen.fit,
            labels=labels.names,
            templates=labels.templates,
            texts=labels.texts,
            counts=self.material.counts,
            hyperparameters=self.fitted.hyperparameters,
            seed=options.seed,
            shots=options.shots,
            figures=self.figures(),
            temperature=self.temperature,
            thresholds=self.thresholds,
            pictures=self.material.sha256,
            versions={"clipcli": __version__, **library_versions(("numpy",))},
        )


def gather(
    selection: Selection,
    kept: Sequence[int],
    embeddings: Float32,
    labels: LabelSet,
    head: ZeroShotHead,
    *,
    seed: int,
) -> Material:
    """What a method fits on.

    Args:
        selection: n pictures.
        kept: the places of those that have an embedding.
        embeddings: shape (n, d); the other rows mean nothing.
        labels: L of them, the pictures' among them.
        head: of the labels.
        seed: of the folds.

    Raises:
        UsageError: all that have an embedding are of one class.
    """
    seen = {selection.data.labels[place] for place in kept}
    if not seen:
        raise UsageError("none of the pictures could be read")
    if len(seen) < 2:
        raise UsageError(f"the only pictures that could be read are of one class, {seen.pop()!r}")
    places = {name: place for place, name in enumerate(labels.names)}
    truth = np.array([places[selection.data.labels[place]] for place in kept], np.int64)
    pictures = np.ascontiguousarray(embeddings[list(kept)])
    return Material(
        labels,
        head.embeddings,
        Scale(head.logit_scale, float(head.logit_bias), head.activation),
        [selection.data.refs[place] for place in kept],
        [selection.sha256[place] for place in kept],
        truth,
        pictures,
        stratified_folds(truth, alike_groups(pictures, truth), seed),
    )


def notes(material: Material) -> list[str]:
    """What whoever gave the pictures should know of them, a line each."""
    found = []
    by_count = sorted(zip(material.counts, material.labels.names, strict=True))
    bare = [name for count, name in by_count if not count]
    seen = [(count, name) for count, name in by_count if count]
    if bare:
        more = f" (and {len(bare) - 1} more)" if len(bare) > 1 else ""
        found.append(f"no picture of {bare[0]!r}{more}: it is known by its text alone")
    (fewest, rare), (most, common) = seen[0], seen[-1]
    if most >= _UNEVEN * fewest:
        found.append(
            f"uneven classes, from {fewest:,} of {rare!r} to {most:,} of {common!r}: answers will"
            " lean to the larger ones; add pictures, or take --shots N of each"
        )
    if material.folds is None:
        found.append(
            "one picture a class: nothing can be held out, so whether the adapter helps is not"
            " checked, and it gets no threshold for `clipcli classify --novelty`"
        )
    return found


def adapt(material: Material, options: AdaptOptions, tell: Tell = lambda _line: None) -> Adaptation:
    """Fit an adapter and judge it.

    Args:
        material: the pictures.
        options: how.
        tell: takes a line about how far it has come.
    """
    from importlib import import_module

    started = time.monotonic()
    module, _, function = METHODS[options.method].partition(":")
    fitted: Fitted = getattr(import_module(module), function)(material, options, tell)
    held_out, temperature = fitted.held_out, 1.0
    if held_out is not None:
        held_out, temperature = held_out.at_temperature()
    return Adaptation(
        material,
        fitted,
        () if held_out is None else held_out.classes(material.labels.names),
        None if held_out is None else held_out.gate(),
        temperature,
        thresholds(material, fitted.pictures),
        time.monotonic() - started,
    )
