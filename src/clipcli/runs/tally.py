"""What became of a run's images: counts, and their summary for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from clipcli.heads.labels import UNKNOWN
from clipcli.heads.results import Failure, Prediction, Result


@dataclass
class Tally:
    """Counts of results, of this run and of an earlier one that it continues.

    Attributes:
        expected: the answers that are as they should be; empty where any will do.
        done: images with a prediction.
        unexpected: those of them whose answer is none of the expected.
        failed: images without a prediction, by the code of their failure.
        narrow: those with a prediction of which less than half was looked at.
    """

    expected: tuple[str, ...] = ()
    done: int = 0
    unexpected: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    narrow: int = 0

    @property
    def total(self) -> int:
        """All images counted."""
        return self.done + self.failed.total()

    def expects(self, answer: str | None) -> bool:
        """Whether an answer, None for unknown, is as it should be."""
        return not self.expected or (UNKNOWN if answer is None else answer) in self.expected

    def meets(self, result: Prediction) -> bool:
        """Whether an answer of an image, or one of several, is as it should be."""
        return any(map(self.expects, result.answers or (result.answer,)))

    def add(self, result: Result) -> None:
        """Count one result."""
        if isinstance(result, Failure):
            self.failed[result.code.value] += 1
        else:
            self._add_answer(self.meets(result))
            self.narrow += result.seen is not None

    def add_answered(self, count: int, narrow: int = 0) -> None:
        """Count images that have an answer, where any will do, and those seen by less than half."""
        self.done += count
        self.narrow += narrow

    def add_record(self, record: Mapping[str, Any]) -> None:
        """Count one result of an earlier run, a record as the JSON formats hold it."""
        if record["status"] == "error":
            self.failed[record["error"]["code"]] += 1
        else:
            answers = record.get("answers") or [record["answer"]]
            self._add_answer(any(map(self.expects, answers)))
            self.narrow += "seen" in record

    def copy(self) -> Tally:
        """The counts as they are now."""
        return replace(self, failed=self.failed.copy())

    def _add_answer(self, is_expected: bool) -> None:
        self.done += 1
        # Counted as it comes: the answers themselves are not kept, however many there are.
        self.unexpected += not is_expected


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Attributes:
        seconds: since its first image was asked for.
        exit_code: what the shell is told.
        kept: results that were there from an earlier run.
        interrupted: whether it ended before its images did.
    """

    seconds: float
    exit_code: int
    kept: int = 0
    interrupted: bool = False


def summary(tally: Tally, ending: Ending, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A run in numbers, ready for JSON. Fields are only ever added.

    Args:
        tally: of all results, those of an earlier run included.
        ending: of this run.
        settings: what the run was made with, its provenance included.
    """
    run_now = tally.total - ending.kept
    return {
        "done": tally.done,
        # Sorted, so that two runs' summaries can be compared by `diff`.
        "failed": dict(sorted(tally.failed.items())),
        "unexpected": tally.unexpected,
        "kept_from_before": ending.kept,
        "seconds": round(ending.seconds, 3),
        # Of this run alone: what was there already took none of its time.
        "images_per_second": round(run_now / ending.seconds, 3) if ending.seconds > 0 else 0.0,
        "exit_code": int(ending.exit_code),
        "interrupted": ending.interrupted,
        "settings": dict(settings),
    }
