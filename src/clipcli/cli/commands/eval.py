"""`clipcli eval`: how good the answers are on one's own pictures, and which prompts do best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from clipcli.cli.arguments.eval import ComparisonFlags, DataFlag, EvalArguments, FigureFlags
from clipcli.cli.console import Console, results_stream
from clipcli.cli.exit_codes import ExitCode
from clipcli.cli.options.adapters import (
    AdapterFlag,
    check_adapter_flags,
    model_of,
)
from clipcli.cli.options.groups import SectionedCommand, takes
from clipcli.cli.options.inputs import AddressFlags, DecodingFlags, DownloadFlags, ReadingFlags
from clipcli.cli.options.results import ColorFlag, ForceFlag, ReportFlag
from clipcli.cli.options.shared import (
    EngineFlags,
    LabelFlags,
    ModelFlag,
    WeightsFlags,
    console_options,
)
from clipcli.cli.running.evaluation import EvaluationRun, ModelRun
from clipcli.cli.running.settings import run_settings
from clipcli.disk.atomic import cannot_write
from clipcli.disk.outputs import write_json
from clipcli.errors import UsageError
from clipcli.heads.results import Prediction, ScoreOptions
from clipcli.models.names import resolve_model
from clipcli.outputs.writers import DEFAULT_TOP_K
from clipcli.printable import valid_unicode
from clipcli.runs.provenance import library_versions

if TYPE_CHECKING:
    from clipcli.engines.base import ModelInfo
    from clipcli.evaluation.comparison import Row
    from clipcli.heads.labels import LabelSet
    from clipcli.images.dataset import Dataset


@click.command(
    "eval",
    cls=SectionedCommand,
    epilog="Exit codes: 0 all done, 2 usage, 3 some images failed and are left out, 4 all failed,"
    " 5 no model, 6 less than --min-accuracy, 130 interrupted, 143 terminated.",
)
@takes(
    data=DataFlag,
    labels=LabelFlags,
    adapter=AdapterFlag,
    comparison=ComparisonFlags,
    page=ReportFlag,
    figures=FigureFlags,
    force=ForceFlag,
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
def evaluate(ctx: click.Context, /, **groups: Any) -> int:  # noqa: ANN401
    """Measure how good the answers are on pictures of your own, whose labels you know.

    DATA is a folder with a folder of images for each class (traffic_light/ is the class 'traffic
    light'), or a CSV or TSV file with a path and a label on each line. The labels to choose from
    are the classes, unless -l or --labels name more.

    \b
    clipcli eval photos/ -t 'a photo of a {}.'
    clipcli eval labels.tsv --compare-templates '{}' --compare-templates openai7
    clipcli eval photos/ --model tiny --min-accuracy 0.9 --json figures.json --plots figures/

    With --adapter the first row is the adapter's, and zero-shot is measured against it.

    Accuracy comes with a 95 % confidence interval (a bootstrap over the images). Each image is
    read once for each model, however many templates are compared. The first row is -t (or the
    first of --compare-templates) with --model (or the first of --compare-models); the others are
    measured against it. Images that cannot be read are told, and count nowhere.
    """  # noqa: D301  click wants the character \b itself
    console: Console = ctx.obj
    adapter: AdapterFlag = groups["adapter"]
    check_adapter_flags(adapter, names_labels=groups["labels"].names_any)
    if adapter.adapter is not None and groups["comparison"].names_any:
        raise UsageError(
            "--adapter is compared with zero-shot, and with nothing else: leave out"
            " --compare-templates and --compare-models"
        )
    groups["model"] = _first_model(ctx, groups["model"], groups["weights"], groups["comparison"])
    groups["model"] = model_of(ctx, groups["model"], groups["weights"], lambda: adapter.model)
    arguments = EvalArguments(**groups, verbose=console.verbose)
    with console.warnings():
        return _run(arguments, console)


def _first_model(
    ctx: click.Context, model: ModelFlag, weights: WeightsFlags, comparison: ComparisonFlags
) -> ModelFlag:
    """The first model to compare in the place of one that nobody has named."""
    is_named = ctx.get_parameter_source("model") is not ParameterSource.DEFAULT
    if is_named or weights.checkpoint is not None or not comparison.compare_models:
        return model
    return ModelFlag(comparison.compare_models[0])


def _run(arguments: EvalArguments, console: Console) -> int:
    """Check everything that is cheap to check, then take one model after the other."""
    arguments.check_outputs()
    arguments.engine_options()
    data = arguments.dataset()
    if arguments.labels.reads_stdin:
        console.awaiting("labels")
    prompts = arguments.prompt_sets(data.classes)
    specs = [resolve_model(request) for request in arguments.model_requests()]
    # All sets have the same labels, but a later model may be the one of softmax.
    for spec in specs:
        next(iter(prompts.values())).check_alternatives(spec.activation)

    _tell_of_known(arguments, data, console)
    # A LoRA makes another model of its own, through which the images go, too.
    passes = len(specs) + arguments.has_lora
    with EvaluationRun(arguments, console, data, passes) as run:
        models = [run.through(spec, [*prompts.values()]) for spec in specs]
        run.sum_up()
        if not run.kept:
            _finish_report(run, models[0], {})
            return ExitCode.NONE_SUCCEEDED
        rows = _compared(run, models, prompts)
        code = _told(run, rows, models[0].info)
        _learn_thresholds(run, models[0])
        error = rows[0].contender.evaluation.calibration_error
        _finish_report(run, models[0], {"Calibration error": f"{error:.4f}"})
        return code


def _tell_of_known(arguments: EvalArguments, data: Dataset, console: Console) -> None:
    """Tell of pictures that the adapter was made of: of them it knows the answers."""
    adapter = arguments.adapter.read
    if adapter is None:
        return
    from clipcli.images.dataset import file_sha256

    known = {sha256 for sha256 in adapter.description.pictures if sha256 is not None}
    count = sum(file_sha256(ref) in known for ref in data.refs)
    if count:
        console.hint(
            f"{adapter.name} was made of {count:,} of these {len(data.refs):,} pictures, and knows"
            " their answers: others would do worse"
        )


def _compared(
    run: EvaluationRun, models: Iterable[ModelRun], prompts: Mapping[str, LabelSet]
) -> tuple[Row, ...]:
    """Each model with each set of prompts, on the images that all models could take."""
    import numpy as np

    from clipcli.evaluation.comparison import Contender, compare
    from clipcli.evaluation.evaluate import evaluate

    names = next(iter(prompts.values())).names
    places = {name: place for place, name in enumerate(names)}
    kept = run.kept
    truth = np.array([places[run.data.labels[place]] for place in kept])
    precisions = run.arguments.comparison.precision_targets
    return compare(
        [
            Contender(
                info,
                name,
                labels.templates,
                evaluate(head, embeddings[kept], truth, precisions),
            )
            for model in models
            for info, head, embeddings, (name, labels) in zip(
                model.infos, model.heads, model.embeddings, prompts.items(), strict=True
            )
        ]
    )


def _told(run: EvaluationRun, rows: tuple[Row, ...], info: ModelInfo) -> int:
    """Print, write and draw what was found out, and give the exit code."""
    from clipcli.evaluation.table import TableOptions, table

    arguments = run.arguments
    images = run.data.subset(run.kept)
    # Of the first row: what is compared with it may be worse, and is no reason to fail.
    best = rows[0].contender.evaluation.accuracy()
    is_below = best < arguments.comparison.min_accuracy
    failed = ExitCode.SOME_FAILED if run.failures else ExitCode.ALL_DONE
    code = ExitCode.CHECK_NOT_MET if is_below else failed
    options = TableOptions(arguments.verbose, color=arguments.color.wanted)
    # Written at once: a table in pieces would be torn by what goes to standard error.
    stream = results_stream()
    stream.write(table(rows, images, options))
    stream.flush()  # before what standard error has to say of it
    if arguments.figures.json_file is not None:
        _write_json(run, rows, info, code)
    if arguments.figures.plots is not None:
        _draw(rows[0], arguments.figures.plots)
    if is_below:
        right = int(rows[0].contender.evaluation.answers.correct.sum())
        share = f"{best:.4f} ({right:,} of {len(images.refs):,})"
        text = f"top-1 accuracy is {share}, below {arguments.comparison.min_accuracy:g}"
        run.console.problem(arguments.data.data, text)
    return code


def _finish_report(run: EvaluationRun, model: ModelRun, figures: Mapping[str, str]) -> None:
    """Show each image with its answer and its true label, as the first row has them."""
    if run.report is None:
        return
    from clipcli.evaluation.judgements import judgements

    scores = ScoreOptions(DEFAULT_TOP_K)
    judged = judgements(run.data, run.failures, model.heads[0], model.embeddings[0], scores)
    for result, truth in judged:
        sight = model.sights.get(result.index)
        run.report.add(result.at(sight) if isinstance(result, Prediction) else result, truth)
    run.report.finish(figures)


def _learn_thresholds(run: EvaluationRun, model: ModelRun) -> None:
    """Write what the first row's prompts say of the images."""
    from clipcli.evaluation.label_thresholds import learned_thresholds

    file = run.arguments.figures.thresholds
    if file is None:
        return
    kept = run.kept
    found = learned_thresholds(model.heads[0], model.embeddings[0][kept], run.data.subset(kept))
    try:
        write_json(Path(file), found)
    except OSError as error:
        raise cannot_write(f"--learn-thresholds {file}", error) from error


def _write_json(run: EvaluationRun, rows: tuple[Row, ...], info: ModelInfo, code: int) -> None:
    from clipcli.evaluation.record import record

    arguments = run.arguments
    settings = run_settings(arguments, info)
    settings["provenance"].update(library_versions(("scikit-learn", "scipy")))
    found = {
        "data": valid_unicode(arguments.data.data),
        "min_accuracy": arguments.comparison.min_accuracy,
        "exit_code": int(code),
        **record(
            rows,
            run.data.subset(run.kept),
            [failure for _, failure in sorted(run.failures.items())],
        ),
        "settings": settings,
    }
    file = Path(str(arguments.figures.json_file))
    try:
        write_json(file, found)
    except OSError as error:
        raise cannot_write(f"--json {file}", error) from error


def _draw(row: Row, folder: str) -> None:
    from clipcli.evaluation.plots import save_plots

    try:
        save_plots(row.contender.evaluation, Path(folder))
    except OSError as error:
        raise cannot_write(f"--plots {folder}", error) from error
