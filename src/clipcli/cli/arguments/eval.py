"""The command line of `eval`, and what it asks of the rooms beyond images and model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipcli.cli.arguments.checks import (
    Outputs,
    check_classes,
    check_outputs,
    check_pictures,
    check_report_name,
    check_writable_folder,
    is_same_file,
    labels_of_data,
)
from clipcli.cli.arguments.run import RunArguments
from clipcli.cli.options.adapters import AdapterFlag
from clipcli.cli.options.groups import argument, group, offers, option
from clipcli.cli.options.results import ColorFlag, ForceFlag, ReportFlag
from clipcli.cli.options.shared import LabelFlags, complete_model
from clipcli.engines.choice import for_training
from clipcli.errors import UsageError
from clipcli.heads.labels import TEMPLATE_SETS, LabelSet, collect_templates
from clipcli.models.specs import ModelRequest

if TYPE_CHECKING:
    from clipcli.engines.base import EngineOptions
    from clipcli.images.dataset import Dataset

DEFAULT_PRECISION_TARGET = 0.95


@group("Images")
class DataFlag:
    """The pictures and their labels."""

    data: str = argument(type=click.Path())


@group("What is measured")
class ComparisonFlags:
    """What is compared, and what is asked of it.

    Raises:
        UsageError: a share that is no number.
    """

    compare_templates: tuple[str, ...] = option(
        "--compare-templates",
        metavar="TEXT",
        multiple=True,
        shell_complete=offers(lambda: TEMPLATE_SETS),
        help="A template, or a set of them, to compare with the others; give several.",
    )
    compare_models: tuple[str, ...] = option(
        "--compare-models",
        metavar="NAME",
        multiple=True,
        shell_complete=complete_model,
        help="A model to compare with the others; give several.",
    )
    min_accuracy: float = option(
        "--min-accuracy",
        type=click.FloatRange(0, 1),
        metavar="P",
        default=0.0,
        help="Exit with 6 if top-1 accuracy is below P.",
    )
    precision_targets: tuple[float, ...] = option(
        "--precision-target",
        type=click.FloatRange(0, 1, min_open=True),
        metavar="P",
        multiple=True,
        default=(DEFAULT_PRECISION_TARGET,),
        show_default=True,
        help="Suggest a --min-probability and a --min-similarity (for `clipcli classify`) at which"
        " P of the answers are right; give several.",
    )

    def __post_init__(self) -> None:
        # Nothing is below NaN: a check for CI would pass whatever the answers are.
        if any(map(math.isnan, (self.min_accuracy, *self.precision_targets))):
            raise UsageError("--min-accuracy and --precision-target are numbers from 0 to 1")

    @property
    def names_any(self) -> bool:
        """Whether anything is to be compared."""
        return bool(self.compare_templates or self.compare_models)


@group("Output")
class FigureFlags:
    """Where the figures go."""

    json_file: str | None = option(
        "--json",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        help="Write all figures, answers, settings and versions to FILE.",
    )
    plots: str | None = option(
        "--plots",
        metavar="FOLDER",
        type=click.Path(file_okay=False),
        help="Draw the confusion matrix, the reliability curve and the recalls, as PNG and SVG.",
    )
    thresholds: str | None = option(
        "--learn-thresholds",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        help="Write each label's threshold for `classify --multi-label --thresholds FILE`, as JSON;"
        " an image may come on several lines of DATA, with a label each.",
    )


@dataclass(frozen=True, kw_only=True)
class EvalArguments(RunArguments):
    """The command line of `eval`. The images are the data's: no option names them."""

    data: DataFlag
    labels: LabelFlags
    adapter: AdapterFlag
    comparison: ComparisonFlags
    figures: FigureFlags
    force: ForceFlag
    page: ReportFlag
    color: ColorFlag
    verbose: bool

    @property
    def has_lora(self) -> bool:
        """Whether an adapter changes the model's own weights."""
        return self.adapter.read is not None and bool(self.adapter.read.lora)

    def check_outputs(self) -> None:
        """See, before minutes of work, that the libraries are there, and where files will go.

        Raises:
            UsageError: one is not installed, or a folder cannot be written to.
        """
        # Found and not imported: that takes a second, which a refused command line need not wait
        # for.
        if find_spec("sklearn") is None:
            raise UsageError("eval needs the package scikit-learn: pip install 'clipcli[eval]'")
        if self.figures.json_file is not None:
            self._check_json_name(self.figures.json_file)
        if self.page.report is not None:
            check_report_name(self.page.report)
        named = {
            "--json": self.figures.json_file,
            "--report": self.page.report,
            "--learn-thresholds": self.figures.thresholds,
        }
        check_outputs(Outputs(named, self.force.replaced(*named)))
        if self.figures.plots is not None:
            self._check_plots(self.figures.plots)

    def _check_plots(self, folder: str) -> None:
        from clipcli.evaluation.plots import FILES, check_matplotlib

        check_matplotlib()
        # The folder itself is made when there are figures for it.
        check_writable_folder("--plots", folder)
        check_pictures("--plots", Path(folder), FILES, force=self.force.force)

    def _check_json_name(self, file: str) -> None:
        # `eval labels.tsv --json labels.tsv` would overwrite what was labelled by hand.
        if is_same_file(file, self.data.data):
            raise UsageError(f"--json {file} is the data itself: name another file")

    def engine_options(self) -> EngineOptions:
        """Where and how each model runs; there are many images, as far as that is concerned."""
        options = self.engine.options(None)
        what = f"the LoRA of {self.adapter.adapter}"
        return for_training(options, what) if self.has_lora else options

    def prompt_sets(self, classes: tuple[str, ...]) -> dict[str, LabelSet]:
        """The labels in each set of templates that is compared, by the set's name for people.

        Args:
            classes: of the data; they are the labels where the command line has none.

        Raises:
            UsageError: a class of the data is none of the labels.
        """
        adapter = self.adapter.read
        if adapter is not None:
            way_out = f"the adapter {adapter.name} does not know it, so adapt anew"
            check_classes(classes, adapter.labels.names, way_out)
            return {f"adapter {adapter.name}": adapter.labels, "zero-shot": adapter.labels}
        labels = labels_of_data(self.labels, classes)
        own, compared = self.labels.templates, self.comparison.compare_templates
        # With templates to compare and none of one's own, the bare label would be a row that nobody
        # asked for.
        sets = [own] if own or not compared else []
        sets += [(template,) for template in compared]
        return {
            " + ".join(templates) or "{}": LabelSet.of(labels, collect_templates(templates))
            for templates in sets
        }

    def model_requests(self) -> list[ModelRequest]:
        """Which models are compared, the command line's own first."""
        named = self.comparison.compare_models
        # A model named twice is evaluated once.
        others = dict.fromkeys(name for name in named if name != self.model.model)
        return [
            self.model_request(),
            *(ModelRequest(name=name, offline=self.weights.offline) for name in others),
        ]

    def dataset(self) -> Dataset:
        """The images and their labels."""
        from clipcli.images.dataset import read_dataset

        # Where thresholds are learned, several labels may fit.
        several = self.figures.thresholds is not None
        return read_dataset(self.data.data, several=several)
