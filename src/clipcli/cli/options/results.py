"""Options that say what becomes of results: what is shown, where it goes, when a run ends."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import click
from click.core import ParameterSource

from clipcli.cli.console import wants_color
from clipcli.cli.options.groups import group, option
from clipcli.disk.outputs import behind_links, is_stream
from clipcli.errors import UsageError
from clipcli.images.sources import STDIN
from clipcli.outputs.writers import DEFAULT_TOP_K, FORMATS

_TEMPERATURES = 0.001, 1000

MOST_LABELS = 1_000_000
"""That an answer may be asked to show."""

# What is for people has no ending of its own: a file of it would be for nobody.
_HUMAN, *_IN_FILES = FORMATS


@group("The run")
class LimitFlags:
    """Results' order, the end of a run, and what is left of it for programs.

    Raises:
        UsageError: options that do not go together.
    """

    unordered: bool = option(
        "--unordered",
        is_flag=True,
        help="Give results as they are ready, not in input order: no image waits for a slow one.",
    )
    fail_fast: bool = option("--fail-fast", is_flag=True, help="End at the first image that fails.")
    max_errors: int | None = option(
        "--max-errors",
        type=click.IntRange(1, 10**9),
        metavar="N",
        help="End when N images have failed.",
    )
    summary: str | None = option(
        "--summary",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        help="At the end, write counts, rate, settings and versions to FILE, as JSON.",
    )

    def __post_init__(self) -> None:
        if self.fail_fast and self.max_errors is not None:
            raise UsageError("--fail-fast means --max-errors 1: keep one of them")

    @property
    def error_limit(self) -> int | None:
        """Failures after which the run ends."""
        # Two options and one limit: whoever asks for the limit need not know which was given.
        return 1 if self.fail_fast else self.max_errors


@group("Answers")
class AnswerFlags:
    """What an answer is, and what it should be.

    Raises:
        UsageError: a probability or a cosine that is none.
    """

    top_k: int | None = option(
        "-k",
        "--top-k",
        type=click.IntRange(1, MOST_LABELS),
        metavar="N",
        help=f"Labels to show for each image.  [default: {DEFAULT_TOP_K}; in TSV 1; with -v all]",
    )
    min_probability: float = option(
        "--min-probability",
        type=click.FloatRange(0, 1),
        metavar="P",
        default=0.0,
        help="Answer `unknown` where the best label has less than P.",
    )
    min_similarity: float | None = option(
        "--min-similarity",
        type=click.FloatRange(-1, 1),
        metavar="S",
        help="Answer `unknown` where the best label's cosine is below S: other than the"
        " probability, it does not depend on the other labels.",
    )
    expect: tuple[str, ...] = option(
        "--expect",
        metavar="LABEL",
        multiple=True,
        help="Exit with 6 unless this label (or `unknown`) is every image's answer; of several, one"
        " of them.",
    )

    def __post_init__(self) -> None:
        # click takes `nan` for a number in its range, and nothing is below it: the option would be
        # passed over in silence.
        if math.isnan(self.min_probability):
            raise UsageError("--min-probability is a number from 0 to 1")
        if self.min_similarity is not None and math.isnan(self.min_similarity):
            raise UsageError("--min-similarity is a number from -1 to 1")

    @property
    def may_be_unknown(self) -> bool:
        """Whether `unknown` is an answer."""
        return self.min_probability > 0 or self.min_similarity is not None


@group("Answers")
class SeveralFlags:
    """Whether several labels may fit an image, and from where on each does.

    Raises:
        UsageError: thresholds without a use.
    """

    multi_label: bool = option(
        "--multi-label",
        is_flag=True,
        help="Judge each label on its own: all whose cosine is at least --min-similarity, or their"
        " own threshold, fit.",
    )
    thresholds: str | None = option(
        "--thresholds",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        help="With --multi-label, each label's own threshold, as JSON; `clipcli eval"
        " --learn-thresholds` makes it.",
    )

    def __post_init__(self) -> None:
        if self.thresholds is not None and not self.multi_label:
            raise UsageError("--thresholds goes with --multi-label")


@group("Answers")
class TemperatureFlag:
    """How sure the model is taken to be of its answers.

    Raises:
        UsageError: a temperature that is none.
    """

    temperature: float = option(
        "--temperature",
        type=click.FloatRange(min=0, min_open=True),
        metavar="T",
        default=1.0,
        show_default=True,
        help="Divide the model's logits by T: above 1 it is less sure of all answers. `clipcli"
        " eval` finds one for your pictures.",
    )

    def __post_init__(self) -> None:
        if not math.isfinite(self.temperature):
            raise UsageError("--temperature is a number above 0")
        # Beyond, every answer is as likely as any other, or logits are no numbers any more.
        low, high = _TEMPERATURES
        if not low <= self.temperature <= high:
            raise UsageError(f"--temperature {self.temperature:g}: use {low:g} to {high:g}")


@group("Output")
class FormatFlags:
    """How results are written."""

    format: str | None = option(
        "--format",
        type=click.Choice(list(FORMATS)),
        envvar="CLIPCLI_FORMAT",
        show_envvar=True,
        help="[default: human on a terminal, tsv elsewhere]",
    )
    as_tsv: bool = option("--tsv", is_flag=True, help="Short for --format tsv.")
    as_csv: bool = option("--csv", is_flag=True, help="Short for --format csv.")
    as_json: bool = option("--json", is_flag=True, help="Short for --format json.")
    as_jsonl: bool = option("--jsonl", is_flag=True, help="Short for --format jsonl.")
    raw: bool = option(
        "--raw",
        is_flag=True,
        help="In CSV, names and labels as they are: no ' before what a spreadsheet would compute,"
        " no escapes.",
    )
    preview: bool = option(
        "--preview", is_flag=True, help="Show each image beside its bars, on a terminal in colours."
    )

    @property
    def short(self) -> list[str]:
        """The formats that are asked for by their short forms."""
        asked = {
            "tsv": self.as_tsv,
            "csv": self.as_csv,
            "json": self.as_json,
            "jsonl": self.as_jsonl,
        }
        return [name for name, wanted in asked.items() if wanted]


@group("Output")
class ColorFlag:
    """Whether a terminal is shown colours."""

    no_color: bool = option(
        "--no-color",
        is_flag=True,
        help="No colours or bold text on a terminal (as with NO_COLOR).",
    )

    @property
    def wanted(self) -> bool:
        """Whether results may have colours."""
        return wants_color(no_color=self.no_color)


@group("Output")
class ForceFlag:
    """Whether files that are there may be replaced."""

    force: bool = option("--force", is_flag=True, help="Replace files that are there already.")

    def replaced(self, *options: str) -> frozenset[str]:
        """Those of some options whose files may be there."""
        return frozenset(options if self.force else ())


@group("Output")
class FileFlags:
    """Where results go, and what becomes of earlier ones.

    Raises:
        UsageError: options that do not go together.
    """

    output: str | None = option(
        "-o",
        "--output",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        help="Write to FILE.part, renamed to FILE when the run is whole; into a pipe or a device at"
        f" once. The format is as in FILE's name: {', '.join(f'.{name}' for name in _IN_FILES)}.",
    )
    resume: bool = option(
        "--resume",
        is_flag=True,
        help="Go on where the run that wrote FILE.part (of -o FILE, JSONL) was cut.",
    )
    retry_failed: bool = option(
        "--retry-failed",
        is_flag=True,
        help="Try the failed images of -o FILE (JSONL) once more, and keep the other results.",
    )

    def __post_init__(self) -> None:
        # Elsewhere `-` means standard output; here it would be a file of that name, which nobody
        # wants.
        if self.output == STDIN:
            raise UsageError("-o names a file: leave it out for standard output, or write ./-")
        if self.goes_on and self.output is None:
            raise UsageError(f"{self.goes_on} goes with -o FILE")
        if self.goes_on and self.is_stream:
            raise UsageError(f"{self.goes_on} reads results back: {self.output} is no regular file")

    @property
    def is_stream(self) -> bool:
        """Whether results go into a device or a pipe, as they come."""
        return self.output is not None and is_stream(Path(self.output))

    @property
    def path(self) -> Path | None:
        """Where results go, behind all links; None for standard output."""
        return None if self.output is None else behind_links(Path(self.output))

    @property
    def goes_on(self) -> str | None:
        """The option that goes on with an earlier run, if one does."""
        return "--resume" if self.resume else "--retry-failed" if self.retry_failed else None


@group("Output")
class ReportFlag:
    """The page that a run makes beside its results."""

    report: str | None = option(
        "--report",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        help="Also write a page (.html) with all images and their scores, for any browser.",
    )


def format_by_suffix(file: str) -> str | None:
    """The output format that a file's name ends with, if it does."""
    # In any case of letters, as editors and cameras write endings.
    suffix = Path(file).suffix.lower().removeprefix(".")
    return suffix if suffix in _IN_FILES else None


def with_one_format(ctx: click.Context, formats: FormatFlags, output: str | None) -> FormatFlags:
    """The options with `--tsv`, `--csv`, `--json` and `--jsonl` folded into `--format`.

    Raises:
        UsageError: several formats are named.
    """
    # The environment's format gives way; one on the command line would be ignored in silence.
    is_named = ctx.get_parameter_source("format") is ParameterSource.COMMANDLINE
    if len(formats.short) + is_named > 1:
        raise UsageError(
            "--format, --tsv, --csv, --json and --jsonl exclude each other: keep one of them"
        )
    if formats.short:
        return replace(formats, format=formats.short[0])
    if not is_named and output is not None and format_by_suffix(output):
        return replace(formats, format=None)
    return formats
