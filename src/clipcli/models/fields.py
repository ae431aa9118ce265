"""The small JSON files that come with a model, read with a type and bounds for each field.

Such files are passed on, and are wrong or meant ill now and then: what is amiss is named before
anything is built of it. A library for this would take longer to import than a start may.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

LARGEST_FILE = 1 << 24
"""Bytes; of all known files of these kinds the largest has a hundredth of it."""

_LONGEST_SHOWN = 60


@dataclass(frozen=True)
class Rule:
    """What a field may hold.

    Attributes:
        wanted: in words, to follow "it must be".
        holds: whether a value is such.
    """

    wanted: str
    holds: Callable[[Any], bool]

    def __or__(self, other: Rule) -> Rule:
        """A field that may hold either."""
        wanted = f"{self.wanted}, or {other.wanted}"
        return Rule(wanted, lambda value: self.holds(value) or other.holds(value))


Rules = Mapping[str, "Rule | Rules"]


def whole(least: int, most: int) -> Rule:
    """A whole number between bounds, which it may reach."""
    wanted = f"a whole number from {least:,} to {most:,}"
    return Rule(wanted, lambda value: type(value) is int and least <= value <= most)


def number(least: float, most: float) -> Rule:
    """A finite number between bounds, which it may reach."""
    wanted = f"a number from {least:,} to {most:,}"
    # True is an int, too. Python compares whole numbers of any length with floats exactly.
    return Rule(wanted, lambda value: type(value) in (int, float) and least <= value <= most)


def choice(*values: str) -> Rule:
    """One of some words."""
    wanted = " or ".join(map(repr, values))
    return Rule(wanted, lambda value: isinstance(value, str) and value in values)


def row(rule: Rule, *lengths: int) -> Rule:
    """A list of one of these lengths, in which each item follows a rule."""

    def holds(value: Any) -> bool:  # noqa: ANN401
        return isinstance(value, list) and len(value) in lengths and all(map(rule.holds, value))

    return Rule(f"{' or '.join(map(str, lengths))} in a list, each {rule.wanted}", holds)


FLAG = Rule("true or false", lambda value: isinstance(value, bool))
NULL = Rule("null", lambda value: value is None)
TEXT = Rule("a text", lambda value: isinstance(value, str))
TABLE = Rule("a table", lambda value: isinstance(value, dict))


def read_json(file: Path) -> Any:  # noqa: ANN401
    """The content of one of a model's small files.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, no JSON, or says one thing twice.
    """
    with file.open("rb") as opened:
        content = opened.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise ValueError(f"it has more than {LARGEST_FILE:,} bytes")
    return parse_json(content.decode("utf-8"))


def parse_json(text: str) -> Any:  # noqa: ANN401
    """Read JSON in which each name of a table occurs once.

    Raises:
        ValueError: it is none, is nested too deeply, or says one thing twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_table)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it has {shown(twice)} twice in one table")
    return table


def check(fields: Any, rules: Rules, place: str, needed: Collection[str] = ()) -> None:  # noqa: ANN401
    """See that a table has the fields that it needs, and none that is wrong or unknown.

    Args:
        fields: the table.
        rules: name -> what the field may hold; for a table of its own the rules of that.
        place: of the table, in messages; empty for the whole file.
        needed: the fields that must be there.

    Raises:
        ValueError: something is amiss; the message names the field.
    """
    if not isinstance(fields, dict):
        raise ValueError(f"{place or 'it'} is {shown(fields)}: it must be a table")
    for name in needed:
        if name not in fields:
            raise ValueError(f"{_dotted(place, name)} is missing")
    for name, value in fields.items():
        rule = rules.get(name)
        where = _dotted(place, name)
        if rule is None:
            raise ValueError(f"{where} is unknown{_among(name, rules)}")
        if not isinstance(rule, Rule):
            check(value, rule, where)
        elif not rule.holds(value):
            raise ValueError(f"{where} is {shown(value)}: it must be {rule.wanted}")


def shown(value: object) -> str:
    """A value in a message: in one line, and cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        text = "a number of thousands of digits"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _dotted(place: str, name: str) -> str:
    return f"{place}.{_name(name)}" if place else _name(name)


def _name(name: str) -> str:
    """A field's name as it is, unless it is not one."""
    return name if name.isidentifier() and len(name) <= _LONGEST_SHOWN else shown(name)


def _among(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name[:_LONGEST_SHOWN], known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""
