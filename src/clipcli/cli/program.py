"""The commands in their group, and the one place that maps errors to exit codes."""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress

import click
from click.shell_completion import shell_complete

from clipcli.cli.advice import model_ways_out, with_owners
from clipcli.cli.console import Console
from clipcli.cli.exit_codes import ExitCode
from clipcli.cli.group import DefaultCommandGroup, LazyCommand
from clipcli.cli.running.interruption import Signals, Terminated
from clipcli.cli.shells import COMPLETE_VARIABLE, register_shells
from clipcli.disk.atomic import cannot_write
from clipcli.errors import (
    DISK_FULL,
    ClipcliError,
    ModelError,
    UnavailableModelError,
    UsageError,
)
from clipcli.version import __version__

_EXIT_CODES: tuple[tuple[tuple[type[BaseException], ...], ExitCode], ...] = (
    ((click.ClickException, UsageError), ExitCode.USAGE),
    ((ModelError,), ExitCode.NO_MODEL),
    ((click.Abort, KeyboardInterrupt), ExitCode.INTERRUPTED),
    ((Terminated,), ExitCode.TERMINATED),
    ((BrokenPipeError,), ExitCode.READER_GONE),
)


# Also what a stream says that was opened for reading, or not at all.
_CANNOT_WRITE = DISK_FULL | {errno.EBADF}

# The one that is meant where none is named comes first.
_COMMANDS = (
    LazyCommand(
        "classify",
        "clipcli.cli.commands.classify:classify",
        "Say which of some texts fits each IMAGE best.",
    ),
    LazyCommand(
        "embed", "clipcli.cli.commands.embed:embed", "Embed each IMAGE once, to ask often."
    ),
    LazyCommand(
        "search",
        "clipcli.cli.commands.search:search",
        "Find the pictures that fit a TEXT, or a picture, best.",
    ),
    LazyCommand(
        "eval",
        "clipcli.cli.commands.eval:evaluate",
        "Measure how good the answers are on pictures of your own, whose labels you know.",
    ),
    LazyCommand(
        "adapt",
        "clipcli.cli.commands.adapt:adapt",
        "Learn from a few pictures of each class what the model takes them for.",
    ),
    LazyCommand(
        "explain",
        "clipcli.cli.commands.explain:explain",
        "Show where in an IMAGE the answer comes from.",
    ),
    LazyCommand(
        "undo",
        "clipcli.cli.commands.undo:undo",
        "Put back what `clipcli classify` has moved, copied or linked.",
    ),
    LazyCommand(
        "pull",
        "clipcli.cli.commands.pull:pull",
        "Download a model, or take a local one, and prepare it.",
    ),
    LazyCommand(
        "models", "clipcli.cli.commands.models:models", "List the models that are at hand."
    ),
    LazyCommand(
        "convert",
        "clipcli.cli.commands.convert:convert",
        "Make safetensors of OpenAI's TorchScript archives and of pickled state dicts.",
    ),
    LazyCommand(
        "doctor",
        "clipcli.cli.commands.doctor:doctor",
        "Examine this installation, and exit with 0 only if all that ran agreed.",
    ),
    LazyCommand(
        "cache", "clipcli.cli.commands.cache:cache", "Show or clear the caches of embeddings."
    ),
    LazyCommand(
        "completion",
        "clipcli.cli.commands.completion:completion",
        "Print the completion script of a shell.",
    ),
)


@click.group(
    cls=DefaultCommandGroup,
    default=_COMMANDS[0],
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=False,
    options_metavar="",
    subcommand_metavar="IMAGE... -l TEXT -l TEXT | COMMAND [ARGS]...",
)
@click.version_option(__version__, prog_name="clipcli", message="%(prog)s %(version)s")
def cli() -> None:
    """Which of these texts fits this image? Zero-shot classification with CLIP.

    \b
    clipcli cat.jpg -l 'a photo of a cat' -l 'a photo of a dog'
    clipcli cat.jpg -l cat -l dog --model tiny      (bundled, needs no network)
    find photos -name '*.jpg' -print0 | clipcli -0 --files-from - -l cat -l dog

    Without a command word, clipcli is `clipcli classify`: see `clipcli classify --help` for all
    its options. A file that is named like a command is written ./NAME.
    """  # noqa: D301  click wants the character \b itself


