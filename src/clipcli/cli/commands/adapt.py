"""`clipcli adapt`: an adapter from a few pictures of each class, for `--adapter`."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipcli.cli.arguments.adapt import AdaptArguments, AdaptFlags, StoredFlag
from clipcli.cli.arguments.eval import DataFlag
from clipcli.cli.console import Console, results_stream
from clipcli.cli.exit_codes import ExitCode
from clipcli.cli.options.adapters import AdapterFlag, model_of
from clipcli.cli.options.groups import SectionedCommand, takes
from clipcli.cli.options.inputs import AddressFlags, DecodingFlags, DownloadFlags, ReadingFlags
from clipcli.cli.options.lora import LoraFlags, MergeFlag
from clipcli.cli.options.results import ColorFlag
from clipcli.cli.options.shared import (
    EngineFlags,
    LabelFlags,
    ModelFlag,
    WeightsFlags,
    console_options,
)
from clipcli.cli.running.adaptation import AdaptationRun
from clipcli.cli.running.engine import open_engine
from clipcli.errors import UsageError
from clipcli.models.names import resolve_model
from clipcli.printable import printable

if TYPE_CHECKING:
    from clipcli.adaptation.adapt import Adaptation
    from clipcli.engines.base import ModelInfo


@click.command(
    cls=SectionedCommand,
    epilog="Exit codes: 0 all done, 2 usage, 3 some images failed and are left out, 4 all failed,"
    " 5 no model, 6 not surely better than zero-shot: nothing is written, 130 interrupted, 143"
    " terminated.",
)
@takes(
    data=DataFlag,
    stored=StoredFlag,
    adapt=AdaptFlags,
    lora=LoraFlags,
    merging=MergeFlag,
    labels=LabelFlags,
    color=ColorFlag,
    model=ModelFlag,
    weights=WeightsFlags,
    engine=EngineFlags,
    reading=ReadingFlags,
    decoding=DecodingFlags,
    addresses=AddressFlags,
    downloads=DownloadFlags,
)
@console_options
@click.pass_context
def adapt(ctx: click.Context, /, **groups: Any) -> int:  # noqa: ANN401
    """Learn from a few pictures of each class what the model takes them for.

    DATA is what it is for `clipcli eval`: a folder with a folder of images for each class, or a
    CSV or TSV file with a path and a label on each line. Ten pictures a class are many.

    \b
    clipcli adapt photos/ -o signs
    clipcli classify new/*.jpg --adapter signs
    clipcli adapt photos/ -o signs --shots 8 --seed 1 -t 'a photo of a {}.' --force
    clipcli adapt photos/ -o signs --method lora --last 2 --head
    clipcli adapt --merge signs model/ && clipcli pull ./model

    Pictures are held out in turn, and an adapter that does not answer them better than zero-shot,
    by one standard error of the accuracy and of the log-loss, is not written.
    """  # noqa: D301  click wants the character \b itself
    console: Console = ctx.obj
    merging: MergeFlag = groups["merging"]
    if merging.merge is not None:
        merged = AdapterFlag(merging.merge)
        of_model = groups["model"], groups["weights"], lambda: merged.model
        groups["model"] = model_of(ctx, *of_model)
    arguments = AdaptArguments(**groups, verbose=console.verbose)
    with console.warnings():
        run = _run if merging.merge is None else _merge
        return run(arguments, console)


def _merge(arguments: AdaptArguments, console: Console) -> int:
    """Write the model with an adapter's LoRA in its weights as a model of its own."""
    from clipcli.heads.adapters import read_adapter

    name, folder = str(arguments.merging.merge), Path(arguments.data.data)
    adapter = read_adapter(name)
    if not adapter.lora:
        raise UsageError(f"{name} is no LoRA: it leaves the model's weights as they are")
    options = arguments.engine_options()
    spec = resolve_model(arguments.model_request())
    engine: Any = open_engine(spec, options, console, adapter, offline=arguments.weights.offline)

    from clipcli.engines.torch.merging import write_merged

    size = write_merged(engine, spec, folder)
    click.echo(printable(f"{folder}: {size / 1e6:,.1f} MB"))
    console.hint(f"prepare it with: {shlex.join(['clipcli', 'pull', os.path.join('.', folder)])}")
    if adapter.has_probe:
        console.hint(f"its labels are text again: the probe of {name} is no part of the model")
    return ExitCode.ALL_DONE


def _run(arguments: AdaptArguments, console: Console) -> int:
    """Check everything that is cheap to check, then read the pictures, then fit."""
    arguments.engine_options()
    options, folder = arguments.options(), arguments.folder()
    data = arguments.dataset()
    labels = arguments.label_set(data.classes)
    file = arguments.embeddings_file()
    spec = resolve_model(arguments.model_request())
    labels.check_alternatives(spec.activation)

    from clipcli.adaptation.adapt import adapt as fit
    from clipcli.adaptation.adapt import notes
    from clipcli.adaptation.selection import select

    selection = select(data, options.shots, options.seed)
    for note in selection.notes():
        console.hint(note)
    with AdaptationRun(arguments, console, selection) as run:
        material = run.material(spec, labels, file)
        if material is None:
            return ExitCode.NONE_SUCCEEDED
        for note in notes(material):
            console.hint(note)
        adaptation = fit(material, options, console.step)
        return _told(run, adaptation, folder)


def _told(run: AdaptationRun, adaptation: Adaptation, folder: Path) -> int:
    """Write the adapter, if it is to be; print its figures; give the exit code."""
    from clipcli.adaptation.table import table, verdict
    from clipcli.adaptation.writing import write_adapter
    from clipcli.evaluation.table import TableOptions

    arguments, console = run.arguments, run.console
    is_written = adaptation.may_be_written(arguments.options())
    if is_written:
        description = adaptation.description(run.info, run.seen, arguments.options())
        write_adapter(folder, description, adaptation.tensors())
    code = ExitCode.SOME_FAILED if run.failed else ExitCode.ALL_DONE
    code = code if is_written else ExitCode.CHECK_NOT_MET
    stream = results_stream()
    if arguments.adapt.as_json:
        record = _record(run.info, adaptation, folder if is_written else None, code)
        stream.write(json.dumps(record, indent=1) + "\n")
    else:
        stream.write(table(adaptation, TableOptions(color=arguments.color.wanted)))
        if is_written:
            use = f"`clipcli classify --adapter {arguments.name}`"
            stream.write(f"written: {folder}; use it with {use}\n")
    stream.flush()
    if not adaptation.is_accepted and adaptation.gate is not None:
        way_on = "written all the same" if is_written else "not written (--ungated writes it)"
        console.problem(arguments.name, f"{way_on}, being {verdict(adaptation.gate)}")
    return code


def _record(
    info: ModelInfo, adaptation: Adaptation, folder: Path | None, code: int
) -> dict[str, Any]:
    fitted = adaptation.fitted
    return {
        "folder": None if folder is None else str(folder),
        "exit_code": int(code),
        "model": {"name": info.name, "fingerprint": info.fingerprint},
        "labels": list(adaptation.material.labels.names),
        "counts": list(adaptation.material.counts),
        "hyperparameters": dict(fitted.hyperparameters),
        "parameters": fitted.parameters,
        "layers": list(fitted.layers),
        "temperature": adaptation.temperature,
        "thresholds": dict(adaptation.thresholds),
        "seconds": adaptation.seconds,
        **adaptation.figures(),
    }
