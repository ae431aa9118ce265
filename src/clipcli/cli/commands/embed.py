"""`clipcli embed`: images to a file of embeddings, to be scored as often as is wanted."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipcli.cli.arguments.embed import EmbedArguments, TargetFlag
from clipcli.cli.console import Console
from clipcli.cli.exit_codes import ExitCode
from clipcli.cli.options.adapters import AdapterFlag, model_of
from clipcli.cli.options.groups import SectionedCommand, takes
from clipcli.cli.options.inputs import (
    AddressFlags,
    DecodingFlags,
    DownloadFlags,
    NamingFlags,
    ReadingFlags,
)
from clipcli.cli.options.results import ForceFlag, LimitFlags
from clipcli.cli.options.shared import (
    EngineFlags,
    LabelFlags,
    ModelFlag,
    WeightsFlags,
    console_options,
)
from clipcli.cli.running.engine import open_engine
from clipcli.cli.running.monitor import RunMonitor
from clipcli.disk.atomic import part_file, writable
from clipcli.disk.outputs import is_stream
from clipcli.heads.results import Failure, Prediction
from clipcli.models.names import resolve_model
from clipcli.runs.output import RunOutput
from clipcli.runs.tally import Tally

if TYPE_CHECKING:
    from clipcli.embeddings.base import EmbeddingsWriter
    from clipcli.embeddings.rows import Block
    from clipcli.engines.base import ModelInfo
    from clipcli.heads.results import Result


@click.command(
    cls=SectionedCommand,
    epilog="Exit codes: 0 all done, 2 usage, 3 some images failed, 4 all failed, 5 no model,"
    " 130 interrupted, 143 terminated.",
)
@takes(
    naming=NamingFlags,
    labels=LabelFlags,
    target=TargetFlag,
    force=ForceFlag,
    adapter=AdapterFlag,
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
def embed(ctx: click.Context, /, **groups: Any) -> int:  # noqa: ANN401
    """Embed each IMAGE once, to ask often.

    FILE keeps the images' names and their embeddings, of which `clipcli classify --embeddings
    FILE` makes answers to any labels, in a second. Images that fail are told, and are not in it.
    An IMAGE is what it is for `clipcli classify`.

    \b
    clipcli embed photos/ -r -o photos.npz
    clipcli classify --embeddings photos.npz -l 'a photo of a cat' -l 'a photo of a dog'
    find photos -name '*.jpg' -print0 | clipcli embed -0 --files-from - -o photos.parquet

    .npz is for everyone, NumPy included; .parquet, for data frames and databases, needs the extra
    `parquet`. With -l or --labels, texts are embedded in place of images, as labels are.

    With --adapter the model is the one that was adapted. A probe leaves embeddings as they are: the
    file is the model's own, and can be scored with the adapter, with others of this model, and
    without. A LoRA changes them: the file goes with this adapter alone.
    """  # noqa: D301  click wants the character \b itself
    console: Console = ctx.obj
    adapter: AdapterFlag = groups["adapter"]
    groups["model"] = model_of(ctx, groups["model"], groups["weights"], lambda: adapter.model)
    arguments = EmbedArguments(**groups)
    with console.warnings():
        return (_run_texts if arguments.embeds_texts else _run)(arguments, console)


def _run(arguments: EmbedArguments, console: Console) -> int:
    """Check everything that is cheap to check, then load the model, then go through the images."""
    from clipcli.disk.lock import Lock
    from clipcli.embeddings.description import Description
    from clipcli.embeddings.files import check_target, create_embeddings

    file = arguments.file
    check_target(file)
    arguments.engine_options()
    adapter = arguments.adapter.read
    with ExitStack() as stack:
        # Against a second run into the same file; it also shows, before the model is loaded,
        # whether that can be written.
        if not is_stream(file):
            stack.enter_context(closing(Lock(part_file(file))))
        spec = resolve_model(arguments.model_request())
        refs = arguments.naming.refs(stack)

        from clipcli.runs.pipeline import encode

        offline = arguments.weights.offline
        engine = open_engine(spec, arguments.engine_options(), console, adapter, offline=offline)
        run = RunOutput(sys.stdout, refs, Tally())
        way_on = f"{file} is not written; --shard I/N embeds a part"
        monitor = RunMonitor(console, run, arguments.naming, arguments.limits, way_on=way_on)
        options = arguments.pipeline_options(
            stop=monitor.stop,
            ordered=not arguments.limits.unordered,
            whole_blocks=not arguments.naming.has_slow_list(),
        )
        description = Description.of(engine.info, arguments.engine.precision, options.images)
        with writable(f"-o {file}"):
            writer = stack.enter_context(create_embeddings(file, description))
        with monitor.going():
            blocks = encode(monitor.feed(refs), engine, options)
            for result in _written(blocks, writer, file):
                monitor.count(result)
                if monitor.is_over:
                    break
        if run.tally.done and not monitor.is_cut:
            with writable(f"-o {file}"):
                writer.finish()
        elif not monitor.is_cut:
            # A file without a row is of no use to anyone, and an earlier one may be.
            console.hint(f"{file} is not written: no image has been embedded")
        return monitor.end(_settings(arguments, engine.info))


def _run_texts(arguments: EmbedArguments, console: Console) -> int:
    """Embed labels, a row each, by the mean of its prompts."""
    from clipcli.embeddings.description import Description
    from clipcli.embeddings.files import check_target, create_embeddings
    from clipcli.heads.zero_shot import text_embeddings
    from clipcli.images.options import ImageOptions
    from clipcli.images.sources import ImageRef

    check_target(arguments.file)
    labels = arguments.labels.label_set()
    spec = resolve_model(arguments.model_request())
    offline = arguments.weights.offline
    engine = open_engine(spec, arguments.engine_options(), console, offline=offline)
    rows = text_embeddings(engine, labels, arguments.labels.text_cache())
    description = Description.of(engine.info, arguments.engine.precision, ImageOptions())
    refs = [ImageRef(place, name, b"") for place, name in enumerate(labels.names)]
    with (
        writable(f"-o {arguments.file}"),
        create_embeddings(arguments.file, description) as writer,
    ):
        writer.write(refs, rows)
        writer.finish()
    return ExitCode.ALL_DONE


def _written(blocks: Iterable[Block], writer: EmbeddingsWriter, file: Path) -> Iterator[Result]:
    """Write blocks to a file.

    Yields:
        What became of each image: a failure, or a prediction that has no labels yet.
    """
    for block in blocks:
        places = [place for place in range(len(block.refs)) if place not in block.failures]
        if block.embeddings is not None:
            refs = [block.refs[place] for place in places]
            with writable(f"-o {file}"):
                writer.write(refs, block.embeddings[places])
        for place, ref in enumerate(block.refs):
            if place in block.failures:
                yield Failure.of(ref, block.failures[place])
            else:
                prediction = Prediction(ref.index, ref.name, scores=(), answer=None)
                yield prediction.at(block.sights.get(place))


def _settings(arguments: EmbedArguments, info: ModelInfo) -> dict[str, Any]:
    """What the run was made with; nothing where nobody keeps it: it costs a moment."""
    if arguments.limits.summary is None:
        return {}
    from clipcli.cli.running.settings import run_settings
    from clipcli.embeddings.files import target_extension

    extension = target_extension(arguments.file)
    unordered = arguments.limits.unordered
    made = run_settings(arguments, info, shard=arguments.naming.shard, unordered=unordered)
    return {"format": extension.removeprefix("."), **made}
