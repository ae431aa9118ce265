"""Options that several commands share, in groups; each reads its own environment variable."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from clipcli.cli.console import Console
from clipcli.heads.labels import LABEL_PRESETS, TEMPLATE_SETS
from clipcli.models.catalogue import architectures
from clipcli.models.names import BUNDLED_MODEL
from clipcli.models.specs import DEFAULT_MODEL

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]
Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

# Larger batches are hardly faster on a CPU and take more memory; on a GPU they may be.
DEFAULT_BATCH_SIZE = 32


def grouped(*decorators: Decorator[Any]) -> Decorator[Any]:
    """One decorator of several, applied so that `--help` lists them in their order."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def _told_to_console(name: str) -> Callable[[click.Context, click.Parameter, bool], bool]:
    """A callback that sets one of the console's switches."""

    def callback(ctx: click.Context, _parameter: click.Parameter, value: bool) -> bool:
        console = ctx.find_object(Console)
        if console is not None:
            console.command = ctx.command_path
            if value:
                setattr(console, name, True)
        return value

    return callback


def _offers(names: Callable[[], Iterable[str]], *, others: str = "plain") -> Completer:
    """Completion with some names and, where `others` is `file` or `dir`, with the shell's own."""

    def complete(
        _ctx: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        items = [CompletionItem(name) for name in names() if name.startswith(incomplete)]
        return items if others == "plain" else [*items, CompletionItem(incomplete, type=others)]

    return complete


label_options = grouped(
    click.option(
        "-l",
        "--label",
        "labels",
        metavar="TEXT",
        multiple=True,
        help="A text to choose from, used as it is; give several.",
    ),
    click.option(
        "--labels",
        "label_files",
        metavar="FILE",
        multiple=True,
        shell_complete=_offers(lambda: LABEL_PRESETS, others="file"),
        help=f"A file with one label a line, or a preset: {', '.join(LABEL_PRESETS)}.",
    ),
    click.option(
        "-t",
        "--template",
        "templates",
        metavar="TEXT",
        multiple=True,
        shell_complete=_offers(lambda: TEMPLATE_SETS),
        help="A prompt with {} for the label, as 'a photo of a {}'; several are averaged. Or a set:"
        f" {', '.join(TEMPLATE_SETS)}.",
    ),
    click.option(
        "--no-cache", is_flag=True, help="Neither use nor keep embeddings of earlier labels."
    ),
)

weights_options = grouped(
    click.option(
        "--checkpoint",
        metavar="FILE",
        type=click.Path(),
        help="A .safetensors file in place of the model's weights.",
    ),
    click.option(
        "--quick-gelu/--no-quick-gelu",
        default=None,
        help="Whether the checkpoint was trained with QuickGELU.",
    ),
    click.option(
        "--allow-pickle",
        is_flag=True,
        help="Also read weights that are a pickle (.pt, .bin), as data only: no code in it runs.",
    ),
    click.option(
        "--revision",
        metavar="COMMIT|TAG|BRANCH",
        help="Of the model's repository on the hub.  [default: the commit that was first used]",
    ),
    click.option(
        "--offline",
        is_flag=True,
        envvar="CLIPCLI_OFFLINE",
        show_envvar=True,
        help="Use only models that are here already; download none.",
    ),
)

# Each environment variable is named in full: click's automatic prefix would read others, too, and
# split a label at its spaces.
model_options = grouped(
    click.option(
        "--model",
        metavar="NAME",
        default=DEFAULT_MODEL,
        show_default=True,
        envvar="CLIPCLI_MODEL",
        shell_complete=_offers(lambda: [BUNDLED_MODEL, *architectures()], others="dir"),
        show_envvar=True,
        help="ARCHITECTURE[:TAG] of open_clip, hf-hub:org/name, ./FOLDER, or tiny (bundled).",
    ),
    weights_options,
)

engine_options = grouped(
    click.option(
        "--engine",
        type=click.Choice(["auto", "onnx", "torch"]),
        default="auto",
        show_default=True,
        envvar="CLIPCLI_ENGINE",
        show_envvar=True,
        help="onnx: a prepared model (see `clipcli pull`) on the CPU, a fast start.",
    ),
    click.option(
        "--device",
        metavar="auto|cpu|cuda|mps|cuda:N",
        default="auto",
        show_default=True,
        envvar="CLIPCLI_DEVICE",
        shell_complete=_offers(lambda: ("auto", "cpu", "cuda", "mps")),
        show_envvar=True,
        help="Where the model runs.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["fp32", "fp16", "bf16", "int8"]),
        default="fp32",
        show_default=True,
        envvar="CLIPCLI_PRECISION",
        show_envvar=True,
        help="Of the model's arithmetic; fp16 needs a GPU, int8 a model prepared so.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        metavar="N",
        envvar="CLIPCLI_THREADS",
        show_envvar=True,
        help="Processor threads of the model.  [default: as many as the process may use]",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        metavar="N",
        default=DEFAULT_BATCH_SIZE,
        show_default=True,
        help="Images in one run of the model.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        metavar="N",
        help="Threads that read and decode images.  [default: one a processor]",
    ),
)

console_options = grouped(
    click.option(
        "-v",
        "--verbose",
        is_flag=True,
        expose_value=False,
        callback=_told_to_console("verbose"),
        help="Tell what is done; show shapes and all labels.",
    ),
    click.option(
        "-q",
        "--quiet",
        is_flag=True,
        expose_value=False,
        callback=_told_to_console("quiet"),
        help="No warnings, progress or summary.",
    ),
    click.option(
        "--debug",
        is_flag=True,
        is_eager=True,  # before another option's value is refused
        expose_value=False,
        callback=_told_to_console("debug"),
        help="With an error, show where in the program it comes from.",
    ),
)
