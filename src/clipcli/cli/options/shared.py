"""Options that most commands share: the model, the engine, the labels, what is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from clipcli.cli.console import Console
from clipcli.cli.options.groups import Command, group, offers, option
from clipcli.engines.base import ENGINES, PRECISIONS, EngineOptions
from clipcli.engines.batches import DEFAULT_BATCH_SIZE
from clipcli.errors import UsageError
from clipcli.heads.label_files import LABEL_PRESETS, STDIN
from clipcli.heads.labels import TEMPLATE_SETS, LabelSet, collect_labels, collect_templates
from clipcli.models.catalogue import architectures, pretrained_tags
from clipcli.models.names import BUNDLED_MODEL
from clipcli.models.specs import DEFAULT_MODEL, ModelRequest

if TYPE_CHECKING:
    from clipcli.heads.text_cache import TextCache

# Each environment variable is named in full: click's automatic prefix would read others, too, and
# split a label at its spaces.


@group("Labels")
class LabelFlags:
    """The texts to choose between.

    Raises:
        UsageError: standard input is named twice.
    """

    labels: tuple[str, ...] = option(
        "-l",
        "--label",
        metavar="TEXT",
        multiple=True,
        help="A text to choose from, used as it is; give several.",
    )
    label_files: tuple[str, ...] = option(
        "--labels",
        metavar="FILE",
        multiple=True,
        shell_complete=offers(lambda: LABEL_PRESETS, others="file"),
        help="A file with a label, or a label, a tab and a prompt, on each line; or JSON (- for"
        f" standard input); or a preset: {', '.join(LABEL_PRESETS)}.",
    )
    templates: tuple[str, ...] = option(
        "-t",
        "--template",
        metavar="TEXT",
        multiple=True,
        shell_complete=offers(lambda: TEMPLATE_SETS),
        help="A prompt with {} for the label, as 'a photo of a {}'; several are averaged. Or"
        f" @FILE with one a line, or a set: {', '.join(TEMPLATE_SETS)}.",
    )
    no_cache: bool = option(
        "--no-cache", is_flag=True, help="Neither use nor keep embeddings of earlier labels."
    )

    def __post_init__(self) -> None:
        if self.label_files.count(STDIN) > 1:
            raise UsageError("standard input can be read only once: --labels - is given twice")

    @property
    def names_any(self) -> bool:
        """Whether labels or templates are named."""
        return bool(self.labels or self.label_files or self.templates)

    @property
    def reads_stdin(self) -> bool:
        """Whether labels come on standard input."""
        return STDIN in self.label_files

    def collected(self) -> dict[str, tuple[str, ...]]:
        """The labels and their texts, those of files and presets read.

        Raises:
            UsageError: a file cannot be read.
        """
        return collect_labels(self.labels, self.label_files)

    def label_set(self) -> LabelSet:
        """The labels and their templates.

        Raises:
            UsageError: there are none, or they cannot be used.
        """
        return LabelSet.of(self.collected(), collect_templates(self.templates))

    def text_cache(self) -> TextCache | None:
        """Where embeddings of labels are kept between runs."""
        if self.no_cache:
            return None
        # SQLite takes some milliseconds, which those who use no model are spared.
        from clipcli.disk.paths import text_cache_file
        from clipcli.heads.text_cache import TextCache

        return TextCache(text_cache_file())


def complete_model(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Completion with names of models: architectures and folders, or tags after a colon."""
    architecture, colon, _ = incomplete.partition(":")
    if colon:
        known = architecture.replace("/", "-")
        tags = pretrained_tags(known) if known in architectures() else ()
        return offers(lambda: [f"{architecture}:{tag}" for tag in tags])(ctx, parameter, incomplete)
    names = [BUNDLED_MODEL, DEFAULT_MODEL, *architectures()]
    return offers(lambda: names, others="dir")(ctx, parameter, incomplete)


@group("Model")
class ModelFlag:
    """Which model is meant."""

    model: str = option(
        "-m",
        "--model",
        metavar="NAME",
        default=DEFAULT_MODEL,
        show_default=True,
        envvar="CLIPCLI_MODEL",
        shell_complete=complete_model,
        show_envvar=True,
        help=f"ARCHITECTURE[:TAG] of open_clip, hf-hub:org/name, ./FOLDER, or {BUNDLED_MODEL}"
        " (bundled).",
    )


