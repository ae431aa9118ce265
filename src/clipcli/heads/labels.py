"""The texts to choose between: labels and the templates that make prompts of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from clipcli.assets import preset
from clipcli.errors import UsageError
from clipcli.heads.label_files import read_labels, read_templates

UNKNOWN = "unknown"
"""The answer for an image whose best probability is below the wanted minimum."""

VERBATIM = "{}"
TEMPLATE_SETS = ("openai7", "openai80")


@dataclass(frozen=True)
class LabelSet:
    """Labels and the templates that make prompts of them.

    Attributes:
        names: L of them, distinct and not empty, in the user's order.
        templates: texts in which `{}` stands for the label.
        texts: for each label the texts that stand in the templates for it; empty where each
            stands for itself.

    Raises:
        UsageError: no label, an empty or repeated one, or a template without `{}`.
    """

    names: tuple[str, ...]
    templates: tuple[str, ...] = (VERBATIM,)
    texts: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if not self.names:
            raise UsageError("no labels: name some with -l TEXT or --labels FILE")
        texts = [text for several in self.texts for text in several]
        # A prompt of nothing fits every picture a little, and is a slip of the pen each time.
        if not all(text.strip() for text in (*self.names, *texts)) or not all(self.texts):
            raise UsageError("a label is empty")
        if not all(_is_text(text) for text in (*self.names, *texts, *self.templates)):
            raise UsageError("a label or template holds bytes that are not UTF-8 text")
        _check_distinct(self.names)
        for template in self.templates:
            if VERBATIM not in template:
                raise UsageError(f"template {template!r} has no {{}} where the label goes")

    @classmethod
    def of(cls, labels: Mapping[str, Sequence[str]], templates: Sequence[str]) -> Self:
        """Labels with texts of their own, as `collect_labels` gives them.

        Raises:
            UsageError: as for the class.
        """
        texts = tuple(tuple(several) for several in labels.values())
        names = tuple(labels)
        is_plain = texts == tuple((name,) for name in names)
        return cls(names, tuple(templates), () if is_plain else texts)

    def check_alternatives(self, activation: str) -> None:
        """Refuse a question that has only one answer.

        Args:
            activation: `softmax` or `sigmoid`, as the model was trained.

        Raises:
            UsageError: one label under softmax, whose probability is always 1.
        """
        if activation == "softmax" and len(self.names) == 1:
            raise UsageError(
                f"one label alone always has probability 1: name an alternative to"
                f" {self.names[0]!r}, for example -l 'something else'"
            )

    def prompts(self) -> list[list[str]]:
        """For each label its prompts: each of its texts in every template, text by text."""
        several = self.texts or tuple((name,) for name in self.names)
        return [
            # Not str.format: a label or a template may hold other braces.
            [template.replace(VERBATIM, text) for text in texts for template in self.templates]
            for texts in several
        ]


def collect_labels(inline: Iterable[str], files: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Labels given one by one, then those of presets and files, each in its own order.

    Args:
        inline: labels, used as they are.
        files: preset names, paths of files, or `-` for standard input (see `read_labels`).

    Returns:
        A label -> the texts that stand for it in the templates.

    Raises:
        UsageError: a file cannot be read, or a label is given more than once.
    """
    found: list[tuple[str, tuple[str, ...]]] = [(name, (name,)) for name in inline]
    for file in files:
        found += read_labels(file).items()
    _check_distinct([name for name, _ in found])
    return dict(found)


def collect_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Templates as given, sets and files replaced by what they hold; by default the label alone.

    Args:
        templates: texts with `{}`, names of built-in sets, or `@FILE` for a file of templates.

    Raises:
        UsageError: a file cannot be read.
    """
    found: list[str] = []
    for template in templates:
        if template in TEMPLATE_SETS:
            found += preset("templates", template)
        # `@{}` is a template.
        elif template.startswith("@") and VERBATIM not in template:
            found += read_templates(template[1:])
        else:
            found.append(template)
    return tuple(found) or (VERBATIM,)


def _check_distinct(names: Iterable[str]) -> None:
    # They would share one label's probability, and neither would be found by a threshold.
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise UsageError(f"label given more than once: {', '.join(map(repr, repeated))}")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # undecodable bytes of the command line, as lone surrogates
        return False
    return True