for command in _COMMANDS[1:]:
    cli.add_command(command)


def run(arguments: list[str]) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name.

    Returns:
        The exit code, as in the README's table.
    """
    console = Console(arguments)
    with Signals() as signals:
        code = _ended(arguments, console, signals)
    # Whatever has become of what the signal raised: libraries replace it, or go on.
    return signals.exit_code or code


def _ended(arguments: list[str], console: Console, signals: Signals) -> int:
    try:
        return _invoke(arguments, console)
    except click.exceptions.Exit as end:
        return end.exit_code
    except BaseException as error:  # noqa: BLE001  the one place where every error ends
        code = _exit_code(error)
        if signals.exit_code is None:
            with suppress(OSError):  # nobody may be reading standard error either
                _tell(error, code, console)
        return code


def _invoke(arguments: list[str], console: Console) -> int:
    # Not by click's own main(), which answers a closed pipe with 1 and hides that it was one.
    instruction = os.environ.get(COMPLETE_VARIABLE)
    if instruction:
        register_shells()
        return shell_complete(cli, {"obj": console}, "clipcli", COMPLETE_VARIABLE, instruction)
    with cli.make_context("clipcli", arguments, obj=console) as context:
        return int(cli.invoke(context) or 0)


def _exit_code(error: BaseException) -> int:
    codes = (code for kinds, code in _EXIT_CODES if isinstance(error, kinds))
    return next(codes, ExitCode.UNEXPECTED)


def _tell(error: BaseException, code: int, console: Console) -> None:
    if code == ExitCode.USAGE:
        console.error(error, _usage_message(error, console.command))
    elif isinstance(error, UnavailableModelError):
        console.error(error, model_ways_out(error, _options(console), console.words))
        console.detail(error.detail)
    elif isinstance(error, ModelError):
        console.error(error, with_owners(str(error), _options(console)))
    elif isinstance(error, ClipcliError):
        console.error(error, str(error))
    elif isinstance(error, OSError) and error.errno in _CANNOT_WRITE:
        console.error(error, _unwritten(error))
    elif isinstance(error, Exception) and code == ExitCode.UNEXPECTED:
        console.unexpected(error)


def _example(command: click.Command) -> str:
    """How a command is used, as the first example in its help has it."""
    found = re.search(rf"clipcli {command.name} .*", command.help or "")
    return found[0] if found else f"clipcli {command.name} ..."


def _options(console: Console) -> set[str]:
    """The options of the command that runs."""
    command = cli.commands[console.command.split()[-1]]
    loaded = command.load() if isinstance(command, LazyCommand) else command
    return {name for parameter in loaded.params for name in parameter.opts}


def _unwritten(error: OSError) -> str:
    """That something takes no results: where no file is named, it is standard output."""
    if error.errno not in DISK_FULL:
        return f"the results cannot be written ({error.strerror})"
    if error.filename is not None:
        return str(cannot_write(error.filename, error))
    text = f"the results cannot be written to standard output ({error.strerror})"
    return f"{text}: make room where it leads, then give the same command again"


def tell_if_full(error: OSError) -> None:
    """Tell that a disk took no more of standard output, when all else has been done."""
    if error.errno in DISK_FULL:
        with suppress(OSError):  # nobody may be reading standard error either
            _tell(error, ExitCode.UNEXPECTED, Console())


def _usage_message(error: BaseException, command: str) -> str:
    """What is wrong with the command line, in one line, and where to read more."""
    text = str(error)
    if isinstance(error, click.ClickException):
        text = " ".join(error.format_message().split())  # click breaks some into lines
        context = getattr(error, "ctx", None)
        command = context.command_path if context else command
    if isinstance(error, click.MissingParameter) and context is not None:
        text = f"{text.rstrip('.')}; for example: {_example(context.command)}"
    return f"{text.rstrip('.')} (see '{command} --help')"
