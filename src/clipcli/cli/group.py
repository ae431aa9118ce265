"""A click group of commands that are imported when they run, one of them where none is named."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem
from click_default_group import DefaultGroup

from clipcli.cli.advice import command_meant
from clipcli.cli.exit_codes import ExitCode
from clipcli.errors import UsageError


class LazyCommand(click.Command):
    """What the group's help says of a command, whose options another module has.

    All commands together take longer to import than an answer of `clipcli --help` may.

    Args:
        name: of the command.
        place: where it is, as `module:attribute`.
        help: the first paragraph of its own help.
    """

    def __init__(self, name: str, place: str, help: str) -> None:  # noqa: A002  click's own word
        # Given as the short one too, which click would cut to a line.
        super().__init__(name, help=help, short_help=help)
        self._place = place

    def load(self) -> click.Command:
        """The command itself."""
        module, _, attribute = self._place.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


class DefaultCommandGroup(DefaultGroup):  # type: ignore[misc]  # the library has no types
    """A `DefaultGroup` whose default command keeps `--` and completes as if it were named.

    Args:
        default: the command that is meant where none is named.
    """

    def __init__(self, *args: Any, default: LazyCommand, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, default=default.name, **kwargs)
        self.default_command = default
        self.add_command(default)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the default command's name before the group's own parser drops a `--`."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help())
            ctx.exit(ExitCode.USAGE)
        args = _as_options(args)
        if args and args[0] not in self.commands and args[0] not in self._own_options(ctx):
            self._check_word(args[0], ctx)
            args = [str(self.default_command.name), *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that runs, imported: neither help nor completion of its name needs it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, LazyCommand) else command, rest

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands and the group's options, and what the default command offers here."""
        items: list[CompletionItem] = super().shell_complete(ctx, incomplete)
        command = self.default_command.load()
        default_ctx = command.make_context(command.name, [], parent=ctx, resilient_parsing=True)
        known = {item.value for item in items}
        offered = command.shell_complete(default_ctx, incomplete)
        if not incomplete.startswith("-"):
            for parameter in command.params:
                if isinstance(parameter, click.Argument):
                    offered += parameter.shell_complete(default_ctx, incomplete)
        return items + [item for item in offered if item.value not in known]

    def _check_word(self, word: str, ctx: click.Context) -> None:
        """Refuse what is no image and nearly a command's name."""
        meant = None if word.startswith("-") else command_meant(word, self.commands)
        if meant is not None and not ctx.resilient_parsing:
            raise UsageError(
                f"there is no command and no image {word!r}: did you mean 'clipcli {meant}'?"
                f" (an image of that name is ./{word})"
            )

    def _own_options(self, ctx: click.Context) -> set[str]:
        return {name for parameter in self.get_params(ctx) for name in parameter.opts}


def _as_options(args: list[str]) -> list[str]:
    """`help`, `help COMMAND` and `version`, as other programs have them, in clipcli's own words."""
    match args:
        case ["help", *command]:
            return [*command[:1], "--help"]
        case ["version"]:
            return ["--version"]
        case _:
            return args
