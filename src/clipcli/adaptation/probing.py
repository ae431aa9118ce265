"""The method `probe`: its strength chosen, its answers for held-out pictures, the fit on all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clipcli.adaptation.judgement import HeldOut, likeliest_temperature
from clipcli.adaptation.material import Fitted, Material, Tell
from clipcli.adaptation.options import AdaptOptions
from clipcli.adaptation.probe import (
    COARSE,
    FEW_PICTURES,
    FINE,
    STRENGTHS,
    Probe,
    Scale,
    few_shot_strength,
)
from clipcli.arrays import Float64, Int64, Mask


def fit(material: Material, _options: AdaptOptions, tell: Tell) -> Fitted:
    """Fit a probe.

    Args:
        material: the pictures.
        _options: nothing in them concerns a probe.
        tell: takes a line about how far it has come.
    """
    zero_shot = material.scale.logits(material.pictures, material.texts)
    is_chosen = material.folds is not None and not _has_few(material)
    adapted: Float64 | None
    if is_chosen:
        strength, adapted = _chosen(material, tell)
    else:
        strength = _by_rule(zero_shot, material.truth, material.scale)
        adapted = _held_out_by_rule(material, zero_shot)
    tell(f"fitting on all {len(material.truth):,} pictures")
    probe = Probe(material.pictures, material.truth, material.texts, material.scale)
    weights = probe.weights(probe.fit(strength, precision=FINE)).astype(np.float32)
    held_out = None
    if material.folds is not None and adapted is not None:
        held_out = HeldOut(material.truth, material.folds, zero_shot, adapted, material.scale)
    rule = "cross-validation" if is_chosen else "3 p^2"
    return Fitted(
        {"weights": weights},
        {"strength": strength, "rule": rule},
        weights.size,
        (),
        held_out,
        material.pictures,
        material.texts,
    )


def _has_few(material: Material) -> bool:
    pictured = sum(map(bool, material.counts))
    return len(material.truth) <= FEW_PICTURES * pictured


def _chosen(material: Material, tell: Tell) -> tuple[float, Float64]:
    """The strength with the least loss on held-out pictures, and the logits of these with it."""
    assert material.folds is not None
    logits = np.empty((len(STRENGTHS), len(material.truth), len(material.labels.names)))
    for fold in range(material.fold_count):
        tell(f"cross-validation: fold {fold + 1} of {material.fold_count}")
        is_out = material.folds == fold
        logits[:, is_out] = _path(material, is_out, STRENGTHS)
    # At a temperature of its own each: else weights would be learned for the sake of being surer.
    losses = np.stack([_cooled(material, z) for z in logits])
    behind = losses - losses[losses.mean(axis=1).argmin()]
    # The strongest that is not surely behind the best (Breiman et al. 1984, 3.4.3): where there is
    # nothing to learn, nothing is.
    errors = behind.std(axis=1, ddof=1) / np.sqrt(len(material.truth))
    chosen = int(np.flatnonzero(behind.mean(axis=1) <= errors)[0])
    return STRENGTHS[chosen], logits[chosen]


def _cooled(material: Material, logits: Float64) -> Float64:
    """Losses of some logits at the temperature at which the truth is likeliest, shape (n,)."""
    temperature = likeliest_temperature(logits, material.truth, material.scale) or 1.0
    return material.scale.losses(logits / temperature, material.truth)


def _held_out_by_rule(material: Material, zero_shot: Float64) -> Float64 | None:
    """The logits of held-out pictures, each fold's with the strength that the others call for."""
    if material.folds is None:
        return None
    adapted = np.empty_like(zero_shot)
    for fold in range(material.fold_count):
        is_out = material.folds == fold
        taught = material.truth[~is_out]
        strength = _by_rule(zero_shot[~is_out], taught, material.scale)
        (adapted[is_out],) = _path(material, is_out, [strength])
    return adapted


def _by_rule(zero_shot: Float64, truth: Int64, scale: Scale) -> float:
    """The strength that zero-shot's answers call for, however sure the model is of them."""
    temperature = likeliest_temperature(zero_shot, truth, scale) or 1.0
    return few_shot_strength(zero_shot / temperature, truth, scale)


def _path(material: Material, is_out: Mask, strengths: Sequence[float]) -> list[Float64]:
    """For each strength, falling, the logits of those held out by a probe of the others."""
    probe = Probe(
        material.pictures[~is_out], material.truth[~is_out], material.texts, material.scale
    )
    moved, logits = None, []
    for strength in strengths:
        moved = probe.fit(strength, moved, COARSE)
        logits.append(material.scale.logits(material.pictures[is_out], probe.weights(moved)))
    return logits