@group("Model")
class WeightsFlags:
    """Where a model's weights come from, and what they may be."""

    checkpoint: str | None = option(
        "--checkpoint",
        metavar="FILE",
        type=click.Path(),
        help="A .safetensors file in place of the model's weights.",
    )
    quick_gelu: bool | None = option(
        "--quick-gelu/--no-quick-gelu",
        default=None,
        help="Whether the checkpoint was trained with QuickGELU.",
    )
    allow_pickle: bool = option(
        "--allow-pickle",
        is_flag=True,
        help="Also read weights that are a pickle (.pt, .bin), as data only: no code in it runs.",
    )
    allow_remote_names: bool = option(
        "--allow-remote-names",
        is_flag=True,
        help="Fetch what a local folder's configuration names on the hub (a text tower, a"
        " tokenizer), as data only.",
    )
    revision: str | None = option(
        "--revision",
        metavar="COMMIT|TAG|BRANCH",
        help="Of the model's repository on the hub.  [default: the commit that was first used]",
    )
    offline: bool = option(
        "--offline",
        is_flag=True,
        envvar="CLIPCLI_OFFLINE",
        show_envvar=True,
        help="Use only models that are here already; download none.",
    )

    def request(self, name: str) -> ModelRequest:
        """A model with these weights."""
        return ModelRequest(
            name,
            Path(self.checkpoint) if self.checkpoint else None,
            self.quick_gelu,
            self.offline,
            allow_pickle=self.allow_pickle,
            revision=self.revision,
            allow_remote_names=self.allow_remote_names,
        )


@group("Engine")
class EngineFlags:
    """Where and how the model runs."""

    engine: str = option(
        "--engine",
        type=click.Choice(ENGINES),
        default=ENGINES[0],
        show_default=True,
        envvar="CLIPCLI_ENGINE",
        show_envvar=True,
        help="onnx: a prepared model (see `clipcli pull`) on the CPU, a fast start.",
    )
    device: str = option(
        "--device",
        metavar="auto|cpu|cuda|mps|cuda:N",
        default="auto",
        show_default=True,
        envvar="CLIPCLI_DEVICE",
        shell_complete=offers(lambda: ("auto", "cpu", "cuda", "mps")),
        show_envvar=True,
        help="Where the model runs.",
    )
    precision: Any = option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default=PRECISIONS[0],
        show_default=True,
        envvar="CLIPCLI_PRECISION",
        show_envvar=True,
        help="Of the model's arithmetic; fp16 needs a GPU, int8 a model prepared so.",
    )
    threads: int | None = option(
        "--threads",
        type=click.IntRange(min=1),
        metavar="N",
        envvar="CLIPCLI_THREADS",
        show_envvar=True,
        help="Processor threads of the model.  [default: as many as the process may use]",
    )
    batch_size: int = option(
        "--batch-size",
        type=click.IntRange(min=1),
        metavar="N",
        default=DEFAULT_BATCH_SIZE,
        show_default=True,
        help="Images in one run of the model.",
    )

    def options(self, image_count: int | None) -> EngineOptions:
        """Where and how the model runs, for the rooms that choose and load an engine.

        Args:
            image_count: how many images come; None where that is not known, or many.

        Raises:
            UsageError: options that do not go together.
        """
        return EngineOptions(self.device, self.precision, self.threads, self.engine, image_count)


def _told_to_console(name: str) -> Callable[[click.Context, click.Parameter, bool], bool]:
    """A callback that sets one of the console's switches."""

    def callback(ctx: click.Context, _parameter: click.Parameter, value: bool) -> bool:
        console = ctx.find_object(Console)
        # There is none where a shell asks for completions.
        if console is not None:
            console.command = ctx.command_path
            if value:
                setattr(console, name, True)
        return value

    return callback


def console_options(command: Command) -> Command:
    """The options that set the console's switches; the command itself sees none of them."""
    for switch in reversed(_SWITCHES):
        command = switch(command)
    return command


_SWITCHES = (
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
