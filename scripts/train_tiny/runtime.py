"""What a training run depends on beside its data: threads, seeds and the clock."""

import random
import time
from dataclasses import dataclass, field

import numpy as np
import torch

THREADS = 2
SEED = 0


def prepare() -> None:
    """Fix the number of threads and seed every source of random numbers."""
    torch.set_num_threads(THREADS)
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)


@dataclass(frozen=True)
class Budget:
    """A time budget that runs from the moment it is made.

    Attributes:
        seconds: How long it lasts.
        start: When it began, on the monotonic clock.
    """

    seconds: float
    start: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.start

    def fraction(self) -> float:
        """Return the share of the budget that is spent: 1 or more once it is over."""
        return self.elapsed() / self.seconds
