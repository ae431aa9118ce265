"""`clipcli explain`: where in a picture the answer comes from."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipcli.cli.arguments import RunArguments
from clipcli.cli.console import Console
from clipcli.cli.engine import open_engine
from clipcli.cli.options import (
    console_options,
    engine_options,
    input_options,
    label_options,
    model_options,
)
from clipcli.cli.streams import results_stream, wants_color
from clipcli.cli.watch import Outcome
from clipcli.errors import InputError, UsageError
from clipcli.labels import LabelSet, collect_labels, collect_templates
from clipcli.models import resolve_model

if TYPE_CHECKING:
    from clipcli.cache import TextCache
    from clipcli.engines.base import ModelInfo
    from clipcli.explanation import ExplainOptions, Explanation
    from clipcli.outputs import OutputOptions
    from clipcli.sources import ImageRef

# What means nothing where there is one image.
_OF_MANY = frozenset(
    {"images", "recursive", "files_from", "null_separated", "shard", "fast_decode", "isolate"}
    | {"decode_timeout", "fetch_concurrency", "fetch_per_host", "workers"}
)

# By default 101 runs of the model: with ViT-B/32 on two processors seven seconds.
_DEFAULT_GRID = 10


@dataclass(frozen=True, kw_only=True)
class ExplainArguments(RunArguments):
    """The command line of `explain`."""

    labels: tuple[str, ...]
    label_files: tuple[str, ...]
    templates: tuple[str, ...]
    no_cache: bool
    method: Any
    grid: int
    top_k: int | None
    output_format: str | None
    no_color: bool

    recursive: bool = False
    files_from: str | None = None
    null_separated: bool = False
    shard: str | None = None
    fast_decode: bool = False
    isolate: bool = False
    decode_timeout: float | None = None
    fetch_concurrency: int | None = None
    fetch_per_host: int | None = None
    workers: int | None = None
    unordered: bool = False
    fail_fast: bool = False
    max_errors: int | None = None
    summary: str | None = None

    def in_torch(self) -> ExplainArguments:
        """The same with the engine that gradients need.

        Raises:
            UsageError: another one was asked for.
        """
        if self.method != "gradient":
            return self
        if self.engine == "onnx":
            raise UsageError("--method gradient runs in torch only: leave out --engine onnx")
        return replace(self, engine="torch")

    def image_count(self) -> int | None:
        """How many runs of the model there will be, which is what an engine is chosen by."""
        return 1 if self.method == "gradient" else self.grid**2 + 1

    def explain_options(self) -> ExplainOptions:
        """How the answer is explained."""
        from clipcli.explanation import ExplainOptions
        from clipcli.outputs import DEFAULT_TOP_K

        images = self.pipeline_options().images
        top_k = self.top_k or DEFAULT_TOP_K
        return ExplainOptions(self.method, self.grid, top_k, self.batch_size, images)

    def label_set(self) -> LabelSet:
        """The labels and their templates."""
        names = collect_labels(self.labels, self.label_files)
        return LabelSet(names, collect_templates(self.templates))

    def text_cache(self) -> TextCache | None:
        """Where embeddings of labels are kept between runs."""
        if self.no_cache:
            return None
        from clipcli.cache import TextCache
        from clipcli.paths import text_cache_file

        return TextCache(text_cache_file())

    def format_name(self) -> str:
        """The output format: as asked for, else by the terminal."""
        return self.output_format or ("human" if sys.stdout.isatty() else "tsv")

    def image_ref(self, stack: ExitStack) -> ImageRef:
        """The image.

        Raises:
            UsageError: the pattern names several.
        """
        ref, *more = islice(self.image_refs(stack), 2)
        if more:
            raise UsageError(f"{self.images[0]} names several images: explain one at a time")
        return ref

    def folder(self) -> Path | None:
        """Where pictures are written, made if it is not there.

        Raises:
            UsageError: it cannot be made or written to.
        """
        if self.output is None:
            return None
        folder = Path(self.output)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make the folder {folder} ({error.strerror})") from error
        if not os.access(folder, os.W_OK):
            raise UsageError(f"cannot write to {folder} (it is read-only)")
        return folder


def _picture_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Of the input and engine options those that mean something for one image."""
    decorated: Any = input_options(engine_options(command))
    kept = [option for option in decorated.__click_params__ if option.name not in _OF_MANY]
    decorated.__click_params__ = kept
    return command


