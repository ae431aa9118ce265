"""The texts to choose between: label names, prompt templates, built-in presets, label files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clipcli.assets import preset
from clipcli.errors import UsageError

UNKNOWN = "unknown"
"""The answer for an image whose best probability is below the wanted minimum."""

VERBATIM = "{}"
LABEL_PRESETS = ("cifar10", "cifar100", "imagenet")
TEMPLATE_SETS = ("openai7", "openai80")


@dataclass(frozen=True)
class LabelSet:
    """Labels and the templates that make prompts of them.

    Attributes:
        names: distinct and not empty, in the user's order.
        templates: texts in which `{}` stands for the label.

    Raises:
        UsageError: no label, an empty or repeated one, or a template without `{}`.
    """

    names: tuple[str, ...]
    templates: tuple[str, ...] = (VERBATIM,)

    def __post_init__(self) -> None:
        if not self.names:
            raise UsageError("no labels: name some with -l TEXT or --labels FILE")
        # A prompt of nothing fits every picture a little, and is a slip of the pen each time.
        if not all(name.strip() for name in self.names):
            raise UsageError("a label is empty")
        if not all(_is_text(text) for text in (*self.names, *self.templates)):
            raise UsageError("a label or template holds bytes that are not UTF-8 text")
        # They would share one label's probability, and neither would be found by a threshold.
        repeated = [name for name, count in Counter(self.names).items() if count > 1]
        if repeated:
            raise UsageError(f"label given more than once: {', '.join(map(repr, repeated))}")
        for template in self.templates:
            if VERBATIM not in template:
                raise UsageError(f"template {template!r} has no {{}} where the label goes")

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

    def prompts(self) -> list[str]:
        """Every label in every template, label by label: len(names) * len(templates) texts."""
        # Not str.format: a label or a template may hold other braces.
        return [
            template.replace(VERBATIM, name) for name in self.names for template in self.templates
        ]


def collect_labels(inline: Iterable[str], files: Iterable[str]) -> tuple[str, ...]:
    """Labels given one by one, then those of presets and files, each in its own order.

    Args:
        inline: labels, used as they are.
        files: preset names, or paths of files with a label a line.

    Raises:
        UsageError: a file cannot be read.
    """
    names = list(inline)
    for file in files:
        names += preset("labels", file) if file in LABEL_PRESETS else _label_file(file)
    return tuple(names)


def collect_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Templates as given, built-in sets replaced by what they hold; by default the label alone."""
    found: list[str] = []
    for template in templates:
        found += preset("templates", template) if template in TEMPLATE_SETS else [template]
    return tuple(found) or (VERBATIM,)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # undecodable bytes of the command line, as lone surrogates
        return False
    return True


def _label_file(name: str) -> list[str]:
    """One label a line; blank lines and lines that start with `#` are skipped."""
    try:
        text = Path(name).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        presets = ", ".join(LABEL_PRESETS)
        raise UsageError(
            f"cannot read labels from {name!r} ({reason}); built-in presets are {presets}"
        ) from error
    # Not splitlines(), which also splits at characters that may stand in a label.
    lines = [line.strip() for line in text.split("\n") if not line.startswith("#")]
    labels = [line for line in lines if line]
    if not labels:
        raise UsageError(f"no labels in {name!r}: write one a line")
    return labels
