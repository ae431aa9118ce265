"""What an examination found: facts, and checks with their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from clipcli.errors import ClipcliError, one_line


class Outcome(StrEnum):
    """What came of a check. The values appear in JSON."""

    OK = "ok"
    FAILED = "failed"
    # Something that it needs is not here; the detail says what.
    NOT_RUN = "not_run"


@dataclass(frozen=True)
class Fact:
    """Something that is so, whatever it may mean.

    Attributes:
        name: of what is described.
        text: for people.
        value: for programs, ready for JSON.
    """

    name: str
    text: str
    value: object


@dataclass(frozen=True)
class Check:
    """Something that was looked at, or could not be.

    Attributes:
        name: of what was looked at.
        outcome: what came of it.
        detail: what was seen, what is wrong or what is missing, in a line.
        facts: more about it, for programs, ready for JSON.
    """

    name: str
    outcome: Outcome
    detail: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Name, outcome, detail and facts beside each other."""
        return {
            "name": self.name,
            "outcome": self.outcome.value,
            "detail": self.detail,
            **self.facts,
        }


@dataclass(frozen=True)
class Section:
    """Facts, or checks, of one kind."""

    title: str
    findings: Sequence[Fact] | Sequence[Check]

    @property
    def checks(self) -> Iterator[Check]:
        """Those of its findings that have an outcome."""
        return (finding for finding in self.findings if isinstance(finding, Check))

    def to_json(self) -> object:
        """Facts as an object, name to value; checks as an array."""
        checks = [check.to_json() for check in self.checks]
        facts = {_key(fact.name): fact.value for fact in self.findings if isinstance(fact, Fact)}
        # A section holds one or the other; an empty one is an empty list of checks.
        return facts or checks


@dataclass(frozen=True)
class Examination:
    """All that was found."""

    sections: Sequence[Section]

    @property
    def failed(self) -> list[Check]:
        """The checks that did not agree."""
        return [check for check in self._checks() if check.outcome is Outcome.FAILED]

    @property
    def agreed(self) -> bool:
        """Whether all that ran agreed."""
        return not self.failed

    def count(self, outcome: Outcome) -> int:
        """How many checks came out so."""
        return sum(check.outcome is outcome for check in self._checks())

    def to_json(self) -> dict[str, object]:
        """One object: whether all agreed, then a member for each section."""
        sections = {_key(section.title): section.to_json() for section in self.sections}
        return {"ok": self.agreed, **sections}

    def _checks(self) -> Iterator[Check]:
        for section in self.sections:
            yield from section.checks


def _key(name: str) -> str:
    """A name that programs can write without quotes, but for those of packages."""
    return name.replace(" ", "_")


def attempt(name: str, look: Callable[[], Sequence[Check]]) -> list[Check]:
    """Look at something that may be broken in any way; how it broke is then the finding.

    Args:
        name: of the check that says so.
        look: what makes the checks.
    """
    try:
        # As a list within the `try`: a generator would raise where it is read.
        return list(look())
    except Exception as error:  # noqa: BLE001  a damaged installation raises whatever it likes
        return [Check(name, Outcome.FAILED, reason(error))]


def reason(error: BaseException) -> str:
    """Why something failed, in a line."""
    if isinstance(error, ClipcliError) or not str(error).strip():
        return one_line(error)
    return f"{type(error).__name__}: {one_line(error)}"
