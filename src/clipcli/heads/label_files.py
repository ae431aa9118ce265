"""Files of labels and of templates: lines, a table of labels and prompts, JSON or YAML."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipcli.assets import preset
from clipcli.disk.text import decode_typed
from clipcli.errors import UsageError

STDIN = "-"
"""In place of a file's name: standard input."""

LABEL_PRESETS = ("cifar10", "cifar100", "imagenet")

Labels = Mapping[str, tuple[str, ...]]
"""A label -> the texts that stand for it in the templates; for most labels itself."""

_YAML_SUFFIXES = (".yaml", ".yml")
_YAML_LINE = re.compile(r"\s*(- |-$|[^\s:]+[^:]*:(\s|$))|\s+\S")
_MARKUP = re.compile(r"<[!?a-z]", re.IGNORECASE)
_HEADINGS = ("label", "prompt")
_CSV_QUOTED = re.compile(r'"[^"]*"\s*(,.*)?')
_WANTED = (
    "write one label a line, or label<TAB>prompt, or JSON as"
    ' {"label": ["prompt", "another prompt"]}'
)


def read_labels(name: str) -> Labels:
    """The labels of a preset or a file.

    A file holds a label a line; or a label, a tab and a prompt a line, where a label's several
    prompts are averaged; or, in JSON or YAML, a list of labels, or for each label a prompt or a
    list of them. Blank lines and those that start with `#` are skipped.

    Args:
        name: of a preset, of a file, or `-` for standard input.

    Raises:
        UsageError: it cannot be read, or it holds something else.
    """
    if name in LABEL_PRESETS:
        return {label: (label,) for label in preset("labels", name)}
    shown = "standard input" if name == STDIN else repr(name)
    text = _text(name, shown)
    try:
        labels = _parsed(text, Path(name).suffix.lower())
    except ValueError as error:
        raise UsageError(f"cannot read labels from {shown} ({error}): {_WANTED}") from error
    if not labels:
        raise UsageError(f"no labels in {shown}: {_WANTED}")
    return labels


def read_templates(name: str) -> list[str]:
    """The templates of a file, one a line; blank lines and those that start with `#` are skipped.

    Raises:
        UsageError: it cannot be read, or holds none.
    """
    try:
        templates = _lines(decode_typed(Path(name).read_bytes()))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read templates from {name!r} ({_reason(error)})") from error
    if not templates:
        raise UsageError(f"no templates in {name!r}: write one a line, as 'a photo of a {{}}'")
    return templates


def _text(name: str, shown: str) -> str:
    try:
        data = sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()
        return decode_typed(data)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read labels from {shown} ({_reason(error)}); {_advice(name)}"
        ) from error


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _advice(name: str) -> str:
    """What may have been meant by a name that is no file's."""
    if not Path(name).suffix and "/" not in name:
        from difflib import get_close_matches

        near = get_close_matches(name.lower(), LABEL_PRESETS, 1)
        if near:
            return f"did you mean --labels {near[0]}?"
        if not Path(name).exists():
            meant = " ".join(f"-l {_quoted(part.strip())}" for part in name.split(",") if part)
            return f"if these are the labels themselves, write {meant}"
    return f"built-in presets are {', '.join(LABEL_PRESETS)}"


def _quoted(label: str) -> str:
    return repr(label) if " " in label or not label else label


def _parsed(text: str, suffix: str) -> Labels:
    """Labels in whichever of the ways they are written.

    Raises:
        ValueError: in none of them; the message says what was found instead.
    """
    start = text.lstrip()
    if suffix in _YAML_SUFFIXES:
        return _structured(_yaml(text))
    if suffix == ".json" or start.startswith(("{", "[")):
        return _structured(_json(text))
    if suffix == ".csv":
        raise ValueError("a CSV table")
    if _MARKUP.match(start):
        raise ValueError("HTML or XML")
    lines = _lines(text)
    if lines and all(map(_CSV_QUOTED.fullmatch, lines)):
        raise ValueError("quoted as in a CSV table")
    if any("\t" in line for line in _lines(text, strip=False)):
        return _table(_lines(text, strip=False))
    if len(lines) > 1 and all(map(_YAML_LINE.match, _lines(text, strip=False))):
        raise ValueError("it looks like YAML: name it .yaml")
    labels: dict[str, tuple[str, ...]] = {}
    for line in lines:
        _add(labels, line, (line,))
    return labels


def _lines(text: str, *, strip: bool = True) -> list[str]:
    # Not splitlines(), which also splits at characters that may stand in a label.
    lines = (line for line in text.split("\n") if not line.startswith("#"))
    return [line.strip() if strip else line for line in lines if line.strip()]


def _table(lines: list[str]) -> Labels:
    labels: dict[str, tuple[str, ...]] = {}
    rows = [tuple(cell.strip() for cell in line.split("\t")) for line in lines]
    if rows[0] == _HEADINGS:
        del rows[0]
    if all(_is_number(cell) for row in rows for cell in row[1:]):
        raise ValueError("a table of labels and numbers")
    for row in rows:
        if len(row) > len(_HEADINGS) or not all(row):
            raise ValueError(f"a table whose row {' | '.join(row)!r} is no label and prompt")
        # Rows of one label are its prompts; in a table a label may also stand alone.
        labels[row[0]] = labels.get(row[0], ()) + row[-1:]
    return labels


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _json(text: str) -> Any:  # noqa: ANN401  whatever a file holds
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            _add(found, name, value)
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"not whole JSON: {error.msg}, {place}") from error
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error


def _yaml(text: str) -> Any:  # noqa: ANN401  whatever a file holds
    import yaml

    try:
        # All values stay text: the word `no` is a label, and no falsehood.
        return yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506  it makes no objects
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"not YAML: {' '.join(str(error).split())}") from error


def _structured(content: object) -> Labels:
    """Labels of a list, or of an object whose values are their prompts."""
    labels: dict[str, tuple[str, ...]] = {}
    if isinstance(content, list):
        for name in content:
            _add(labels, *_named(name, name))
    elif isinstance(content, dict):
        for name, prompts in content.items():
            _add(labels, *_named(name, prompts))
    else:
        raise ValueError("neither a list nor an object")
    return labels


def _named(name: object, prompts: object) -> tuple[str, tuple[str, ...]]:
    texts = prompts if isinstance(prompts, list) else [prompts]
    if not isinstance(name, str) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{name!r} is no label with its prompts")
    if not texts:
        raise ValueError(f"{name!r} has no prompts")
    return name, tuple(texts)


def _add(found: dict[str, Any], name: str, value: object) -> None:
    if name in found:
        raise ValueError(f"label given more than once: {name!r}")
    found[name] = value
