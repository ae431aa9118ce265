"""How an adapter is made: the methods that there are, and what all of them are told."""

from __future__ import annotations

from dataclasses import dataclass, field

from clipcli.adaptation.lora_options import LoraOptions
from clipcli.errors import UsageError

METHODS = {"probe": "clipcli.adaptation.probing:fit", "lora": "clipcli.adaptation.tuning:fit"}
"""Method -> the function that fits by it, as `module:function`, imported when it is chosen.

A new method is such a function `(Material, AdaptOptions, tell) -> Fitted`, and a line here.
"""

MOST_SHOTS = 1_000_000
MOST_SEED = 2**32 - 1
MOST_FOLDS = 20


@dataclass(frozen=True)
class AdaptOptions:
    """How an adapter is made.

    Attributes:
        method: one of `METHODS`.
        shots: pictures of each class that are taken, drawn by the seed; None for all.
        seed: of everything that is drawn.
        ungated: the adapter is written even if it is not surely better than zero-shot.
        force: an adapter of that name is replaced.
        lora: what LoRA trains, and how.
        folds: in which LoRA is checked, a training each; None for one fifth held out once.
        head: whether a probe is fitted on what LoRA has made of the model.

    Raises:
        UsageError: no such method, or a number that is out of its range.
    """

    method: str = "probe"
    shots: int | None = None
    seed: int = 0
    ungated: bool = False
    force: bool = False
    lora: LoraOptions = field(default_factory=LoraOptions)
    folds: int | None = None
    head: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"{self.method!r} is no method: use one of {', '.join(METHODS)}")
        if self.shots is not None and not 1 <= self.shots <= MOST_SHOTS:
            raise UsageError(f"{self.shots} pictures a class: use 1 to {MOST_SHOTS:,}")
        if not 0 <= self.seed <= MOST_SEED:
            raise UsageError(f"the seed {self.seed} is none: use 0 to {MOST_SEED}")
        if self.folds is not None and not 2 <= self.folds <= MOST_FOLDS:
            raise UsageError(f"{self.folds} folds: use 2 to {MOST_FOLDS}")
