"""One evaluation under way: models, labels and images, and what becomes of each image."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from clipcli.cli.options.adapters import tell_of_preparation
from clipcli.cli.running.engine import open_engine
from clipcli.cli.running.page import open_report, with_pictures
from clipcli.cli.running.progress import Progress
from clipcli.cli.running.settings import run_settings
from clipcli.heads.results import Failure
from clipcli.runs.output import RunOutput
from clipcli.runs.tally import Tally

if TYPE_CHECKING:
    from clipcli.arrays import Float32
    from clipcli.cli.arguments.eval import EvalArguments
    from clipcli.cli.console import Console
    from clipcli.engines.base import Engine, ModelInfo
    from clipcli.errors import InputError
    from clipcli.heads.adapters import Adapter
    from clipcli.heads.labels import LabelSet
    from clipcli.heads.zero_shot import ZeroShotHead
    from clipcli.images.dataset import Dataset
    from clipcli.images.sources import ImageRef
    from clipcli.images.views import Sight
    from clipcli.models.specs import ModelSpec
    from clipcli.outputs.report.writer import Report
    from clipcli.runs.options import PipelineOptions


@dataclass(frozen=True, eq=False)
class ModelRun:
    """What is left of a model when images and labels have gone through it.

    Attributes:
        infos: the model, for each set of prompts; an adapter makes another one of it.
        heads: one for each set of prompts.
        embeddings: of all images, for each set of prompts, shape (n, embed_dim); a failure's row
            means nothing.
        sights: how an image was seen, by its place, where that is worth telling.
    """

    infos: list[ModelInfo]
    heads: list[ZeroShotHead]
    embeddings: list[Float32]
    sights: Mapping[int, Sight]

    @property
    def info(self) -> ModelInfo:
        """The model with the first set of prompts."""
        return self.infos[0]


class EvaluationRun:
    """One evaluation under way: its models one by one, and what becomes of its images.

    Args:
        arguments: the command line.
        console: where failures, progress and the summary are told.
        data: the images; their indexes are their places.
        models: how many models they go through.
    """

    def __init__(
        self, arguments: EvalArguments, console: Console, data: Dataset, models: int
    ) -> None:
        self.arguments = arguments
        self.console = console
        self.data = data
        self.failures: dict[int, Failure] = {}
        # Places of images of which a model was shown less than half.
        self._narrow: set[int] = set()
        self.report: Report | None = None
        # An image counts once for each model here, for the bar.
        self._tally = Tally()
        run = RunOutput(sys.stdout, iter(()), self._tally)
        self._progress = Progress(console, run, models * len(data.refs))

    @property
    def kept(self) -> list[int]:
        """Places of the images that no model has failed with: rows compare the same images."""
        return [place for place in range(len(self.data.refs)) if place not in self.failures]

    def through(self, spec: ModelSpec, prompts: Sequence[LabelSet]) -> ModelRun:
        """Put labels and images through a model, which is then let go."""
        engine = open_engine(
            spec,
            self.arguments.engine_options(),
            self.console,
            offline=self.arguments.weights.offline,
        )
        adapter = self.arguments.adapter.read
        if adapter is not None and adapter.lora:
            return self._with_lora(engine, adapter)
        infos, heads = self._answering(engine, prompts)
        options = self._with_report(infos[0], prompts[0])
        rows, sights = self._encoded(engine, options)
        return ModelRun(infos, heads, [rows] * len(heads), sights)

    def _with_lora(self, engine: Engine, adapter: Adapter) -> ModelRun:
        """The model as a LoRA has changed it, and as it was."""
        from clipcli.heads.adapted import adapted_engine, adapted_head
        from clipcli.heads.zero_shot import build_head

        changed, labels = adapted_engine(engine, adapter), adapter.labels
        tell_of_preparation(adapter, self.arguments.prepared(changed.info), self.console)
        heads = [adapted_head(adapter, changed.info), build_head(engine, labels)]
        options = self._with_report(changed.info, labels)
        rows, sights = self._encoded(changed, options)
        plain, _ = self._encoded(engine, self.arguments.pipeline_options(whole_blocks=True))
        return ModelRun([changed.info, engine.info], heads, [rows, plain], sights)

    def _encoded(
        self, engine: Engine, options: PipelineOptions
    ) -> tuple[Float32, dict[int, Sight]]:
        """All images through a model, each in its place, and how they were seen."""
        import numpy as np

        from clipcli.evaluation.encoding import encode_images

        # What one model could not take would be left out of the comparison anyway.
        places = self.kept
        refs = [self.data.refs[place] for place in places]
        encoded = encode_images(refs, engine, options, self._tell)
        # In the places of the whole data set: rows of several models must name the same images.
        embeddings = np.zeros((len(self.data.refs), engine.info.embed_dim), np.float32)
        embeddings[places] = encoded.embeddings
        sights = {places[place]: sight for place, sight in encoded.sights.items()}
        self._narrow |= {place for place, sight in sights.items() if sight.is_narrow}
        return embeddings, sights

    def _answering(
        self, engine: Engine, prompts: Sequence[LabelSet]
    ) -> tuple[list[ModelInfo], list[ZeroShotHead]]:
        """The model and the head for each set of prompts; an adapter's, and zero-shot beside it."""
        from clipcli.heads.adapted import adapted_head, unadapted_head
        from clipcli.heads.zero_shot import build_head

        info, adapter = engine.info, self.arguments.adapter.read
        if adapter is not None:
            tell_of_preparation(adapter, self.arguments.prepared(info), self.console)
            heads = [adapted_head(adapter, info), unadapted_head(adapter, info)]
            return [adapter.answering(info), info], heads
        # One for all sets of prompts: sets share templates, and models do not meet in it.
        cache = self.arguments.labels.text_cache()
        return [info] * len(prompts), [build_head(engine, labels, cache) for labels in prompts]

    def _with_report(self, info: ModelInfo, labels: LabelSet) -> PipelineOptions:
        """How images are read; the first model's are shown on the page, if there is to be one."""
        options = self.arguments.pipeline_options(whole_blocks=True)
        if self.arguments.page.report is None or self.report is not None:
            return options
        settings = {
            "data": self.arguments.data.data,
            "templates": labels.templates,
            **run_settings(self.arguments, info),
        }
        title = "Evaluation report"
        self.report = open_report(
            self.arguments.page.report, title, labels.names, settings, self.console.words
        )
        return with_pictures(options, self.report)

    def _tell(self, ref: ImageRef, error: InputError | None) -> None:
        if error is None:
            self._tally.done += 1
        else:
            failure = Failure.of(ref, error)
            self.failures[ref.index] = failure
            self._tally.failed[failure.code.value] += 1
            self.console.failure(failure)
        self._progress.advance()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.close()
        if self.report is not None:
            self.report.__exit__(*error)

    def sum_up(self) -> None:
        """Tell what became of the images; each counts once, however many models there were."""
        codes = Counter(failure.code.value for failure in self.failures.values())
        kept = self.kept
        self.console.summary(Tally(done=len(kept), failed=codes), self._progress.rate)
        self.console.narrow(len(self._narrow.intersection(kept)), len(kept))
