"""What LoRA trains and how: plain numbers, checked before any library is imported."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Literal, get_args

from clipcli.errors import UsageError

Towers = Literal["vision", "text", "both"]
TOWERS: tuple[Towers, ...] = get_args(Towers)
TARGETS = ("q", "k", "v", "out")
"""An attention's weights: of queries, keys, values, and of its output."""

STEPS_A_SHOT = 500
STEPS_WITHOUT_CUDA = 80
"""Six minutes of ViT-B/32 on two processor cores, at 4.5 s a step of 32 pictures."""

_MOST_RANK = 1024


@dataclass(frozen=True)
class LoraOptions:
    """What is trained, and how; the defaults are CLIP-LoRA's (Zanella & Ben Ayed, 2405.18541).

    Attributes:
        rank: of the change of each weight matrix.
        alpha: scales the change: see `scale`.
        targets: which of an attention's weights change, of `TARGETS`. A tower without attention
            has none: there all linear layers and ungrouped convolutions change.
        layers: which towers.
        last: only so many blocks at the end of each tower; None for all.
        steps: None for `steps_for`.
        dropout: share of a weight's inputs that its change leaves out in a step.
        learning_rate: at the first step; it falls as a cosine.
        final_learning_rate: after the last one.
        weight_decay: of AdamW.
        batch_size: pictures a step; fewer where there are fewer.
        seed: of all that is drawn.

    Raises:
        UsageError: one of them is out of its bounds.
    """

    rank: int = 2
    alpha: float = 1.0
    targets: tuple[str, ...] = ("q", "k", "v")
    layers: Towers = "both"
    last: int | None = None
    steps: int | None = None
    dropout: float = 0.25
    learning_rate: float = 2e-4
    final_learning_rate: float = 1e-6
    weight_decay: float = 0.01
    batch_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        _check_whole("rank", self.rank, 1, _MOST_RANK)
        _check_number("alpha", self.alpha, above=True)
        _check_targets(self.targets)
        if self.layers not in TOWERS:
            raise UsageError(f"--layers {self.layers!r}: use one of {', '.join(TOWERS)}")
        _check_whole("batch_size", self.batch_size, 1)
        _check_whole("seed", self.seed, 0)
        if self.last is not None:
            _check_whole("last", self.last, 1)
        if self.steps is not None:
            _check_whole("steps", self.steps, 1)
        _check_number("dropout", self.dropout, most=0.99)
        _check_number("learning_rate", self.learning_rate, above=True)
        _check_number("final_learning_rate", self.final_learning_rate, most=self.learning_rate)
        _check_number("weight_decay", self.weight_decay)

    @property
    def scale(self) -> float:
        """What the product B·A is multiplied with: alpha / √rank.

        So does CLIP-LoRA's own code, whose other defaults go with it; the paper's formula and Hu
        et al. (2106.09685) have alpha / rank. With the root, a change's size does not shrink as
        the rank grows (Kalajdzievski 2023, 2312.03732). At rank 2 it is 1.4 times as large.
        """
        return self.alpha / sqrt(self.rank)

    def steps_for(self, pictures: int, classes: int, *, cuda: bool) -> int:
        """How many steps are made, where none were asked for.

        Args:
            pictures: to learn from.
            classes: that they show.
            cuda: whether they are made on a GPU: CLIP-LoRA's 500 for each picture of a class;
                a processor makes `STEPS_WITHOUT_CUDA`.
        """
        if self.steps is not None:
            return self.steps
        paper = STEPS_A_SHOT * max(1, round(pictures / max(1, classes)))
        return paper if cuda else min(paper, STEPS_WITHOUT_CUDA)


def _check_targets(targets: tuple[str, ...]) -> None:
    if not targets or len(set(targets)) < len(targets) or not set(targets) <= set(TARGETS):
        known = ", ".join(TARGETS)
        raise UsageError(f"--targets {','.join(targets)}: name some of {known}, each once")


def _check_whole(name: str, value: int, least: int, most: int | None = None) -> None:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not (is_whole and value >= least and (most is None or value <= most)):
        bounds = f"at least {least}" if most is None else f"in {least}..{most}"
        raise UsageError(f"{_option(name)} {value!r}: it must be a whole number, {bounds}")


def _check_number(
    name: str, value: float, *, above: bool = False, most: float | None = None
) -> None:
    """See that a number is finite and at least 0, or above it, and not too large."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and isfinite(value) and value >= 0 and (value > 0 or not above)):
        bounds = "above 0" if above else "at least 0"
        raise UsageError(f"{_option(name)} {value!r}: it must be a number {bounds}")
    if most is not None and value > most:
        raise UsageError(f"{_option(name)} {value!r}: it must be at most {most:g}")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
