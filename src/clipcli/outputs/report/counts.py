"""How many images of a report have which fate."""

from __future__ import annotations

from dataclasses import dataclass

from clipcli.heads.results import Failure, Result


@dataclass
class Counts:
    """Counts of a report's images.

    Attributes:
        answered: with a label for an answer.
        unknown: scored, but below the wanted probability.
        failed: not scored.
        judged: scored, with a true label to compare with.
        correct: those of them whose answer is that label.
    """

    answered: int = 0
    unknown: int = 0
    failed: int = 0
    judged: int = 0
    correct: int = 0

    @property
    def total(self) -> int:
        """All images."""
        return self.answered + self.unknown + self.failed

    def add(self, result: Result, truth: str | None) -> None:
        """Count one image and, where it is known, whether its answer is true."""
        if isinstance(result, Failure):
            self.failed += 1
            return
        if result.answer is None:
            self.unknown += 1
        else:
            self.answered += 1
        if truth is not None:
            self.judged += 1
            self.correct += result.answer == truth
