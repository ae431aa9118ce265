"""One adaptation under way: its pictures through the model, and what becomes of each."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import click

from clipcli.cli.running.engine import open_engine
from clipcli.cli.running.progress import Progress
from clipcli.errors import UsageError
from clipcli.heads.results import Failure
from clipcli.runs.output import RunOutput
from clipcli.runs.tally import Tally

if TYPE_CHECKING:
    from clipcli.adaptation.adapt import Seen
    from clipcli.adaptation.material import Material
    from clipcli.adaptation.selection import Selection
    from clipcli.cli.arguments.adapt import AdaptArguments
    from clipcli.cli.console import Console
    from clipcli.embeddings.base import EmbeddingsFile
    from clipcli.engines.base import Engine, ModelInfo
    from clipcli.errors import InputError
    from clipcli.evaluation.encoding import Encoded
    from clipcli.heads.labels import LabelSet
    from clipcli.images.sources import ImageRef
    from clipcli.models.specs import ModelSpec


_UNASKED_SECONDS = 600


class AdaptationRun:
    """One adaptation under way.

    Args:
        arguments: the command line.
        console: where failures, progress and the summary are told.
        selection: the pictures.

    Attributes:
        info: the model, once `material` has loaded it.
        seen: how the pictures were prepared for it.
    """

    info: ModelInfo
    seen: Seen

    def __init__(self, arguments: AdaptArguments, console: Console, selection: Selection) -> None:
        self.arguments = arguments
        self.console = console
        self._selection = selection
        self._tally = Tally()
        run = RunOutput(sys.stdout, iter(()), self._tally)
        self._progress = Progress(console, run, len(selection.data.refs))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.close()

    @property
    def failed(self) -> int:
        """How many pictures could not be read."""
        return self._tally.failed.total()

    def material(
        self, spec: ModelSpec, labels: LabelSet, file: EmbeddingsFile | None
    ) -> Material | None:
        """Put labels and pictures through the model; None where no picture could be read."""
        from clipcli.adaptation.adapt import gather
        from clipcli.heads.zero_shot import build_head

        arguments = self.arguments
        engine = open_engine(
            spec, arguments.engine_options(), self.console, offline=arguments.weights.offline
        )
        self.info = engine.info
        if file is not None:
            from clipcli.embeddings.base import check_model

            check_model(file, engine.info)
        head = build_head(engine, labels, arguments.labels.text_cache())
        encoded = self._encoded(engine, file)
        self._progress.close()
        self.console.summary(self._tally, self._progress.rate)
        kept = [
            place
            for place in range(len(self._selection.data.refs))
            if place not in encoded.failures
        ]
        if not kept:
            return None
        seed = arguments.adapt.seed
        material = gather(self._selection, kept, encoded.embeddings, labels, head, seed=seed)
        if not arguments.trains_model:
            return material
        from clipcli.adaptation.tuning import trainable

        options = arguments.pipeline_options(whole_blocks=True)
        return replace(material, trainable=trainable(engine, head, options, self._confirm))

    def _confirm(self, seconds: float) -> None:
        """Say how long a training takes, and ask where that is more than ten minutes."""
        self.console.hint(f"this takes about {_duration(seconds)} more")
        if seconds <= _UNASKED_SECONDS or self.arguments.lora.yes:
            return
        shorter = "--steps N, --last N and --layers text take less"
        if not _is_interactive():
            raise UsageError(f"more than ten minutes, and nobody to ask: add --yes; {shorter}")
        if not click.confirm("Go on?", err=True):
            raise UsageError(f"stopped, and nothing is written: {shorter}")

    def _encoded(self, engine: Engine, file: EmbeddingsFile | None) -> Encoded:
        from clipcli.adaptation.adapt import Seen

        if file is not None:
            from clipcli.adaptation.stored import stored_embeddings

            self.seen = Seen(file.description.preprocess, file.description.fit)
            return stored_embeddings(file, self._selection.data, self._tell)
        from clipcli.evaluation.encoding import encode_images

        options = self.arguments.pipeline_options(whole_blocks=True)
        self.seen = Seen.of(engine.info, options.images)
        return encode_images(self._selection.data.refs, engine, options, self._tell)

    def _tell(self, ref: ImageRef, error: InputError | None) -> None:
        if error is None:
            self._tally.done += 1
        else:
            failure = Failure.of(ref, error)
            self._tally.failed[failure.code.value] += 1
            self.console.failure(failure)
        self._progress.advance()


def _is_interactive() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
