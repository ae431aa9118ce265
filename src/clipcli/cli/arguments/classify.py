"""The command line of `classify`, and what it asks of the rooms beyond images and model."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli.cli.advice import labels_meant
from clipcli.cli.arguments.checks import Outputs, check_outputs, check_report_name
from clipcli.cli.arguments.run import RunArguments
from clipcli.cli.arguments.sorting import check_folders
from clipcli.cli.options.adapters import AdapterFlag, NoveltyFlag
from clipcli.cli.options.inputs import EmbeddingsFlag, NamingFlags
from clipcli.cli.options.results import (
    AnswerFlags,
    ColorFlag,
    FileFlags,
    ForceFlag,
    FormatFlags,
    LimitFlags,
    ReportFlag,
    SeveralFlags,
    TemperatureFlag,
    format_by_suffix,
)
from clipcli.cli.options.shared import LabelFlags
from clipcli.cli.options.sorting import SortingFlags
from clipcli.disk.atomic import part_file
from clipcli.errors import UsageError
from clipcli.heads.labels import UNKNOWN, LabelSet, collect_templates
from clipcli.heads.results import ScoreOptions
from clipcli.outputs.writers import DEFAULT_TOP_K

if TYPE_CHECKING:
    from clipcli.embeddings.base import EmbeddingsFile
    from clipcli.engines.base import EngineOptions
    from clipcli.heads.adapters import Adapter
    from clipcli.heads.zero_shot import ZeroShotHead
    from clipcli.outputs.sorting import Folders, SortOptions
    from clipcli.runs.resume import RunOptions
    from clipcli.runs.settings import Settings

_LABELS_IN_A_MESSAGE = 10
# What a run keeps beside FILE: see `clipcli.runs.files`.
_BESIDE = (".part", ".part.sums", ".retry", ".run.json")


@dataclass(frozen=True, kw_only=True)
class ClassifyArguments(RunArguments):
    """The command line of `classify`.

    Raises:
        UsageError: options that do not go together, or files that cannot be written.
    """

    naming: NamingFlags
    stored: EmbeddingsFlag
    labels: LabelFlags
    adapter: AdapterFlag
    novelty: NoveltyFlag
    answers: AnswerFlags
    scale: TemperatureFlag
    several: SeveralFlags
    formats: FormatFlags
    color: ColorFlag
    file: FileFlags
    force: ForceFlag
    page: ReportFlag
    sorting: SortingFlags
    limits: LimitFlags
    verbose: bool

    def __post_init__(self) -> None:
        self._check_images()
        if self.formats.raw and self.format_name(on_terminal=False) != "csv":
            raise UsageError("--raw goes with CSV: add --csv")
        self._check_report()
        self._check_outputs()
        self._check_going_on()
        check_folders(self.sorting, self.naming)

    def _check_images(self) -> None:
        if self.labels.reads_stdin and self.naming.reads_stdin:
            raise UsageError(
                "standard input can be read only once: give the labels or the images in a file"
            )
        if self.several.multi_label and self.adapter.adapter is not None:
            raise UsageError(
                "--multi-label judges each label by its text, --adapter by what it has learned:"
                " leave out one of them"
            )
        if self.stored.embeddings is None:
            self.naming.check_named()
        elif self.naming.names_images:
            raise UsageError("--embeddings takes the place of images: name one or the other")
        # The shard of a file's rows would be another than that of the images that made it.
        elif self.naming.shard is not None:
            raise UsageError("--shard goes with images: give it to clipcli embed")

    def _check_going_on(self) -> None:
        goes_on = self.file.goes_on
        if goes_on is None:
            return
        if self.format_name(on_terminal=False) != "jsonl":
            raise UsageError(f"{goes_on} can read JSONL only: write to -o FILE.jsonl")
        if self.stored.embeddings is not None:
            raise UsageError(f"{goes_on} goes with images: scoring --embeddings takes a moment")
        if self.limits.unordered:
            raise UsageError(f"{goes_on} needs the input order: leave out --unordered")
        if self.sorting.move_to is not None:
            raise UsageError(
                f"{goes_on} looks at the images of the earlier run, which --move-to has moved: use"
                f" --copy-to or --link-to, or leave {goes_on} out: the rest is sorted all the same"
            )

    def _check_report(self) -> None:
        if self.page.report is None:
            return
        check_report_name(self.page.report)
        if self.sorting.move_to is not None:
            raise UsageError(
                "--report leads to each picture where it is, and --move-to moves it: use --copy-to"
                " or --link-to, or make the report by itself"
            )
        if self.file.goes_on is not None:
            # The earlier run's images are not read again: there would be no pictures of them.
            option = self.file.goes_on
            raise UsageError(f"--report shows the images of one whole run: leave out {option}")

    def _check_outputs(self) -> None:
        output, goes_on = self.file.output, self.file.goes_on
        replaced = self.force.replaced("--report", "-o", "--summary")
        # What goes on with a run goes on with its summary.
        replaced |= {"-o", "--summary"} if goes_on else set()
        ways_on = {}
        if self.format_name(on_terminal=False) == "jsonl":
            ways_on["-o"] = "--resume goes on with it, "
        named = {"--report": self.page.report, "-o": output, "--summary": self.limits.summary}
        beside = [] if output is None else [f"{output}{ending}" for ending in _BESIDE]
        check_outputs(Outputs(named, replaced, ways_on, beside))

    def format_name(self, *, on_terminal: bool) -> str:
        """The output format: as asked for, else as the file's name says, else by the terminal."""
        if self.formats.format is not None:
            return self.formats.format
        if self.file.output is not None:
            return format_by_suffix(self.file.output) or "tsv"
        return "human" if on_terminal else "tsv"

    def engine_options(self) -> EngineOptions:
        """Where and how the model runs."""
        return self.engine.options(self.naming.image_count())

    def embeddings_file(self) -> EmbeddingsFile | None:
        """The embeddings that take the place of images, if any do.

        Raises:
            UsageError: they cannot be read, or their images were fitted in another way than is
                asked for.
        """
        if self.stored.embeddings is None:
            return None
        from clipcli.embeddings.files import open_embeddings

        file, fit = open_embeddings(Path(self.stored.embeddings)), self.reading.fit
        if fit not in (None, file.description.fit):
            raise UsageError(
                f"{file.path}: was made with --fit {file.description.fit}, not {fit}: leave out"
                f" --fit, or embed the images again with --fit {fit}"
            )
        return file

    def run_options(self, settings: Settings, expected: tuple[str, ...]) -> RunOptions | None:
        """Where the results go, and what becomes of an earlier run's; None: into a stream."""
        file = self.file.path
        if file is None or self.file.is_stream:
            return None
        from clipcli.runs.resume import Mode, RunOptions

        # The modes' values are the options' own names.
        mode = Mode(self.file.goes_on or Mode.NEW)
        return RunOptions(file, settings, self.engine.batch_size, mode, expected)

    @property
    def wants_whole_blocks(self) -> bool:
        """Whether nothing is given in a lull: there is none, or results go to a file.

        That is read later, and `--resume` promises equal bytes each time.
        """
        into_file = self.file.output is not None and not self.file.is_stream
        return into_file or not self.naming.has_slow_list()

    def way_on(self) -> str:
        """How a run that is cut goes on, for the user; empty where it cannot."""
        if self.file.path is None or self.file.is_stream:
            return ""
        if self.file.retry_failed:
            return "give the same command to try again; no result is lost"
        # Only what `--resume` would accept is advised.
        is_ordered = self.stored.embeddings is None and not self.limits.unordered
        if is_ordered and self.format_name(on_terminal=False) == "jsonl":
            return "give the same command with --resume to go on"
        return f"what is done is in {part_file(self.file.path)}"

    def label_set(self, adapter: Adapter | None = None) -> LabelSet:
        """The labels, and whether `--expect` and `unknown` make sense with them.

        Args:
            adapter: that brings them; None for those of the command line.
        """
        labels = self._named_labels() if adapter is None else adapter.labels
        names = labels.names
        if self._may_be_unknown and UNKNOWN in names:
            raise UsageError(
                f"a label {UNKNOWN!r} cannot be told from the answer of --min-probability,"
                " --min-similarity and --novelty: rename it"
            )
        for expected in self.answers.expect:
            self._check_expected(expected, names)
        return labels

    def folders(self, labels: LabelSet) -> Folders | None:
        """The folders that pictures are sorted into, if they are.

        Raises:
            UsageError: something else has a folder's name.
        """
        if self.sorting.named is None:
            return None
        from clipcli.outputs.sorting import Folders

        return Folders.of(self.sort_options(), labels.names)

    def sort_options(self) -> SortOptions:
        """How pictures are sorted; only where they are."""
        # Who gives names one by one wants each picture in its place at once.
        return self.sorting.options(1 if self.naming.has_slow_list() else None)

    def _named_labels(self) -> LabelSet:
        found = self.labels.collected()
        if not found:
            meant = labels_meant(self.naming.images, ())
            raise UsageError(f"no labels: name some with -l TEXT or --labels FILE{meant}")
        return LabelSet.of(found, collect_templates(self.labels.templates))

    @property
    def _may_be_unknown(self) -> bool:
        is_judged = self.several.multi_label or self.novelty.novelty is not None
        return is_judged or self.answers.may_be_unknown

    def adapter_settings(self) -> dict[str, str | None]:
        """What of the adapter must be equal beside the fingerprint, for two runs' answers to be."""
        return {} if self.adapter.adapter is None else {"novelty": self.novelty.novelty}

    def check_alternatives(self, labels: LabelSet, activation: str) -> None:
        """Refuse a question that has only one answer, and say what may have been meant.

        Raises:
            UsageError: one label under softmax.
        """
        try:
            labels.check_alternatives("sigmoid" if self.several.multi_label else activation)
        except UsageError as error:
            meant = labels_meant(self.naming.images, labels.names)
            raise UsageError(f"{error}{meant}") from error

    def judged(self, head: ZeroShotHead) -> ZeroShotHead:
        """The head as it judges: at a temperature, and each label on its own where that is asked.

        Raises:
            UsageError: a label has no threshold.
        """
        head = head.at_temperature(self.scale.temperature)
        if not self.several.multi_label:
            return head
        import numpy as np

        from clipcli.heads.thresholds import read_thresholds, thresholds_of

        file, least = self.several.thresholds, self.answers.min_similarity
        known = {} if file is None else read_thresholds(Path(file))
        usual = head.doubt_below if least is None else least
        return head.multi_label(np.array(thresholds_of(head.labels, known, usual)))

    def _check_expected(self, expected: str, names: tuple[str, ...]) -> None:
        if expected == UNKNOWN and UNKNOWN not in names and not self._may_be_unknown:
            needed = "--min-probability, --min-similarity or --novelty"
            raise UsageError(f"--expect {UNKNOWN} needs {needed}")
        if expected not in (*names, UNKNOWN):
            raise UsageError(f"--expect {expected!r} is none of the labels: {_some(names)}")

    def score_options(self) -> ScoreOptions:
        """What of the scores is kept."""
        # What no writer shows is not kept: of a thousand labels, five.
        is_short = (
            self.format_name(on_terminal=sys.stdout.isatty()) == "tsv" and not self.page.report
        )
        usual = 1 if is_short else DEFAULT_TOP_K
        shown = None if self.verbose else max(usual, self.answers.top_k or 0)
        similarity = self.answers.min_similarity
        if self.several.multi_label:
            # It is the labels' threshold there, and as many are kept as fit.
            return ScoreOptions(None, self.answers.min_probability)
        return ScoreOptions(
            shown, self.answers.min_probability, -1.0 if similarity is None else similarity
        )


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(map(repr, names[:_LABELS_IN_A_MESSAGE]))
    return shown if len(names) <= _LABELS_IN_A_MESSAGE else f"{shown}, …"
