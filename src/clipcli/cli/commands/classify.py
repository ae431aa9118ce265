"""`clipcli classify`: the main job, and what a command line without a command word means."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
from click.core import ParameterSource

from clipcli.cli.arguments.classify import ClassifyArguments, format_by_suffix
from clipcli.cli.console import Console, results_stream, wants_color
from clipcli.cli.options.inputs import embeddings_option, input_options
from clipcli.cli.options.results import file_options, output_options, report_option, run_options
from clipcli.cli.options.shared import console_options, engine_options, label_options, model_options
from clipcli.cli.running.engine import open_engine
from clipcli.cli.running.page import open_report, with_pictures
from clipcli.cli.running.previews import open_previews, with_previews
from clipcli.cli.running.watch import Watch
from clipcli.errors import UsageError
from clipcli.models.catalogue import architectures
from clipcli.models.names import BUNDLED_MODEL, resolve_model

if TYPE_CHECKING:
    from clipcli.embeddings.base import EmbeddingsFile
    from clipcli.engines.base import ModelInfo
    from clipcli.heads.labels import LabelSet
    from clipcli.heads.results import Result
    from clipcli.heads.zero_shot import ZeroShotHead
    from clipcli.images.sources import ImageRef
    from clipcli.outputs.report.writer import Report
    from clipcli.outputs.terminal.previews import Previews
    from clipcli.outputs.writers import Writer
    from clipcli.runs.output import RunOutput

_MADE_WITH = ("precision", "preprocess", "fast_decode")


@click.command(
    epilog="Exit codes: 0 all done, 2 usage, 3 some images failed, 4 all failed, 5 no model,"
    " 6 --expect not met, 130 interrupted, 141 reader gone, 143 terminated."
)
@input_options
@embeddings_option
@label_options
@output_options
@file_options
@report_option
@run_options
@model_options
@engine_options
@console_options
@click.pass_context
def classify(ctx: click.Context, /, **values: Any) -> int:  # noqa: ANN401
    """Say which of some texts fits each IMAGE best.

    An IMAGE is a file, a folder (with -r), a pattern, an http(s) URL, or - for the bytes of one
    image on standard input.

    \b
    clipcli cat.jpg -l 'a photo of a cat' -l 'a photo of a dog'
    clipcli photos/ -r --labels imagenet -t openai7 --jsonl
    clipcli sample.jpg -l cat -l dog --expect cat --model tiny
    """  # noqa: D301  click wants the character \b itself
    console: Console = ctx.obj
    values = _with_the_files_model(ctx, _with_one_format(ctx, values))
    arguments = ClassifyArguments(**values, verbose=console.verbose)
    with console.warnings():
        return _run(arguments, console)


def _with_one_format(ctx: click.Context, values: dict[str, Any]) -> dict[str, Any]:
    """The options with `--json` and `--jsonl` folded into `--format`."""
    short = [name for name in ("json", "jsonl") if values.pop(f"as_{name}")]
    # The environment's format gives way; one on the command line would be ignored in silence.
    is_named = ctx.get_parameter_source("output_format") is ParameterSource.COMMANDLINE
    if len(short) + is_named > 1:
        raise UsageError("--format, --json and --jsonl exclude each other: keep one of them")
    if short:
        return {**values, "output_format": short[0]}
    if not is_named and values["output"] is not None and format_by_suffix(values["output"]):
        return {**values, "output_format": None}
    return values


def _with_the_files_model(ctx: click.Context, values: dict[str, Any]) -> dict[str, Any]:
    """The options with the model that a file of embeddings names, where the user names none.

    Only a model of clipcli's own list is taken at a file's word: a stranger's file must not make
    it download from anywhere, or open a folder.
    """
    if values["embeddings"] is None or values["checkpoint"] is not None:
        return values
    if ctx.get_parameter_source("model") is not ParameterSource.DEFAULT:
        return values
    from clipcli.embeddings.files import open_embeddings

    model = open_embeddings(Path(values["embeddings"])).description.model
    is_listed = model == BUNDLED_MODEL or model.partition(":")[0] in architectures()
    return {**values, "model": model} if is_listed else values


def _run(arguments: ClassifyArguments, console: Console) -> int:
    """Check everything that is cheap to check, then load the model, then go through the images."""
    # Labels first: a slip of the pen should not have to wait for a model.
    labels = arguments.label_set()
    arguments.engine_options()
    file = arguments.embeddings_file()
    spec = resolve_model(arguments.model_request())
    labels.check_alternatives(spec.activation)
    with ExitStack() as stack:
        refs = iter(()) if file else arguments.image_refs(stack)

        from clipcli.heads.zero_shot import build_head
        from clipcli.runs.pipeline import classify as classify_images
        from clipcli.runs.rescore import rescore

        engine = open_engine(arguments, spec, console)
        if file is not None:
            from clipcli.embeddings.base import check_model

            check_model(file, engine.info)
        head = build_head(engine, labels, arguments.text_cache())
        settings = _settings(arguments, engine.info, labels, head, file)
        run = stack.enter_context(_open_run(arguments, refs, settings))
        report = _open_report(arguments, labels, settings, stack)
        watch = Watch(arguments, console, run, way_on=arguments.way_on())
        previews = open_previews(arguments)
        options = arguments.pipeline_options(arguments.score_options(), watch.stop)
        options = with_previews(with_pictures(options, report), previews)
        if file is None:
            results = classify_images(watch.feed(run.refs), engine, head, options)
        else:
            results = rescore(file, head, engine.info.preprocess, options)
        writer = _writer(arguments, run.stream, engine.info, labels, previews)
        with watch.going():
            _write(run, results, writer, watch, report)
        if not watch.is_cut:
            run.finish()
        if report is not None:
            report.finish(is_cut=watch.is_cut)
        return watch.end(settings)


def _settings(
    arguments: ClassifyArguments,
    info: ModelInfo,
    labels: LabelSet,
    head: ZeroShotHead,
    file: EmbeddingsFile | None,
) -> dict[str, Any]:
    """What a run is made with; nothing where nobody keeps it: it costs a moment."""
    if (arguments.output, arguments.summary, arguments.report) == (None, None, None):
        return {}
    from clipcli.cli.running.settings import run_settings
    from clipcli.outputs.writers import DEFAULT_TOP_K

    return {
        "format": arguments.format_name(on_terminal=False),
        "labels": labels.names,
        "templates": labels.templates,
        "min_probability": arguments.min_probability,
        "shown": arguments.top_k or ("all" if arguments.verbose else DEFAULT_TOP_K),
        **run_settings(arguments, info, head),
        # How images became embeddings, their file knows, not the command line.
        **({} if file is None else {name: getattr(file.description, name) for name in _MADE_WITH}),
    }


def _open_report(
    arguments: ClassifyArguments, labels: LabelSet, settings: dict[str, Any], stack: ExitStack
) -> Report | None:
    if arguments.report is None:
        return None
    report = open_report(arguments.report, "Classification report", labels.names, settings)
    return stack.enter_context(report)


def _open_run(
    arguments: ClassifyArguments, refs: Iterator[ImageRef], settings: dict[str, Any]
) -> RunOutput:
    options = arguments.run_options(settings)
    if options is not None:
        from clipcli.runs.resume import open_run

        return open_run(refs, options)
    from clipcli.runs.output import RunOutput
    from clipcli.runs.tally import Tally

    return RunOutput(results_stream(), refs, Tally(arguments.expect))


def _writer(
    arguments: ClassifyArguments,
    stream: TextIO,
    info: ModelInfo,
    labels: LabelSet,
    previews: Previews | None,
) -> Writer:
    from clipcli.outputs.writers import FORMATS, OutputOptions

    on_terminal = arguments.output is None and sys.stdout.isatty()
    options = OutputOptions(
        labels=labels.names,
        model_name=info.name,
        model_fingerprint=info.fingerprint,
        embed_dim=info.embed_dim,
        top_k=arguments.top_k,
        verbose=arguments.verbose,
        color=on_terminal and wants_color(no_color=arguments.no_color),
        previews=previews,
    )
    return FORMATS[arguments.format_name(on_terminal=on_terminal)](stream, options)


def _write(
    run: RunOutput,
    results: Iterator[Result],
    writer: Writer,
    watch: Watch,
    report: Report | None,
) -> None:
    """Write the results as they come; what is told and counted is the watch's matter."""
    with _written(writer):
        for result in run.new(results):
            writer.write(result)
            if report is not None:
                report.add(result)
            watch.count(result)
            if watch.is_over:
                break


@contextmanager
def _written(writer: Writer) -> Iterator[None]:
    """Write what comes first and last; an interrupted run ends its JSON array, too."""
    writer.begin()
    try:
        yield
    finally:
        writer.end()
