"""Groups of options: each a small frozen dataclass whose fields say how they are written.

A command that takes a group gets an instance of it; which group an option is in, its help and its
default are said once, where its field is. An instance checks itself when it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from functools import wraps
from typing import Any, TypeVar, dataclass_transform

import click
from click.shell_completion import CompletionItem

Command = TypeVar("Command", bound=Callable[..., Any])
Kind = TypeVar("Kind")
_SECTIONS: dict[type, str] = {}

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


OTHERS = "Other options"
"""The section of what belongs to no group: help, and what is told."""


class SectionOption(click.Option):
    """An option that `--help` lists in a section.

    Args:
        section: its heading.
    """

    def __init__(self, *arguments: Any, section: str, **attributes: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **attributes)
        self.section = section


class SectionedCommand(click.Command):
    """A command whose `--help` lists its options in sections, in the order of its groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections; what belongs to no group comes last."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            told = parameter.get_help_record(ctx)
            # Arguments are in the usage line.
            if told is not None and isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "section", OTHERS), []).append(told)
        others = sections.pop(OTHERS, [])
        for heading, rows in [*sections.items(), (OTHERS, others)]:
            with formatter.section(heading):
                formatter.write_dl(rows)


def option(*names: str, **attributes: Any) -> Any:  # noqa: ANN401
    """A field that is a click option.

    Args:
        names: as they are written on the command line, `-k` and `--top-k`.
        attributes: click's, of the option.
    """
    many = attributes.get("multiple", False)
    default = attributes.get("default", () if many else False if "is_flag" in attributes else None)
    return field(default=default, metadata={"parameter": (click.option, names, attributes)})


def argument(**attributes: Any) -> Any:  # noqa: ANN401
    """A field that is a click argument.

    Args:
        attributes: click's, of the argument.
    """
    default = () if attributes.get("nargs") == -1 else None
    return field(default=default, metadata={"parameter": (click.argument, (), attributes)})


@dataclass_transform(frozen_default=True, eq_default=False)
def group(section: str) -> Callable[[type[Kind]], type[Kind]]:
    """Make a class a group: a frozen dataclass, of fields that `option` and `argument` made.

    Args:
        section: of `--help`, in which the options are listed; groups may share one.
    """

    def decorate(kind: type[Kind]) -> type[Kind]:
        _SECTIONS[kind] = section
        # Nobody compares or prints them, and a start has some twenty to make.
        return dataclass(frozen=True, eq=False, repr=False)(kind)

    return decorate


def takes(**groups: type) -> Callable[[Command], Command]:
    """Give a command the options of some groups.

    Args:
        groups: the command's parameter -> the dataclass that it becomes an instance of. `--help`
            lists the options in this order.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def grouped(*args: Any, **values: Any) -> Any:  # noqa: ANN401
            made = {
                name: kind(**{one.name: values.pop(one.name) for one in fields(kind)})
                for name, kind in groups.items()
            }
            return command(*args, **values, **made)

        decorated: Any = grouped
        declared = [(one, kind) for kind in groups.values() for one in fields(kind)]
        for one, kind in reversed(declared):
            parameter, names, attributes = one.metadata["parameter"]
            if parameter is click.option:
                attributes = {"cls": SectionOption, "section": _SECTIONS[kind], **attributes}
            decorated = parameter(*names, one.name, **attributes)(decorated)
        result: Command = decorated
        return result

    return decorate


def offers(names: Callable[[], Iterable[str]], *, others: str = "plain") -> Completer:
    """Completion with some names and, where `others` is `file` or `dir`, with the shell's own."""

    def complete(
        _ctx: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        items = [CompletionItem(name) for name in names() if name.startswith(incomplete)]
        return items if others == "plain" else [*items, CompletionItem(incomplete, type=others)]

    return complete
