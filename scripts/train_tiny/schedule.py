"""A training stage: rates, resolutions and crops by the share of its time that is spent."""

from dataclasses import dataclass
from typing import NamedTuple

Plan = tuple[tuple[float, int], ...]
"""Values and the share of time until which each of them holds; the last one holds to the end."""


class LearningRates(NamedTuple):
    """The highest learning rate of each group of parameters."""

    image_tower: float
    text_tower: float
    logit_scale: float


@dataclass(frozen=True)
class Stage:
    """One training stage.

    Attributes:
        learning_rates: Where the rates begin to fall from.
        warmup_steps: Over how many steps the rates rise from zero.
        full_rate_until: The share of time until which the rates do not fall. After it they are
            what they would be had they fallen all the time: in proportion to the time left.
        resolutions: What the image tower sees, in pixels.
        smallest_crops: The least side of a random crop, in pixels of 64.
        average_decay: How much of the averaged weights stays at each step, in the long run.
        first_evaluation: When the model is first evaluated and saved, in seconds.
    """

    learning_rates: LearningRates
    warmup_steps: int
    full_rate_until: float
    resolutions: Plan
    smallest_crops: Plan
    average_decay: float
    first_evaluation: float

    def rate_factor(self, step: int, fraction: float) -> float:
        """Return the share of the highest learning rate to use.

        Args:
            step: How many steps have been made.
            fraction: The share of time that is spent.
        """
        fall = 1 - fraction if fraction > self.full_rate_until else 1.0
        return min(1, step / self.warmup_steps) * fall

    def resolution(self, fraction: float) -> int:
        """Return the side of the image tower's input at this share of time, in pixels."""
        return _value_at(self.resolutions, fraction)

    def smallest_crop(self, fraction: float) -> int:
        """Return the least side of a random crop at this share of time, in pixels."""
        return _value_at(self.smallest_crops, fraction)

    def decay(self, step: int) -> float:
        """Return how much of the averaged weights stays at this step: little in the beginning.

        Args:
            step: The step's number, from 1.
        """
        return min(self.average_decay, (1 + step) / (10 + step))


def _value_at(plan: Plan, fraction: float) -> int:
    return next((value for until, value in plan if fraction < until), plan[-1][1])
