"""`clipcli eval`: how good the answers are on one's own pictures, and which prompts do best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from clipcli.cli.arguments.eval import EvalArguments
from clipcli.cli.console import Console, results_stream, wants_color
from clipcli.cli.exit_codes import ExitCode
from clipcli.cli.options.inputs import reading_options
from clipcli.cli.options.results import report_option
from clipcli.cli.options.shared import console_options, engine_options, label_options, model_options
from clipcli.cli.running.settings import run_settings
from clipcli.cli.running.trial import Trial, Tried
from clipcli.errors import ClipcliError
from clipcli.models.names import resolve_model
from clipcli.printable import valid_unicode

if TYPE_CHECKING:
    from clipcli.engines.base import ModelInfo
    from clipcli.evaluation.comparison import Row
    from clipcli.heads.labels import LabelSet


@click.command(
    "eval",
    epilog="Exit codes: 0 all done, 2 usage, 3 some images failed and are left out, 4 all failed,"
    " 5 no model, 6 less than --min-accuracy, 130 interrupted, 143 terminated.",
)
@reading_options
@click.argument("data", type=click.Path())
@label_options
@click.option(
    "--compare-templates",
    metavar="TEXT",
    multiple=True,
    help="A template, or a set of them, to compare with the others; give several.",
)
@click.option(
    "--compare-models",
    metavar="NAME",
    multiple=True,
    help="A model to compare with the others; give several.",
)
@click.option(
    "--min-accuracy",
    type=click.FloatRange(0, 1),
    metavar="P",
    default=0.0,
    help="Exit with 6 if top-1 accuracy is below P.",
)
@click.option(
    "--precision-target",
    "precision_targets",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="P",
    multiple=True,
    default=[0.95],
    show_default=True,
    help="Suggest a --min-probability at which P of the answers are right; give several.",
)
@click.option(
    "--json",
    "json_file",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Write all figures, answers, settings and versions to FILE.",
)
@click.option(
    "--plots",
    metavar="FOLDER",
    type=click.Path(file_okay=False),
    help="Draw the confusion matrix, the reliability curve and the recalls, as PNG and SVG.",
)
@report_option
@click.option("--no-color", is_flag=True, help="No bold headings on a terminal (as with NO_COLOR).")
@model_options
@engine_options
@console_options
@click.pass_context
def evaluate(ctx: click.Context, /, **values: Any) -> int:  # noqa: ANN401
    """Measure how good the answers are on pictures of your own, whose labels you know.

    DATA is a folder with a folder of images for each class (traffic_light/ is the class 'traffic
    light'), or a CSV or TSV file with a path and a label on each line. The labels to choose from
    are the classes, unless -l or --labels name more.

    \b
    clipcli eval photos/ -t 'a photo of a {}.'
    clipcli eval labels.tsv --compare-templates '{}' --compare-templates openai7
    clipcli eval photos/ --model tiny --min-accuracy 0.9 --json figures.json --plots figures/

    Accuracy comes with a 95 % confidence interval (a bootstrap over the images). Each image is
    read once for each model, however many templates are compared. The first row is -t (or the
    first of --compare-templates) with --model (or the first of --compare-models); the others are
    measured against it. Images that cannot be read are told, and count nowhere.
    """  # noqa: D301  click wants the character \b itself
    console: Console = ctx.obj
    arguments = EvalArguments(**_with_a_first_model(ctx, values), verbose=console.verbose)
    with console.warnings():
        return _run(arguments, console)


def _with_a_first_model(ctx: click.Context, values: dict[str, Any]) -> dict[str, Any]:
    """The options with the first model to compare in the place of one that nobody has named."""
    is_named = ctx.get_parameter_source("model") is not ParameterSource.DEFAULT
    if is_named or values["checkpoint"] is not None or not values["compare_models"]:
        return values
    return {**values, "model": values["compare_models"][0]}


def _run(arguments: EvalArguments, console: Console) -> int:
    """Check everything that is cheap to check, then take one model after the other."""
    arguments.check_outputs()
    arguments.engine_options()
    data = arguments.dataset()
    prompts = arguments.prompt_sets(data.classes)
    specs = [resolve_model(request) for request in arguments.model_requests()]
    # All sets have the same labels, but a later model may be the one of softmax.
    for spec in specs:
        next(iter(prompts.values())).check_alternatives(spec.activation)

    with Trial(arguments, console, data, len(specs)) as trial:
        models = [trial.through(spec, [*prompts.values()]) for spec in specs]
        trial.sum_up()
        if not trial.kept:
            _finish_report(trial, models[0], {})
            return ExitCode.NONE_SUCCEEDED
        rows = _compared(trial, models, prompts)
        code = _told(trial, rows, models[0].info)
        error = rows[0].contender.evaluation.calibration_error
        _finish_report(trial, models[0], {"Calibration error": f"{error:.4f}"})
        return code


def _compared(
    trial: Trial, models: Iterable[Tried], prompts: Mapping[str, LabelSet]
) -> tuple[Row, ...]:
    """Each model with each set of prompts, on the images that all models could take."""
    import numpy as np

    from clipcli.evaluation.comparison import Contender, compare
    from clipcli.evaluation.evaluate import evaluate

    names = next(iter(prompts.values())).names
    places = {name: place for place, name in enumerate(names)}
    kept = trial.kept
    truth = np.array([places[trial.data.labels[place]] for place in kept])
    precisions = trial.arguments.precision_targets
    return compare(
        [
            Contender(
                model.info,
                name,
                labels.templates,
                evaluate(head, model.embeddings[kept], truth, precisions),
            )
            for model in models
            for head, (name, labels) in zip(model.heads, prompts.items(), strict=True)
        ]
    )


def _told(trial: Trial, rows: tuple[Row, ...], info: ModelInfo) -> int:
    """Print, write and draw what was found out, and give the exit code."""
    from clipcli.evaluation.table import TableOptions, table

    arguments = trial.arguments
    images = trial.data.subset(trial.kept)
    # Of the first row: what is compared with it may be worse, and is no reason to fail.
    best = rows[0].contender.evaluation.accuracy()
    is_below = best < arguments.min_accuracy
    failed = ExitCode.SOME_FAILED if trial.failures else ExitCode.ALL_DONE
    code = ExitCode.CHECK_NOT_MET if is_below else failed
    options = TableOptions(arguments.verbose, color=wants_color(no_color=arguments.no_color))
    stream = results_stream()
    stream.write(table(rows, images, options))
    stream.flush()  # before what standard error has to say of it
    if arguments.json_file is not None:
        _write_json(trial, rows, info, code)
    if arguments.plots is not None:
        _draw(rows[0], arguments.plots)
    if is_below:
        right = int(rows[0].contender.evaluation.answers.correct.sum())
        share = f"{best:.4f} ({right:,} of {len(images.refs):,})"
        text = f"top-1 accuracy is {share}, below {arguments.min_accuracy:g}"
        trial.console.problem(arguments.data, text)
    return code


def _finish_report(trial: Trial, model: Tried, figures: Mapping[str, str]) -> None:
    """Show each image with its answer and its true label, as the first row has them."""
    if trial.report is None:
        return
    from clipcli.evaluation.judgements import judgements
    from clipcli.heads.results import ScoreOptions
    from clipcli.outputs.writers import DEFAULT_TOP_K

    scores = ScoreOptions(DEFAULT_TOP_K)
    judged = judgements(trial.data, trial.failures, model.heads[0], model.embeddings, scores)
    for result, truth in judged:
        trial.report.add(result, truth)
    trial.report.finish(figures)


def _write_json(trial: Trial, rows: tuple[Row, ...], info: ModelInfo, code: int) -> None:
    from clipcli.disk.atomic import write_json
    from clipcli.evaluation.record import record
    from clipcli.runs.provenance import library_versions

    arguments = trial.arguments
    settings = run_settings(arguments, info)
    settings["provenance"].update(library_versions(("scikit-learn", "scipy")))
    found = {
        "data": valid_unicode(arguments.data),
        "min_accuracy": arguments.min_accuracy,
        "exit_code": int(code),
        **record(
            rows,
            trial.data.subset(trial.kept),
            [failure for _, failure in sorted(trial.failures.items())],
        ),
        "settings": settings,
    }
    file = Path(str(arguments.json_file))
    try:
        write_json(file, found)
    except OSError as error:
        raise ClipcliError(f"cannot write --json {file} ({error.strerror})") from error


def _draw(row: Row, folder: str) -> None:
    from clipcli.evaluation.plots import save_plots

    try:
        save_plots(row.contender.evaluation, Path(folder))
    except OSError as error:
        raise ClipcliError(f"cannot write --plots {folder} ({error.strerror})") from error
