"""What a method fits on, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipcli.adaptation.judgement import HeldOut
from clipcli.adaptation.probe import Scale
from clipcli.arrays import Float32, Int64

if TYPE_CHECKING:
    from PIL.Image import Image

    from clipcli.engines.base import Engine
    from clipcli.heads.labels import LabelSet
    from clipcli.heads.zero_shot import ZeroShotHead
    from clipcli.images.sources import ImageRef

Tell = Callable[[str], None]
"""Takes a line about how far a fit has come."""


@dataclass(frozen=True, eq=False)
class Trainable:
    """What a method needs that trains the model itself.

    Attributes:
        engine: the model, in torch.
        head: of the labels, by the model as it is.
        read: the picture that is named, open.
        embed: pictures through an engine: unit rows of shape (n, d).
        confirm: is told how many seconds all of it will take, once that is known, and raises an
            error where that is too long.
    """

    engine: Engine
    head: ZeroShotHead
    read: Callable[[ImageRef], Image]
    embed: Callable[[Engine, Sequence[ImageRef]], Float32]
    confirm: Callable[[float], None]


@dataclass(frozen=True, eq=False)
class Material:
    """n labelled pictures as a model sees them, each of them once.

    Attributes:
        labels: L of them; some may have no picture.
        texts: the labels' embeddings, shape (L, d).
        scale: of the model.
        refs: the pictures.
        sha256: of their files; None where there is no file to read.
        truth: their labels' places, shape (n,).
        pictures: their embeddings, shape (n, d).
        folds: the fold of each, shape (n,); None where nothing can be held out.
        trainable: the model itself; None where only its embeddings count.
    """

    labels: LabelSet
    texts: Float32
    scale: Scale
    refs: Sequence[ImageRef]
    sha256: Sequence[str | None]
    truth: Int64
    pictures: Float32
    folds: Int64 | None
    trainable: Trainable | None = None

    @property
    def counts(self) -> tuple[int, ...]:
        """How many pictures each label has."""
        return tuple(np.bincount(self.truth, minlength=len(self.labels.names)).tolist())

    @property
    def fold_count(self) -> int:
        """How many folds there are; 0 where nothing can be held out."""
        return 0 if self.folds is None else int(self.folds.max()) + 1


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a method has made of some material.

    Attributes:
        tensors: what is kept of it, for `heads.adapters`: `weights`, shape (L, d), for a head.
        hyperparameters: with which it was fitted, ready for JSON.
        parameters: how many numbers were fitted.
        layers: where they are, for people.
        held_out: its answers for pictures that it was not fitted on; None where there are none.
        pictures: the material's embeddings as the adapted model gives them, shape (n, d).
        texts: the labels' likewise, shape (L, d).
        folds: how many of the material's were held out; None for all.
    """

    tensors: Mapping[str, NDArray[Any]]
    hyperparameters: Mapping[str, Any]
    parameters: int
    layers: tuple[str, ...]
    held_out: HeldOut | None
    pictures: Float32
    texts: Float32
    folds: int | None = None
