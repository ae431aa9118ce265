"""The command line of `search`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import click

from clipcli.cli.arguments.checks import Outputs, check_outputs, check_report_name
from clipcli.cli.arguments.run import RunArguments
from clipcli.cli.options.groups import argument, group, option
from clipcli.cli.options.inputs import AddressFlags, DownloadFlags
from clipcli.cli.options.results import (
    ColorFlag,
    FileFlags,
    ForceFlag,
    FormatFlags,
    ReportFlag,
)
from clipcli.errors import UsageError
from clipcli.heads.labels import VERBATIM, LabelSet, collect_templates

MOST_HITS = 1_000_000
EMBEDDINGS = (".npz", ".parquet", ".npy")
"""Endings of files that can be searched."""


@group("What to look for")
class QueryFlags:
    """What is searched for, and where."""

    words: tuple[str, ...] = argument(
        nargs=-1, type=click.Path(), metavar="[TEXT] FILE...", required=True
    )
    texts: tuple[str, ...] = option(
        "--text",
        metavar="TEXT",
        multiple=True,
        help="What to look for, used as it is; several are averaged. All words are then FILEs.",
    )
    unwanted: tuple[str, ...] = option(
        "--not", metavar="TEXT", multiple=True, help="What the pictures shall be unlike."
    )
    images: tuple[str, ...] = option(
        "--image",
        metavar="IMAGE",
        multiple=True,
        type=click.Path(),
        help="Look for pictures like this one; with --text, for both. All words are then FILEs.",
    )
    templates: tuple[str, ...] = option(
        "-t",
        "--template",
        metavar="TEXT",
        multiple=True,
        help="A prompt with {} for the text, as 'a photo of a {}'; several are averaged.",
    )
    no_cache: bool = option(
        "--no-cache", is_flag=True, help="Neither use nor keep embeddings of texts and pictures."
    )


@group("Where")
class PlaceFlags:
    """How folders are searched."""

    recursive: bool = option(
        "-r",
        "--recursive",
        is_flag=True,
        help="A FILE may be a folder of pictures. They are embedded, and kept for the next time.",
    )
    hidden: bool = option(
        "--hidden", is_flag=True, help="Folders give hidden files and folders (.name), too."
    )


@group("What is found")
class FoundFlags:
    """What is shown of what is found.

    Raises:
        UsageError: options that do not go together, or a cosine that is none.
    """

    top_k: int | None = option(
        "-k",
        "--top-k",
        type=click.IntRange(1, MOST_HITS),
        metavar="N",
        help="Pictures to show.  [default: 20]",
    )
    min_similarity: float | None = option(
        "--min-similarity",
        type=click.FloatRange(-1, 1),
        metavar="S",
        help="Only pictures whose cosine is at least S.",
    )
    duplicates: bool = option(
        "--duplicates",
        is_flag=True,
        help="Look for no TEXT; list groups of near-equal pictures.",
    )
    duplicate_similarity: float | None = option(
        "--duplicate-similarity",
        type=click.FloatRange(-1, 1),
        metavar="S",
        help="Near-equal pictures have a cosine of at least S.  [default: 0.97]",
    )
    paths: bool = option(
        "--paths", is_flag=True, help="Write the pictures' names alone, a line each."
    )
    print0: bool = option(
        "--print0", is_flag=True, help="The same, with a NUL behind each, for xargs -0."
    )

    def __post_init__(self) -> None:
        named = {
            "--min-similarity": self.min_similarity,
            "--duplicate-similarity": self.duplicate_similarity,
        }
        for name, value in named.items():
            # click takes `nan` for a number in its range.
            if value is not None and math.isnan(value):
                raise UsageError(f"{name} is a number from -1 to 1")
        if self.duplicate_similarity is not None and not self.duplicates:
            raise UsageError("--duplicate-similarity goes with --duplicates")
        if self.paths and self.print0:
            raise UsageError("--paths and --print0 exclude each other: keep one of them")
        if self.duplicates and (self.top_k, self.min_similarity) != (None, None):
            raise UsageError("--duplicates lists all groups: leave out -k and --min-similarity")
        if self.duplicates and (self.paths or self.print0):
            raise UsageError("--duplicates lists groups: take --tsv, whose lines begin with theirs")


@dataclass(frozen=True, kw_only=True)
class SearchArguments(RunArguments):
    """The command line of `search`.

    Attributes:
        texts: what is looked for.
        files: where.

    Raises:
        UsageError: options that do not go together, or nothing to look for, or nowhere.
    """

    query: QueryFlags
    places: PlaceFlags
    found: FoundFlags
    formats: FormatFlags
    color: ColorFlag
    page: ReportFlag
    force: ForceFlag
    addresses: AddressFlags = field(default_factory=AddressFlags)
    downloads: DownloadFlags = field(default_factory=DownloadFlags)
    file: FileFlags = field(default_factory=FileFlags)

    def __post_init__(self) -> None:
        query, found = self.query, self.found
        asks = bool(query.texts or query.unwanted or query.images)
        if found.duplicates and (asks or self.page.report or self.formats.preview):
            raise UsageError(
                "--duplicates compares the pictures with each other: leave out --text, --not,"
                " --image, --report and --preview"
            )
        if not self.files:
            text = query.words[0]
            raise UsageError(
                f"nowhere to look for {text!r}: name files that 'clipcli embed' made, or folders"
                " with -r"
            )
        if not all(text.strip() for text in (*self.texts, *query.unwanted)):
            raise UsageError("an empty text: write what to look for")
        for file in self.files:
            self._check_place(file)
        if self.formats.raw and self.formats.format != "csv":
            raise UsageError("--raw goes with CSV: add --csv")
        if self.page.report is not None:
            check_report_name(self.page.report)
            named = {"--report": self.page.report}
            check_outputs(Outputs(named, self.force.replaced("--report")))

    @property
    def _first_is_text(self) -> bool:
        """As with grep, unless an option says what is looked for."""
        return not (self.query.texts or self.query.images or self.found.duplicates)

    @property
    def texts(self) -> tuple[str, ...]:
        """What is looked for; empty where it is pictures."""
        return self.query.words[:1] if self._first_is_text else self.query.texts

    @property
    def files(self) -> tuple[str, ...]:
        """Where: files of embeddings and folders."""
        return self.query.words[1:] if self._first_is_text else self.query.words

    @property
    def stored(self) -> list[str]:
        """Those of them that are no folders."""
        return [file for file in self.files if not Path(file).is_dir()]

    def prompts(self, texts: tuple[str, ...]) -> LabelSet | None:
        """Texts and their templates; None where there are none.

        Raises:
            UsageError: a text that cannot be used.
        """
        templates = collect_templates(self.query.templates) or (VERBATIM,)
        return LabelSet(tuple(dict.fromkeys(texts)), templates) if texts else None

    def format_name(self, *, on_terminal: bool) -> str:
        """The output format: as asked for, else by the terminal."""
        return self.formats.format or ("human" if on_terminal else "tsv")

    def _check_place(self, file: str) -> None:
        if Path(file).is_dir():
            if not self.places.recursive:
                raise UsageError(f"{file} is a folder: add -r to search its pictures")
        elif not Path(file).exists():
            meant = (
                f"; the first word, {self.texts[0]!r}, is the text" if self._first_is_text else ""
            )
            raise UsageError(f"{file}: no such file or folder{meant}")
        elif Path(file).suffix.lower() not in EMBEDDINGS:
            raise UsageError(
                f"{file} is no file of embeddings: name one that 'clipcli embed' made, or the"
                " folder of the pictures with -r"
            )
