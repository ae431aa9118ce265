"""The head of an adapter: probabilities by its weights, cosines by the labels' own embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from clipcli.arrays import Float32, Float64
from clipcli.engines.base import Adaptable
from clipcli.errors import UsageError
from clipcli.heads.novelty import density
from clipcli.heads.zero_shot import ZeroShotHead, products_of

if TYPE_CHECKING:
    from clipcli.engines.base import Engine, ModelInfo
    from clipcli.heads.adapters import Adapter
    from clipcli.heads.densities import Density
    from clipcli.heads.results import ScoreOptions
    from clipcli.heads.scored import ScoredBlock
    from clipcli.images.sources import ImageRef


@dataclass(frozen=True, eq=False)
class Novelty:
    """When a picture is like none of an adapter's.

    Attributes:
        density: how usual a picture is.
        threshold: below it, it is like none.
    """

    density: Density
    threshold: float

    def is_novel(self, embeddings: Float32) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Shape (n,), of unit rows of shape (n, d)."""
        is_novel: np.ndarray[tuple[int], np.dtype[np.bool_]]
        is_novel = self.density.score(embeddings) < self.threshold
        return is_novel


@dataclass(frozen=True, eq=False, kw_only=True)
class AdaptedHead(ZeroShotHead):
    """A head whose logits come from fitted weights; cosines stay those with the labels' texts.

    Attributes:
        weights: shape (L, embed_dim), of any length each.
        novelty: what makes the answer None, whatever the labels' probabilities are; None: nothing.
    """

    weights: Float32
    novelty: Novelty | None = None

    def compare(self, image_embeddings: Float32) -> tuple[Float64, Float64]:
        """Cosines, and the products that make the logits."""
        return self.similarities(image_embeddings), products_of(image_embeddings, self.weights)

    def score(
        self, refs: Sequence[ImageRef], image_embeddings: Float32, options: ScoreOptions
    ) -> ScoredBlock:
        """Score images whose unit embeddings are the rows of an array.

        Returns:
            One prediction for each image.
        """
        block = super().score(refs, image_embeddings, options)
        if self.novelty is None:
            return block
        is_novel = self.novelty.is_novel(image_embeddings)
        return replace(
            block,
            is_known=block.is_known & ~is_novel,
            is_doubtful=block.is_doubtful & ~is_novel,
            is_novel=is_novel,
        )


def adapted_engine(engine: Engine, adapter: Adapter) -> Engine:
    """The model with an adapter's LoRA in its weights; itself where the adapter has none.

    Args:
        engine: the model that was adapted; in torch, if there is a LoRA.
        adapter: that was read.

    Raises:
        UsageError: the model is another, or not in torch.
        ModelError: the LoRA is damaged.
    """
    adapter.check_base(engine.info)
    if not adapter.lora:
        return engine
    if not isinstance(engine, Adaptable):
        raise UsageError(
            f"the adapter {adapter.name} changes the model's weights, which only torch can: use"
            " --engine torch"
        )
    adapted: Any = engine.adapted(adapter.lora, adapter.lora_scale)
    adapted.info = adapter.answering(engine.info)
    result: Engine = adapted
    return result


def adapted_head(adapter: Adapter, info: ModelInfo, novelty: str | None = None) -> AdaptedHead:
    """The head of an adapter.

    Args:
        adapter: that was read.
        info: the model, which must be the one that was adapted; with a LoRA, as it changed it.
        novelty: one of `DENSITIES`; None to answer whatever is shown.

    Raises:
        UsageError: the model is another, or nothing is known of what is novel.
    """
    adapter.check_base(info)
    if adapter.lora and info.fingerprint != adapter.fingerprint:
        raise UsageError(
            f"the adapter {adapter.name} goes with embeddings of the model that it has changed:"
            f" make them with --adapter {adapter.name}"
        )
    made = adapter.description
    return AdaptedHead(
        tuple(made.labels),
        adapter.tensors["texts"],
        info.logit_scale / made.temperature,
        info.logit_bias / made.temperature,
        info.activation,
        doubt_below=info.doubt_below,
        weights=adapter.tensors["weights"],
        novelty=None if novelty is None else _novelty(adapter, novelty),
    )


def unadapted_head(adapter: Adapter, info: ModelInfo) -> ZeroShotHead:
    """The zero-shot head of a probe's labels, to measure it by."""
    return ZeroShotHead(
        tuple(adapter.description.labels),
        adapter.tensors["texts"],
        info.logit_scale,
        info.logit_bias,
        info.activation,
        doubt_below=info.doubt_below,
    )


def _novelty(adapter: Adapter, name: str) -> Novelty:
    made = adapter.description
    if name not in made.thresholds:
        raise UsageError(
            f"--novelty {name}: the adapter {adapter.name} has no threshold for it, since it was"
            " made of one picture a class: adapt with two of a class at least"
        )
    known = density(name)(adapter.tensors["pictures"], adapter.tensors["classes"])
    return Novelty(known, made.thresholds[name])
