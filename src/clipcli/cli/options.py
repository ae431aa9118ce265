"""Options that several commands share, in groups; each reads its own environment variable."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from clipcli.catalogue import architectures
from clipcli.cli.arguments import DEFAULT_DECODE_SECONDS
from clipcli.cli.console import Console
from clipcli.labels import LABEL_PRESETS, TEMPLATE_SETS
from clipcli.models import BUNDLED_MODEL, DEFAULT_MODEL

Command = TypeVar("Command", bound=Callable[..., Any])
Decorator = Callable[[Command], Command]
Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

# Larger batches are hardly faster on a CPU and take more memory; on a GPU they may be.
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


naming_options = _grouped(
    click.argument("images", nargs=-1, type=click.Path(), metavar="IMAGE..."),
    click.option(
        "-r", "--recursive", is_flag=True, help="Search folders, and folders in them, for images."
    ),
    click.option(
        "--files-from",
        metavar="FILE",
        type=click.Path(allow_dash=True),
        help="Read image names from FILE (- for standard input), one a line.",
    ),
    click.option(
        "-0",
        "--null",
        "null_separated",
        is_flag=True,
        help="In the list, names end with NUL, as `find -print0` writes them.",
    ),
    click.option(
        "--shard",
        metavar="I/N",
        help="Take only the I-th of N equal parts of the images, from 1/N to N/N.",
    ),
)

reading_options = _grouped(
    click.option(
        "--allow-format",
        "extra_formats",
        multiple=True,
        type=click.Choice(["tiff", "avif", "jpeg2000"]),
        help="Also open images of this format.",
    ),
    click.option(
        "--max-bytes",
        type=click.IntRange(min=1),
        metavar="N",
        help="Refuse larger files.  [default: 268,435,456; from the network 50,000,000]",
    ),
    click.option(
        "--max-pixels",
        type=click.IntRange(min=1),
        metavar="N",
        help="Refuse larger images.  [default: 200,000,000]",
    ),
    click.option(
        "--preprocess",
        type=click.Choice(["plain", "reference"]),
        default="plain",
        show_default=True,
        help="plain: upright, on white, 16 bits scaled. reference: exactly open_clip's transform.",
    ),
    click.option(
        "--fast-decode",
        is_flag=True,
        help="Decode large JPEG photos at a fraction of their size; numbers change a little.",
    ),
    click.option(
        "--isolate",
        is_flag=True,
        help="Decode in processes of their own: one that hangs or dies costs one image.",
    ),
    click.option(
        "--decode-timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help=f"With --isolate, for each image.  [default: {DEFAULT_DECODE_SECONDS:g}]",
    ),
    click.option(
        "--allow-host",
        "allowed_hosts",
        metavar="HOST[:PORT]",
        multiple=True,
        help="Fetch from this host even if its address is private (localhost, 10.0.0.7).",
    ),
    click.option(
        "--fetch-concurrency",
        type=click.IntRange(min=1),
        metavar="N",
        help="Downloads at once.  [default: 16]",
    ),
    click.option(
        "--fetch-per-host",
        type=click.IntRange(min=1),
        metavar="N",
        help="Downloads at once from one host.  [default: 4]",
    ),
    click.option(
        "--proxy",
        metavar="URL",
        help="Fetch through this proxy, http(s)://[NAME:PASSWORD@]HOST[:PORT]; it then decides"
        " what addresses a host name leads to.",
    ),
)

input_options = _grouped(naming_options, reading_options)

embeddings_option = click.option(
    "--embeddings",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Score the images of a file that `clipcli embed` made, in place of IMAGEs.",
)

label_options = _grouped(
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

weights_options = _grouped(
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
model_options = _grouped(
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

engine_options = _grouped(
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

run_options = _grouped(
    click.option(
        "--unordered",
        is_flag=True,
        help="Give results as they are ready, not in input order: no image waits for a slow one.",
    ),
    click.option("--fail-fast", is_flag=True, help="End at the first image that fails."),
    click.option(
        "--max-errors",
        type=click.IntRange(min=1),
        metavar="N",
        help="End when N images have failed.",
    ),
    click.option(
        "--summary",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        help="At the end, write counts, rate, settings and versions to FILE, as JSON.",
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
        help="Answer `unknown` where the best label has less than P.",
    ),
    click.option(
        "--expect",
        metavar="LABEL",
        help="Exit with 6 unless this label (or `unknown`) is every image's answer.",
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
    click.option(
        "--preview", is_flag=True, help="Show each image beside its bars, on a terminal in colours."
    ),
)

file_options = _grouped(
    click.option(
        "-o",
        "--output",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        help="Write to FILE.part, renamed to FILE when the run is whole. .jsonl, .json, .csv and"
        " .tsv choose the format.",
    ),
    click.option(
        "--resume",
        is_flag=True,
        help="Go on where the run that wrote FILE.part (of -o FILE, JSONL) was cut.",
    ),
    click.option(
        "--retry-failed",
        is_flag=True,
        help="Try the failed images of -o FILE (JSONL) once more, and keep the other results.",
    ),
)

report_option = click.option(
    "--report",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Also write a page (.html) with all images and their scores, for any browser.",
)

console_options = _grouped(
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