@click.command(
    epilog="Exit codes: 0 done, 2 usage, 4 the image failed, 5 no model, 130 interrupted,"
    " 143 terminated."
)
@click.argument("image", type=click.Path())
@label_options
@click.option(
    "--method",
    type=click.Choice(["occlusion", "gradient"]),
    default="occlusion",
    show_default=True,
    help="occlusion: what the score loses where the image is covered; with every engine."
    " gradient: LeGrad for vision transformers, Grad-CAM for others; in torch.",
)
@click.option(
    "--grid",
    type=click.IntRange(2, 50),
    metavar="N",
    default=_DEFAULT_GRID,
    show_default=True,
    help="Cover N x N places; the model runs once for each.",
)
@click.option(
    "-k",
    "--top-k",
    type=click.IntRange(min=1),
    metavar="N",
    help="Explain the N best labels.  [default: 5]",
)
@click.option(
    "-o",
    "--output",
    metavar="FOLDER",
    type=click.Path(file_okay=False),
    help="Write an overlay for each label to FOLDER, and all side by side in explanation.png.",
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["human", "tsv", "json"]),
    help="human shows maps, json holds them as numbers.  [default: human on a terminal, tsv"
    " elsewhere]",
)
@click.option("--json", "as_json", is_flag=True, help="Short for --format json.")
@click.option("--no-color", is_flag=True, help="No colours on a terminal (as with NO_COLOR).")
@_picture_options
@model_options
@console_options
@click.pass_obj
def explain(console: Console, /, image: str, as_json: bool, **values: Any) -> int:  # noqa: ANN401
    """Show where in an IMAGE the answer comes from.

    Each label gets a map of what speaks for it. An IMAGE is a file, an http(s) URL, or - for the
    bytes of one image on standard input. The parts of a picture that the model does not see, since
    it sees a square, stay dark.

    \b
    clipcli explain cat.jpg -l 'a photo of a cat' -l 'a photo of a dog'
    clipcli explain cat.jpg -l cat -l dog --model tiny -o maps/
    clipcli explain cat.jpg -l cat -l dog --method gradient --json
    """  # noqa: D301  click wants the character \b itself
    if as_json:
        if values["output_format"] not in (None, "json"):
            raise UsageError("--format and --json exclude each other: keep one of them")
        values["output_format"] = "json"
    arguments = ExplainArguments(images=(image,), **values, verbose=console.verbose)
    with console.warnings():
        return _run(arguments.in_torch(), console)


def _run(arguments: ExplainArguments, console: Console) -> int:
    """Check everything that is cheap to check, then load the model, then explain."""
    labels = arguments.label_set()
    arguments.engine_options()
    spec = resolve_model(arguments.model_request())
    labels.check_alternatives(spec.activation)
    folder = arguments.folder()
    with ExitStack() as stack:
        ref = arguments.image_ref(stack)

        from clipcli.classifier import Failure, build_head
        from clipcli.explanation import explain as explain_image
        from clipcli.explanation import read_picture

        engine = open_engine(arguments, spec, console)
        head = build_head(engine, labels, arguments.text_cache())
        options = arguments.explain_options()
        try:
            picture = read_picture(ref, options.images, arguments.pipeline_options().fetch)
            if arguments.method == "occlusion":
                console.step(f"{ref.name}: the model runs {arguments.image_count():,} times")
            explanation = explain_image(ref, picture, engine, head, options)
        except InputError as error:
            console.failure(Failure.of(ref, error))
            return Outcome.NONE_SUCCEEDED
    if folder is not None:
        _draw(folder, explanation, console)
    _show(explanation, arguments, _output_options(arguments, engine.info, labels))
    return Outcome.ALL_DONE


def _draw(folder: Path, explanation: Explanation, console: Console) -> None:
    from clipcli import heatmaps

    try:
        files = heatmaps.write(folder, explanation)
    except OSError as error:
        raise UsageError(f"cannot write to {folder} ({error.strerror})") from error
    console.step(f"{len(files)} pictures are in {folder}, side by side in {files[-1].name}")


def _output_options(
    arguments: ExplainArguments, info: ModelInfo, labels: LabelSet
) -> OutputOptions:
    from clipcli.outputs import OutputOptions

    return OutputOptions(
        labels=labels.names,
        model_name=info.name,
        model_fingerprint=info.fingerprint,
        embed_dim=info.embed_dim,
        top_k=arguments.top_k,
        verbose=arguments.verbose,
        color=wants_color(no_color=arguments.no_color),
    )


def _show(explanation: Explanation, arguments: ExplainArguments, options: OutputOptions) -> None:
    """Write the answer, and the maps in formats that have room for them."""
    from clipcli.outputs import FORMATS, record

    stream = results_stream()
    name = arguments.format_name()
    if name == "json":
        fields = {**record(explanation.prediction, options), **_maps(explanation, arguments)}
        stream.write(json.dumps(fields, allow_nan=False) + "\n")
        return
    FORMATS[name](stream, options).write(explanation.prediction)
    if name == "human":
        from clipcli.terminal_heatmaps import terminal_maps
        from clipcli.terminals import find_screen

        screen = find_screen(stream) if options.color else None
        stream.write("\n" + terminal_maps(explanation, screen))


def _maps(explanation: Explanation, arguments: ExplainArguments) -> dict[str, Any]:
    """What a record of `classify` has not: the maps, and the part of the picture they cover."""
    view = explanation.view
    return {
        "method": arguments.method,
        "picture": {"width": explanation.picture.width, "height": explanation.picture.height},
        "view": {
            "left": view.left,
            "top": view.top,
            "right": view.right,
            "bottom": view.bottom,
        },
        "maps": [
            {"label": heat_map.label, "values": heat_map.values.tolist()}
            for heat_map in explanation.maps
        ],
    }
