"""`clipcli explain`: where in a picture the answer comes from."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipcli.cli.arguments.explain import ExplainArguments, ExplainFlags, ImageFlag, make_folder
from clipcli.cli.console import Console, results_stream
from clipcli.cli.exit_codes import ExitCode
from clipcli.cli.options.groups import SectionedCommand, takes
from clipcli.cli.options.inputs import AddressFlags, ReadingFlags
from clipcli.cli.options.results import ColorFlag, ForceFlag
from clipcli.cli.options.shared import (
    EngineFlags,
    LabelFlags,
    ModelFlag,
    WeightsFlags,
    console_options,
)
from clipcli.cli.running.engine import open_engine
from clipcli.disk.atomic import writable
from clipcli.errors import InputError
from clipcli.images.sources import STDIN
from clipcli.models.names import resolve_model
from clipcli.outputs.writers import FORMATS, OutputOptions, record

if TYPE_CHECKING:
    from clipcli.engines.base import Engine, ModelInfo
    from clipcli.explanation.explain import Explanation
    from clipcli.heads.labels import LabelSet
    from clipcli.heads.results import Failure
    from clipcli.heads.zero_shot import ZeroShotHead
    from clipcli.images.sources import ImageRef


@click.command(
    cls=SectionedCommand,
    epilog="Exit codes: 0 done, 2 usage, 4 the image failed, 5 no model, 130 interrupted,"
    " 143 terminated.",
)
@takes(
    image=ImageFlag,
    labels=LabelFlags,
    how=ExplainFlags,
    force=ForceFlag,
    color=ColorFlag,
    model=ModelFlag,
    weights=WeightsFlags,
    engine=EngineFlags,
    reading=ReadingFlags,
    addresses=AddressFlags,
)
@console_options
@click.pass_obj
def explain(console: Console, /, **groups: Any) -> int:  # noqa: ANN401
    """Show where in an IMAGE the answer comes from.

    Each label gets a map of what speaks for it. An IMAGE is a file, an http(s) URL, or - for the
    bytes of one image on standard input. The parts of a picture that the model does not see, since
    it sees a square, stay dark.

    \b
    clipcli explain cat.jpg -l 'a photo of a cat' -l 'a photo of a dog'
    clipcli explain cat.jpg -l cat -l dog --model tiny -o maps/
    clipcli explain cat.jpg -l cat -l dog --method gradient --json
    """  # noqa: D301  click wants the character \b itself
    arguments = ExplainArguments(**groups, verbose=console.verbose)
    with console.warnings():
        return _run(arguments, console)


def _run(arguments: ExplainArguments, console: Console) -> int:
    """Check everything that is cheap to check, then load the model, then explain."""
    if arguments.labels.reads_stdin:
        console.awaiting("labels")
    labels = arguments.labels.label_set()
    arguments.engine_options()
    # Seen to now: minutes of work must not end with a place that cannot be written to.
    target = arguments.target(labels.names)
    spec = resolve_model(arguments.model_request())
    labels.check_alternatives(spec.activation)
    if target is not None:
        make_folder(target)
    with ExitStack() as stack:
        ref = arguments.image_ref(stack)
        if arguments.image.image == STDIN:
            console.awaiting("the bytes of an image")

        from clipcli.engines.batches import check_batch_size
        from clipcli.heads.results import Failure
        from clipcli.heads.zero_shot import build_head

        offline = arguments.weights.offline
        engine = open_engine(spec, arguments.engine_options(), console, offline=offline)
        check_batch_size(arguments.engine.batch_size, engine.info)
        head = build_head(engine, labels, arguments.labels.text_cache())
        options = _output_options(arguments, engine.info, labels)
        try:
            explanation = _explained(ref, engine, head, arguments, console)
        except InputError as error:
            # One record for one image, as from `classify`: whoever reads JSON need not know two
            # kinds of failures.
            failure = Failure.of(ref, error)
            console.failure(failure)
            _show_failure(failure, arguments, options)
            return ExitCode.NONE_SUCCEEDED
    if target is not None:
        _draw(target, explanation, console)
    _show(explanation, arguments, options)
    is_narrow = explanation.prediction.seen is not None
    console.narrow(int(is_narrow), 1, has_tiles=False)
    return ExitCode.ALL_DONE


def _explained(
    ref: ImageRef,
    engine: Engine,
    head: ZeroShotHead,
    arguments: ExplainArguments,
    console: Console,
) -> Explanation:
    from clipcli.explanation.explain import explain as explain_image
    from clipcli.images.reading import read_picture

    options = arguments.explain_options()
    fetch = arguments.addresses.fetch_options(arguments.reading.max_bytes)
    picture = read_picture(ref, options.images, fetch, engine.info.preprocess)
    if arguments.how.method == "occlusion":
        console.step(f"{ref.name}: the model runs {arguments.runs_of_the_model:,} times")
    return explain_image(ref, picture, engine, head, options)


def _draw(target: Path, explanation: Explanation, console: Console) -> None:
    from clipcli.explanation import heatmaps

    with writable(f"to {target}"):
        files = heatmaps.write(target, explanation)
    if files == [target]:
        console.step(f"the maps are in {target}")
    else:
        console.step(f"{len(files)} pictures are in {target}, side by side in {files[-1].name}")


def _output_options(
    arguments: ExplainArguments, info: ModelInfo, labels: LabelSet
) -> OutputOptions:
    return OutputOptions(
        labels=labels.names,
        model_name=info.name,
        model_fingerprint=info.fingerprint,
        embed_dim=info.embed_dim,
        top_k=arguments.how.top_k,
        verbose=arguments.verbose,
        color=arguments.color.wanted,
    )


def _show(explanation: Explanation, arguments: ExplainArguments, options: OutputOptions) -> None:
    """Write the answer, and the maps in formats that have room for them."""
    stream = results_stream()
    name = arguments.how.format_name
    if name == "json":
        fields = {**record(explanation.prediction, options), **_maps(explanation, arguments)}
        stream.write(json.dumps(fields, allow_nan=False) + "\n")
        return
    FORMATS[name](stream, options).write(explanation.prediction)

    from clipcli.explanation.terminal_maps import terminal_maps
    from clipcli.outputs.terminal.screens import find_screen

    screen = find_screen(stream) if options.color else None
    stream.write("\n" + terminal_maps(explanation, screen))


def _show_failure(failure: Failure, arguments: ExplainArguments, options: OutputOptions) -> None:
    """Write the record of a failure, for programs; people are told on standard error."""
    if arguments.how.format_name == "json":
        results_stream().write(json.dumps(record(failure, options), allow_nan=False) + "\n")


def _maps(explanation: Explanation, arguments: ExplainArguments) -> dict[str, Any]:
    """What a record of `classify` has not: the maps, and the part of the picture they cover."""
    view = explanation.view
    return {
        "method": arguments.how.method,
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
