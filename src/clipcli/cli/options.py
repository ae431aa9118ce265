"""Options that several commands share, in groups; each reads its own environment variable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from clipcli.cli.console import Console
from clipcli.labels import LABEL_PRESETS, TEMPLATE_SETS
from clipcli.models import DEFAULT_MODEL

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]

DEFAULT_BATCH_SIZE = 32


def _grouped(*decorators: Decorator[Any]) -> Decorator[Any]:
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
        if console is not None and value:
            setattr(console, name, True)
        return value

    return callback


input_options = _grouped(
    click.argument("images", nargs=-1, type=click.Path(), metavar="IMAGE..."),
    click.option(
        "-r", "--recursive", is_flag=True, help="Search folders for images, and their folders."
    ),
    click.option(
        "--files-from",
        metavar="FILE",
        type=click.Path(allow_dash=True),
        help="Read image names from FILE (- for standard input), one a line.",
    ),
    click.option(
        "-0", "--null", "null_separated", is_flag=True, help="Names in the list end with NUL."
    ),
    click.option(
        "--allow-host",
        "allowed_hosts",
        metavar="HOST[:PORT]",
        multiple=True,
        help="Fetch from this host though its address is not public.",
    ),
    click.option(
        "--allow-format",
        "extra_formats",
        multiple=True,
        type=click.Choice(["tiff", "avif", "jpeg2000"]),
        help="Also open images of this format.",
    ),
    click.option(
        "--max-pixels",
        type=click.IntRange(min=1),
        metavar="N",
        help="Refuse images of more pixels.  [default: 200,000,000]",
    ),
    click.option(
        "--preprocess",
        type=click.Choice(["plain", "reference"]),
        default="plain",
        show_default=True,
        help="plain: upright, on white, 16 bits scaled. reference: exactly open_clip's transform.",
    ),
)

label_options = _grouped(
    click.option(
        "-l", "--label", "labels", metavar="TEXT", multiple=True, help="A label, used as it is."
    ),
    click.option(
        "--labels",
        "label_files",
        metavar="FILE",
        multiple=True,
        help=f"A file with one label a line, or a preset: {', '.join(LABEL_PRESETS)}.",
    ),
    click.option(
        "-t",
        "--template",
        "templates",
        metavar="TEXT",
        multiple=True,
        help="A prompt with {} for the label; several are averaged. Or a built-in set:"
        f" {', '.join(TEMPLATE_SETS)}.",
    ),
)

model_options = _grouped(
    click.option(
        "--model",
        metavar="NAME",
        default=DEFAULT_MODEL,
        show_default=True,
        envvar="CLIPCLI_MODEL",
        show_envvar=True,
        help="ARCHITECTURE[:TAG] of open_clip, hf-hub:org/name, ./FOLDER, or tiny (bundled).",
    ),
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
        "--offline",
        is_flag=True,
        envvar="CLIPCLI_OFFLINE",
        show_envvar=True,
        help="Download no model.",
    ),
)

engine_options = _grouped(
    click.option(
        "--device",
        metavar="auto|cpu|cuda|mps|cuda:N",
        default="auto",
        show_default=True,
        envvar="CLIPCLI_DEVICE",
        show_envvar=True,
        help="Where the model runs.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["fp32", "fp16", "bf16"]),
        default="fp32",
        show_default=True,
        envvar="CLIPCLI_PRECISION",
        show_envvar=True,
        help="Of the model's arithmetic; fp16 needs a GPU.",
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

output_options = _grouped(
    click.option(
        "-k",
        "--top-k",
        type=click.IntRange(min=1),
        metavar="N",
        help="Labels to show for each image.  [default: 5; in TSV 1; with -v all]",
    ),
    click.option(
        "--min-probability",
        type=click.FloatRange(0, 1),
        metavar="P",
        default=0.0,
        help="Answer `unknown` where the best label has less.",
    ),
    click.option(
        "--expect",
        metavar="LABEL",
        help="Exit with 6 unless this is the answer for every image.",
    ),
    click.option(
        "--format",
        "output_format",
        type=click.Choice(["human", "tsv", "csv", "json", "jsonl"]),
        envvar="CLIPCLI_FORMAT",
        show_envvar=True,
        help="[default: human on a terminal, tsv elsewhere]",
    ),
    click.option("--json", "as_json", is_flag=True, help="Short for --format json."),
    click.option("--jsonl", "as_jsonl", is_flag=True, help="Short for --format jsonl."),
    click.option("--no-color", is_flag=True, help="No colours on a terminal (as with NO_COLOR)."),
)

console_options = _grouped(
    click.option(
        "-v",
        "--verbose",
        is_flag=True,
        callback=_told_to_console("verbose"),
        help="Tell what is done; show shapes and all probabilities.",
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
        expose_value=False,
        callback=_told_to_console("debug"),
        help="Show where an error comes from.",
    ),
)
