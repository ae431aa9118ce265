"""The time budget, and weights on disk."""

import os
import time
from pathlib import Path

import torch
from torch import nn

EVERY = 60.0
"""Seconds between checkpoints."""


class Checkpoints:
    """Saves a model while its time runs."""

    def __init__(self, file: Path, seconds: float) -> None:
        self.file, self.seconds = file, seconds
        self.began = self.saved = time.monotonic()

    def spent(self) -> float:
        """Share of the time that has gone."""
        return (time.monotonic() - self.began) / self.seconds

    def save_now(self, model: nn.Module) -> bool:
        """Saves if the last time was long ago; says whether it did."""
        due = time.monotonic() - self.saved > EVERY
        if due:
            self.save(model)
        return due

    def save(self, model: nn.Module) -> None:
        """Writes the weights; the file is always whole."""
        beside = self.file.with_suffix(".new")
        torch.save(model.state_dict(), beside)
        os.replace(beside, self.file)
        self.saved = time.monotonic()
