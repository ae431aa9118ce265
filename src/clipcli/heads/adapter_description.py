"""What an adapter is, and how it came about: its `adapter.json`, with a type for each field."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from clipcli.heads.labels import LabelSet
from clipcli.images.options import FITS
from clipcli.models.fields import (
    NULL,
    TABLE,
    TEXT,
    Rule,
    Rules,
    check,
    choice,
    number,
    parse_json,
    whole,
)

FORMAT = 1
"""Of the description; another number is another clipcli's adapter."""

METHODS = ("probe", "lora")
"""Ways to adapt that an adapter may be made by."""

_MOST_LABELS, _MOST_PICTURES = 1 << 20, 1 << 24


@dataclass(frozen=True)
class Description:
    """What an adapter is, and how it came about: its `adapter.json`.

    Attributes:
        method: one of `METHODS`.
        model: canonical name of the model that it adapts.
        fingerprint: of that model.
        embed_dim: width of the embeddings.
        preprocess: `plain` or `reference`, as in `--preprocess`.
        fit: how pictures were brought into the model's shape, as in `--fit`.
        labels: L names.
        templates: that made prompts of them.
        texts: of each label, where it is not its name alone; else empty.
        counts: pictures of each label.
        hyperparameters: of the method.
        seed: of what was drawn.
        shots: pictures of each class that were wanted; None for all.
        figures: what it gained, on pictures that were held out.
        temperature: divides the logits.
        thresholds: of novelty, by the ways to score it.
        pictures: sha256 of each picture's file; None where there was none to read.
        tensors_sha256: of the other file.
        tensors_bytes: its size.
        versions: of clipcli and of what else has a part in the numbers.
        format: `FORMAT`.
    """

    method: str
    model: str
    fingerprint: str
    embed_dim: int
    preprocess: str
    fit: str
    labels: Sequence[str]
    templates: Sequence[str]
    texts: Sequence[Sequence[str]]
    counts: Sequence[int]
    hyperparameters: Mapping[str, Any]
    seed: int
    shots: int | None
    figures: Mapping[str, Any]
    temperature: float
    thresholds: Mapping[str, float]
    pictures: Sequence[str | None]
    tensors_sha256: str = ""
    tensors_bytes: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def to_json(self) -> str:
        """The description as it is written to disk."""
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Description:
        """Read what `to_json` wrote.

        Raises:
            ValueError: it is not a description of this format, or holds what no adapter has.
        """
        found = parse_json(text)
        # A later clipcli may mean something else by a field of the same name.
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise ValueError("not an adapter of this version")
        check(found, _RULES, "", needed=_RULES)
        if not len(found["labels"]) == len(found["counts"]) >= 2:
            raise ValueError("labels and counts are not of one length, or there is one label alone")
        if found["texts"] and len(found["texts"]) != len(found["labels"]):
            raise ValueError("texts are not of the labels' length")
        if sum(found["counts"]) != len(found["pictures"]):
            raise ValueError("counts do not add up to the pictures")
        return cls(**found)

    @property
    def label_set(self) -> LabelSet:
        """The labels with their templates and texts.

        Raises:
            UsageError: they are none.
        """
        texts = tuple(tuple(several) for several in self.texts)
        return LabelSet(tuple(self.labels), tuple(self.templates), texts)


def _digits(count: int) -> Rule:
    pattern = re.compile(f"[0-9a-f]{{{count}}}")
    wanted = f"{count} hexadecimal digits"
    return Rule(wanted, lambda value: isinstance(value, str) and bool(pattern.fullmatch(value)))


def _listed(rule: Rule, most: int) -> Rule:
    def holds(value: Any) -> bool:  # noqa: ANN401
        return isinstance(value, list) and len(value) <= most and all(map(rule.holds, value))

    return Rule(f"a list, each {rule.wanted}", holds)


_RULES: Rules = {
    "format": whole(FORMAT, FORMAT),
    "method": choice(*METHODS),
    "model": TEXT,
    "fingerprint": _digits(32),
    "embed_dim": whole(1, 1 << 16),
    "preprocess": choice("plain", "reference"),
    "fit": choice(*FITS),
    "labels": _listed(TEXT, _MOST_LABELS),
    "templates": _listed(TEXT, 1 << 16),
    "texts": _listed(_listed(TEXT, 1 << 16), _MOST_LABELS),
    "counts": _listed(whole(0, _MOST_PICTURES), _MOST_LABELS),
    "hyperparameters": TABLE,
    "seed": whole(0, 2**32 - 1),
    "shots": whole(1, _MOST_PICTURES) | NULL,
    "figures": TABLE,
    "temperature": number(1e-3, 1e3),
    "thresholds": Rule(
        "a table of numbers",
        lambda value: (
            isinstance(value, dict) and all(map(number(-1e300, 1e300).holds, value.values()))
        ),
    ),
    "pictures": _listed(_digits(64) | NULL, _MOST_PICTURES),
    "tensors_sha256": _digits(64),
    "tensors_bytes": whole(1, 1 << 40),
    "versions": TABLE,
}
