"""Labels, templates and numbers as a program gives them, of whatever type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isnan, nan
from typing import Any

from clipcli.errors import UsageError
from clipcli.heads.labels import LabelSet, collect_templates


def given_labels(labels: Any, templates: Any) -> LabelSet:  # noqa: ANN401
    """Labels and templates, of any type that may come, checked in Python's words."""
    if isinstance(labels, Mapping):
        texts = {
            given_text("a label", name): _texts(name, several) for name, several in labels.items()
        }
        names = tuple(texts)
    else:
        names = given_texts("labels", labels, "['a cat', 'a dog']")
        texts = {name: (name,) for name in names}
    if not names:
        raise UsageError("no labels: give the texts to choose between, ['a cat', 'a dog']")
    if len(texts) < len(names):
        LabelSet(names)  # which says what is given twice
    given = (templates,) if isinstance(templates, str) else templates
    wanted = given_texts("templates", given, "['a photo of a {}']")
    return LabelSet.of(texts, collect_templates(wanted))


def _texts(label: str, several: Any) -> tuple[str, ...]:  # noqa: ANN401
    what = f"the texts of {label!r}"
    texts = (several,) if isinstance(several, str) else given_texts(what, several, "['a cat', ...]")
    if not texts:
        raise UsageError(f"the label {label!r} has no texts: leave it out, or name one")
    return texts


def given_texts(what: str, values: Any, example: str) -> tuple[str, ...]:  # noqa: ANN401
    """Several texts, checked; a message has the example."""
    # A text is a sequence of texts, too: its letters.
    if isinstance(values, str):
        raise UsageError(f"{what} are several texts: write [{values!r}, ...]")
    if isinstance(values, bytes | bytearray | Mapping) or not isinstance(values, Iterable):
        kind = type(values).__name__
        raise UsageError(f"{what} are of type {kind}: give a list of texts, {example}")
    return tuple(given_text(f"one of {what}", value) for value in values)


def given_text(what: str, value: Any) -> str:  # noqa: ANN401
    """A text, checked."""
    if isinstance(value, str):
        return str(value)
    raise UsageError(f"{what} is {value!r}, of type {type(value).__name__}: give a text")


def given_number(name: str, value: Any) -> float:  # noqa: ANN401
    """A number, checked."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = nan
    if isnan(number) or isinstance(value, str):
        raise UsageError(f"{name} is {value!r}: give a number")
    return number
