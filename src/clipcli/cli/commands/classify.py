"""`clipcli classify`: the main job, and what a command line without a command word means."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from clipcli.cli.arguments.classify import ClassifyArguments
from clipcli.cli.console import Console, results_stream
from clipcli.cli.options.adapters import (
    AdapterFlag,
    NoveltyFlag,
    check_adapter_flags,
    model_of,
    tell_of_preparation,
)
from clipcli.cli.options.groups import SectionedCommand, takes
from clipcli.cli.options.inputs import (
    AddressFlags,
    DecodingFlags,
    DownloadFlags,
    EmbeddingsFlag,
    NamingFlags,
    ReadingFlags,
)
from clipcli.cli.options.results import (
    AnswerFlags,
    ColorFlag,
    FileFlags,
    ForceFlag,
    FormatFlags,
    LimitFlags,
    ReportFlag,
    SeveralFlags,
    TemperatureFlag,
    with_one_format,
)
from clipcli.cli.options.shared import (
    EngineFlags,
    LabelFlags,
    ModelFlag,
    WeightsFlags,
    console_options,
)
from clipcli.cli.options.sorting import SortingFlags
from clipcli.cli.running.arithmetic import leave_threads_to_blocks
from clipcli.cli.running.engine import open_engine
from clipcli.cli.running.monitor import RunMonitor
from clipcli.cli.running.page import open_report, with_pictures
from clipcli.cli.running.previews import open_previews, with_previews
from clipcli.cli.running.sorting import open_sorting, with_paths
from clipcli.disk.atomic import writable
from clipcli.models.names import resolve_model
from clipcli.outputs.writers import DEFAULT_TOP_K, FORMATS, OutputOptions
from clipcli.runs.output import RunOutput, StreamOutput
from clipcli.runs.tally import Tally

if TYPE_CHECKING:
    from clipcli.embeddings.base import EmbeddingsFile
    from clipcli.engines.base import Engine, ModelInfo
    from clipcli.heads.adapters import Adapter
    from clipcli.heads.labels import LabelSet
    from clipcli.heads.results import Result
    from clipcli.heads.zero_shot import ZeroShotHead
    from clipcli.images.sources import ImageRef
    from clipcli.outputs.report.writer import Report
    from clipcli.outputs.terminal.previews import Previews
    from clipcli.outputs.writers import Writer

_MADE_WITH = ("precision", "preprocess", "fit", "fast_decode")


@click.command(
    cls=SectionedCommand,
    epilog="Exit codes: 0 all done, 2 usage, 3 some images failed, 4 all failed, 5 no model,"
    " 6 --expect not met, 130 interrupted, 141 reader gone, 143 terminated.",
)
@takes(
    naming=NamingFlags,
    stored=EmbeddingsFlag,
    labels=LabelFlags,
    adapter=AdapterFlag,
    novelty=NoveltyFlag,
    answers=AnswerFlags,
    scale=TemperatureFlag,
    several=SeveralFlags,
    formats=FormatFlags,
    color=ColorFlag,
    file=FileFlags,
    force=ForceFlag,
    page=ReportFlag,
    sorting=SortingFlags,
    model=ModelFlag,
    weights=WeightsFlags,
    engine=EngineFlags,
    limits=LimitFlags,
    reading=ReadingFlags,
    decoding=DecodingFlags,
    addresses=AddressFlags,
    downloads=DownloadFlags,
)
@console_options
@click.pass_context
def classify(ctx: click.Context, /, **groups: Any) -> int:  # noqa: ANN401
    """Say which of some texts fits each IMAGE best.

    An IMAGE is a file, a folder (with -r), a pattern, an http(s) URL, or - for the bytes of one
    image on standard input.

    \b
    clipcli cat.jpg -l 'a photo of a cat' -l 'a photo of a dog'
    clipcli photos/ -r --labels imagenet -t openai7 --jsonl
    clipcli sample.jpg -l cat -l dog --expect cat --model tiny
    """  # noqa: D301  click wants the character \b itself
    console: Console = ctx.obj
    groups["formats"] = with_one_format(ctx, groups["formats"], groups["file"].output)
    check_adapter_flags(
        groups["adapter"], groups["novelty"], names_labels=groups["labels"].names_any
    )
    if groups["stored"].embeddings is not None:
        leave_threads_to_blocks()
    groups["model"] = model_of(ctx, groups["model"], groups["weights"], _named_in(groups))
    arguments = ClassifyArguments(**groups, verbose=console.verbose)
    with console.warnings():
        return _run(arguments, console)


def _named_in(groups: dict[str, Any]) -> Callable[[], str | None]:
    """What finds out the model that a file of embeddings or an adapter is of."""
    stored: EmbeddingsFlag = groups["stored"]
    adapter: AdapterFlag = groups["adapter"]

    def name() -> str | None:
        if stored.embeddings is None:
            return adapter.model
        from clipcli.embeddings.files import open_embeddings

        return open_embeddings(Path(stored.embeddings)).description.model

    return name


def _run(arguments: ClassifyArguments, console: Console) -> int:
    """Check everything that is cheap to check, then load the model, then go through the images."""
    # Labels first: a slip of the pen should not have to wait for a model.
    if arguments.labels.reads_stdin:
        console.awaiting("labels")
    adapter = arguments.adapter.read
    labels = arguments.label_set(adapter)
    arguments.engine_options()
    folders = arguments.folders(labels)
    file = arguments.embeddings_file()
    spec = resolve_model(arguments.model_request())
    arguments.check_alternatives(labels, spec.activation)
    with ExitStack() as stack:
        refs = iter(()) if file else arguments.naming.refs(stack)

        from clipcli.runs.pipeline import classify_blocks

        offline = arguments.weights.offline
        engine = open_engine(spec, arguments.engine_options(), console, adapter, offline=offline)
        if file is not None:
            from clipcli.embeddings.base import check_model

            check_model(file, engine.info)
            console.note(f"{file.path}: was made with --fit {file.description.fit}")
        head, info = _head(arguments, engine, labels, adapter)
        if file is None:
            tell_of_preparation(adapter, arguments.prepared(info), console)
        settings = _settings(arguments, info, labels, head, file)
        expected = [alike for label in arguments.answers.expect for alike in head.same_as(label)]
        run = stack.enter_context(_open_run(arguments, refs, settings, tuple(expected)))
        report = _open_report(arguments, labels, settings, console, stack)
        monitor = _monitor(arguments, console, run)
        previews = open_previews(arguments)
        options = arguments.pipeline_options(
            arguments.score_options(),
            monitor.stop,
            ordered=not arguments.limits.unordered,
            whole_blocks=arguments.wants_whole_blocks,
        )
        options = with_previews(with_pictures(options, report), previews)
        if file is None:
            results = classify_blocks(monitor.feed(run.refs), engine, head, options)
        else:
            from clipcli.runs.rescore import rescore

            results = rescore(file, head, engine.info.preprocess, options)
            results = with_paths(results) if arguments.sorting.needs_files else results
        # Pictures first: what stands in the results has then been sorted.
        writers = open_sorting(arguments, folders, monitor)
        writers.append(_writer(arguments, run.stream, info, labels, previews))
        with monitor.going():
            _write(run, results, writers, monitor, report)
        if not monitor.is_cut:
            run.finish()
        if report is not None:
            report.finish(is_cut=monitor.is_cut)
        return monitor.end(settings)


def _head(
    arguments: ClassifyArguments, engine: Engine, labels: LabelSet, adapter: Adapter | None
) -> tuple[ZeroShotHead, ModelInfo]:
    """What answers, and as which model: with an adapter it is another one."""
    from clipcli.heads.adapted import adapted_head
    from clipcli.heads.zero_shot import build_head

    info = engine.info
    if adapter is None:
        several = arguments.several.multi_label
        head = build_head(engine, labels, arguments.labels.text_cache(), several_may_fit=several)
    else:
        head = adapted_head(adapter, info, arguments.novelty.novelty)
        info = adapter.answering(info)
    return arguments.judged(head), info


def _settings(
    arguments: ClassifyArguments,
    info: ModelInfo,
    labels: LabelSet,
    head: ZeroShotHead,
    file: EmbeddingsFile | None,
) -> dict[str, Any]:
    """What a run is made with; nothing where nobody keeps it: it costs a moment."""
    if (arguments.file.output, arguments.limits.summary, arguments.page.report) == (None,) * 3:
        return {}
    from clipcli.cli.running.settings import run_settings

    return {
        "format": arguments.format_name(on_terminal=False),
        "labels": labels.names,
        "templates": labels.templates,
        **({"texts": labels.texts} if labels.texts else {}),
        "min_probability": arguments.answers.min_probability,
        "min_similarity": arguments.answers.min_similarity,
        "temperature": arguments.scale.temperature,
        **({} if head.thresholds is None else {"thresholds": head.thresholds.tolist()}),
        **arguments.adapter_settings(),
        "shown": arguments.answers.top_k or ("all" if arguments.verbose else DEFAULT_TOP_K),
        **run_settings(
            arguments,
            info,
            head,
            shard=arguments.naming.shard,
            unordered=arguments.limits.unordered,
        ),
        # How images became embeddings, their file knows, not the command line.
        **({} if file is None else {name: getattr(file.description, name) for name in _MADE_WITH}),
    }


def _open_report(
    arguments: ClassifyArguments,
    labels: LabelSet,
    settings: dict[str, Any],
    console: Console,
    stack: ExitStack,
) -> Report | None:
    if arguments.page.report is None:
        return None
    title = "Classification report"
    report = open_report(arguments.page.report, title, labels.names, settings, console.words)
    return stack.enter_context(report)


def _open_run(
    arguments: ClassifyArguments,
    refs: Iterator[ImageRef],
    settings: dict[str, Any],
    expected: tuple[str, ...],
) -> RunOutput:
    options = arguments.run_options(settings, expected)
    if options is not None:
        from clipcli.runs.resume import open_run

        return open_run(refs, options)
    tally, named = Tally(expected), arguments.file.output
    if named is None:
        return RunOutput(results_stream(), refs, tally)
    from clipcli.disk.outputs import open_stream, text_stream

    with writable(f"-o {named}"):
        stream = open_stream(Path(named))
    return StreamOutput(text_stream(stream), refs, tally)


def _monitor(arguments: ClassifyArguments, console: Console, run: RunOutput) -> RunMonitor:
    # A bar between results on the same terminal would tear them apart.
    hides_bar = arguments.file.output is None and sys.stdout.isatty()
    return RunMonitor(
        console,
        run,
        arguments.naming,
        arguments.limits,
        way_on=arguments.way_on(),
        hides_bar=hides_bar,
    )


def _writer(
    arguments: ClassifyArguments,
    stream: TextIO,
    info: ModelInfo,
    labels: LabelSet,
    previews: Previews | None,
) -> Writer:
    on_terminal = arguments.file.output is None and sys.stdout.isatty()
    options = OutputOptions(
        labels=labels.names,
        model_name=info.name,
        model_fingerprint=info.fingerprint,
        embed_dim=info.embed_dim,
        top_k=arguments.answers.top_k,
        verbose=arguments.verbose,
        color=on_terminal and arguments.color.wanted,
        raw=arguments.formats.raw,
        previews=previews,
    )
    return FORMATS[arguments.format_name(on_terminal=on_terminal)](stream, options)


def _write(
    run: RunOutput,
    results: Iterator[Sequence[Result]],
    writers: Sequence[Writer],
    monitor: RunMonitor,
    report: Report | None,
) -> None:
    """Write the results as they come; what is told and counted is the monitor's matter."""
    from clipcli.outputs.blocks import write_results

    with _written(writers):
        for part in chain.from_iterable(map(monitor.parts, run.new_blocks(results))):
            for writer in writers:
                write_results(writer, part)
            if report is not None:
                for result in part:
                    report.add(result)
            monitor.count_all(part)
            if monitor.is_over:
                break


@contextmanager
def _written(writers: Sequence[Writer]) -> Iterator[None]:
    """Write what comes first and last; an interrupted run ends its JSON array, too."""
    with ExitStack() as stack:
        for writer in writers:
            writer.begin()
            # Each comes to its end, whatever becomes of the others.
            stack.callback(writer.end)
        yield
