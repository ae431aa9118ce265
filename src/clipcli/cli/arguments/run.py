"""What all commands are told that put many images through a model."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipcli.cli.options.inputs import AddressFlags, DecodingFlags, DownloadFlags, ReadingFlags
from clipcli.cli.options.shared import EngineFlags, ModelFlag, WeightsFlags
from clipcli.heads.results import ScoreOptions
from clipcli.models.specs import ModelRequest
from clipcli.runs.options import PipelineOptions

if TYPE_CHECKING:
    from clipcli.engines.base import ModelInfo


@dataclass(frozen=True, kw_only=True)
class RunArguments:
    """How images are read and go through which model; the groups of options as they are."""

    reading: ReadingFlags
    decoding: DecodingFlags
    addresses: AddressFlags
    downloads: DownloadFlags
    model: ModelFlag
    weights: WeightsFlags
    engine: EngineFlags

    def model_request(self) -> ModelRequest:
        """Which model."""
        return self.weights.request(self.model.model)

    def prepared(self, info: ModelInfo) -> dict[str, str]:
        """How images are prepared for a model: option -> its value."""
        fit = info.preprocess.fitted(self.reading.fit).fit
        return {"preprocess": self.reading.preprocess, "fit": fit}

    def pipeline_options(
        self,
        scores: ScoreOptions | None = None,
        stop: threading.Event | None = None,
        *,
        ordered: bool = True,
        whole_blocks: bool = False,
    ) -> PipelineOptions:
        """How images are read, prepared and scored.

        Args:
            scores: what of the scores is kept.
            stop: set when the run shall end.
            ordered: results come in input order.
            whole_blocks: nothing is given in a lull.

        Raises:
            UsageError: options that do not go together.
        """
        return PipelineOptions(
            self.engine.batch_size,
            self.decoding.workers,
            self.reading.image_options(fast_decode=self.decoding.fast_decode),
            self.addresses.fetch_options(
                # One number for files and downloads: what is too large does not depend on where it
                # is.
                self.reading.max_bytes,
                concurrency=self.downloads.concurrency,
                per_host=self.downloads.per_host,
            ),
            scores or ScoreOptions(),
            ordered=ordered,
            isolate_seconds=self.decoding.isolate_seconds,
            whole_blocks=whole_blocks,
            # One that nobody sets: the pipeline need not ask whether there is one.
            stop=stop or threading.Event(),
        )
