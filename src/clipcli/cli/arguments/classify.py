"""The command line of `classify`, and what it asks of the rooms beyond images and model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli.cli.arguments.checks import check_report_name
from clipcli.cli.arguments.run import LabelArguments
from clipcli.errors import UsageError
from clipcli.heads.labels import UNKNOWN, LabelSet, collect_labels, collect_templates
from clipcli.images.sources import STDIN

if TYPE_CHECKING:
    from clipcli.embeddings.base import EmbeddingsFile
    from clipcli.heads.results import ScoreOptions
    from clipcli.runs.resume import RunOptions
    from clipcli.runs.settings import Settings

_LABELS_IN_A_MESSAGE = 10
_FORMATS_BY_SUFFIX = ("jsonl", "json", "csv", "tsv")


@dataclass(frozen=True, kw_only=True)
class ClassifyArguments(LabelArguments):
    """The command line of `classify`."""

    embeddings: str | None
    top_k: int | None
    min_probability: float
    expect: str | None
    output_format: str | None
    no_color: bool
    preview: bool
    resume: bool
    retry_failed: bool
    report: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if math.isnan(self.min_probability):
            raise UsageError("--min-probability is a number from 0 to 1")
        self._check_output()
        self._check_report()

    def check_images(self) -> None:
        """Whether there are images, or embeddings in their place.

        Raises:
            UsageError: neither, or both.
        """
        if self.embeddings is None:
            super().check_images()
        elif self.images or self.files_from is not None:
            raise UsageError("--embeddings takes the place of images: name one or the other")
        elif self.shard is not None:
            raise UsageError("--shard goes with images: give it to clipcli embed")

    def _check_output(self) -> None:
        if self.output == STDIN:
            raise UsageError("-o names a file: leave it out for standard output, or write ./-")
        goes_on = "--resume" if self.resume else "--retry-failed" if self.retry_failed else None
        if goes_on is None:
            return
        if self.output is None:
            raise UsageError(f"{goes_on} goes with -o FILE")
        if self.format_name(on_terminal=False) != "jsonl":
            raise UsageError(f"{goes_on} can read JSONL only: write to -o FILE.jsonl")
        if self.embeddings is not None:
            raise UsageError(f"{goes_on} goes with images: scoring --embeddings takes a moment")
        if self.unordered:
            raise UsageError(f"{goes_on} needs the input order: leave out --unordered")

    def _check_report(self) -> None:
        if self.report is None:
            return
        check_report_name(self.report)
        if self.output is None:
            return
        if Path(self.report).absolute() == Path(self.output).absolute():
            raise UsageError("--report and -o name the same file: name another for one of them")
        if self.resume or self.retry_failed:
            # The earlier run's images are not read again: there would be no pictures of them.
            option = "--resume" if self.resume else "--retry-failed"
            raise UsageError(f"--report shows the images of one whole run: leave out {option}")

    def format_name(self, *, on_terminal: bool) -> str:
        """The output format: as asked for, else as the file's name says, else by the terminal."""
        if self.output_format is not None:
            return self.output_format
        if self.output is not None:
            return format_by_suffix(self.output) or "tsv"
        return "human" if on_terminal else "tsv"

    def embeddings_file(self) -> EmbeddingsFile | None:
        """The embeddings that take the place of images, if any do."""
        if self.embeddings is None:
            return None
        from clipcli.embeddings.files import open_embeddings

        return open_embeddings(Path(self.embeddings))

    def run_options(self, settings: Settings) -> RunOptions | None:
        """Where the results go, and what becomes of an earlier run's; None: standard output."""
        if self.output is None:
            return None
        from clipcli.runs.resume import Mode, RunOptions

        mode = Mode.RETRY if self.retry_failed else Mode.RESUME if self.resume else Mode.NEW
        return RunOptions(Path(self.output), settings, self.batch_size, mode, self.expect)

    @property
    def wants_whole_blocks(self) -> bool:
        """In a file: it is read later, and `--resume` promises the same bytes each time."""
        return self.output is not None

    def way_on(self) -> str:
        """How a run that is cut goes on, for the user; empty where it cannot."""
        if self.output is None:
            return ""
        if self.retry_failed:
            return "give the same command to try again; no result is lost"
        is_ordered = self.embeddings is None and not self.unordered
        if is_ordered and self.format_name(on_terminal=False) == "jsonl":
            return "give the same command with --resume to go on"
        return f"what is done is in {self.output}.part"

    def label_set(self) -> LabelSet:
        """The labels, and whether `--expect` and `unknown` make sense with them."""
        names = collect_labels(self.labels, self.label_files)
        labels = LabelSet(names, collect_templates(self.templates))
        if self.min_probability and UNKNOWN in names:
            raise UsageError(
                f"a label {UNKNOWN!r} cannot be told from --min-probability's answer: rename it"
            )
        if self.expect == UNKNOWN and UNKNOWN not in names and not self.min_probability:
            raise UsageError(f"--expect {UNKNOWN} needs --min-probability")
        if self.expect is not None and self.expect not in (*names, UNKNOWN):
            raise UsageError(f"--expect {self.expect!r} is none of the labels: {_some(names)}")
        return labels

    def score_options(self) -> ScoreOptions:
        """What of the scores is kept."""
        from clipcli.heads.results import ScoreOptions
        from clipcli.outputs.writers import DEFAULT_TOP_K

        # What no writer shows is not kept: of a thousand labels, five.
        shown = None if self.verbose else max(DEFAULT_TOP_K, self.top_k or 0)
        return ScoreOptions(shown, self.min_probability)


def format_by_suffix(file: str) -> str | None:
    """The output format that a file's name ends with, if it does."""
    suffix = Path(file).suffix.lower().removeprefix(".")
    return suffix if suffix in _FORMATS_BY_SUFFIX else None


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(map(repr, names[:_LABELS_IN_A_MESSAGE]))
    return shown if len(names) <= _LABELS_IN_A_MESSAGE else f"{shown}, …"
