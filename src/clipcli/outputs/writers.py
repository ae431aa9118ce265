"""Results to text: one writer a format."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from clipcli.heads.labels import UNKNOWN
from clipcli.heads.results import Failure, Prediction, Result
from clipcli.printable import escaped, printable, shortened, width

if TYPE_CHECKING:
    from clipcli.outputs.terminal.previews import Previews

DEFAULT_TOP_K = 5
# Fits 80 columns beside a label of the usual length.
_BAR_WIDTH = 24
_EIGHTHS = " ▏▎▍▌▋▊▉"
_LONGEST_LABEL = 48

# What CSV quotes, and what makes a formula of a cell in a spreadsheet.
_QUOTED = "\t\n\r"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_CSV_HEADER = (
    *("index", "input", "status", "answer", "rank", "label", "probability", "similarity"),
    *("error_code", "error_message"),
)


@dataclass(frozen=True)
class OutputOptions:
    """What the writers need to know of a run beside its results.

    Attributes:
        labels: in the user's order.
        model_name: canonical.
        model_fingerprint: of its weights, configuration and precision.
        embed_dim: width of the embeddings.
        top_k: labels to show; None where the user named no number.
        verbose: all labels are shown; human output adds shapes and raw probabilities.
        color: human output may use terminal colours.
        raw: CSV holds names and labels as they are, for programs alone.
        previews: the pictures that human output shows beside its results.
    """

    labels: tuple[str, ...]
    model_name: str
    model_fingerprint: str
    embed_dim: int
    top_k: int | None = None
    verbose: bool = False
    color: bool = False
    raw: bool = False
    previews: Previews | None = None

    @property
    def shown(self) -> int | None:
        """Labels to show where there is room for several; None for all."""
        return self.top_k or (None if self.verbose else DEFAULT_TOP_K)


class Writer(Protocol):
    """Writes the results of a run, one by one, to a stream."""

    def begin(self) -> None:
        """Write what comes before the first result."""
        ...

    def write(self, result: Result) -> None:
        """Write one result."""
        ...

    def end(self) -> None:
        """Write what comes after the last result."""
        ...


@dataclass
class _Writer:
    stream: TextIO
    options: OutputOptions

    def begin(self) -> None:
        """Write nothing, as most formats do."""

    def end(self) -> None:
        """Write nothing, as most formats do."""


@dataclass
class HumanWriter(_Writer):
    """A writer for people: the input, a bar and a probability per label, and the best match."""

    _first: bool = field(default=True, init=False)

    def write(self, result: Result) -> None:
        """Write one image's block; failures are told on standard error."""
        # Told on standard error, where people look for it.
        if isinstance(result, Failure):
            return
        name = self._bold(printable(result.name))
        head = ("" if self._first else "\n") + name + _marks(result) + "\n"
        self._first = False
        lines = []
        shown = result.scores[: self.options.shown]
        labels = [shortened(printable(score.label), _LONGEST_LABEL) for score in shown]
        widest = max(map(width, labels))
        for label, score in zip(labels, shown, strict=True):
            padded = label + " " * (widest - width(label))
            figures = f"{score.probability:7.4f}  cosine {score.similarity:5.2f}"
            lines.append(f"  {padded}  {self._bar(score.probability)} {figures}")
        lines.append(self._answer(result))
        if result.doubt:
            lines.append(
                f"No label fits well: a cosine of {result.best.similarity:.2f} is what this model"
                " gives to strange words, too"
            )
        if self.options.verbose:
            lines += self._details(result)
        # One write for each image: nothing that goes to standard error can come in between.
        previews = self.options.previews
        text = previews.beside(result.index, lines) if previews else "\n".join(lines) + "\n"
        self.stream.write(head + text)
        self.stream.flush()

    def _answer(self, result: Prediction) -> str:
        if result.answers:
            fitting = ", ".join(f"'{printable(label)}'" for label in result.answers)
            return self._bold(f"Fitting: {fitting}")
        label, probability = printable(result.best.label), result.best.probability
        if result.novel:
            text = f"Best match: {UNKNOWN} (like none of the pictures that the adapter knows)"
        elif result.answer is None:
            figures = f"probability {probability:.4f}, cosine {result.best.similarity:.2f}"
            text = f"Best match: {UNKNOWN} ('{label}' has only {figures})"
        else:
            text = f"Best match: '{label}' with probability {probability:.4f}"
        return self._bold(text)

    def _details(self, result: Prediction) -> list[str]:
        by_label = {score.label: score.probability for score in result.scores}
        numbers = " ".join(f"{by_label[label]:.4g}" for label in self.options.labels)
        return [
            f"Image features shape: (1, {self.options.embed_dim})",
            f"Text features shape: ({len(self.options.labels)}, {self.options.embed_dim})",
            f"Similarity probabilities: [[{numbers}]]",
        ]

    def _bar(self, share: float) -> str:
        eighths = round(share * _BAR_WIDTH * 8)
        bar = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
        text = bar.ljust(_BAR_WIDTH)
        return f"\x1b[36m{text}\x1b[0m" if self.options.color else text

    def _bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self.options.color else text


def _marks(result: Prediction) -> str:
    """What people are told of how an image was seen, behind its name."""
    cut = " (cut short)" if result.truncated else ""
    return cut if result.seen is None else f"{cut} ({100 * result.seen:.2g} % of it looked at)"


@dataclass
class TsvWriter(_Writer):
    """A writer for shell scripts: input, answer, probability; failures go to standard error."""

    def write(self, result: Result) -> None:
        """Write one line; with a number of labels asked for, a pair of cells for each."""
        if isinstance(result, Failure):
            return
        cells = [result.name]
        usual = len(result.answers or ()) or 1
        for rank, score in enumerate(result.scores[: self.options.top_k or usual]):
            # The rest of the pairs are what they are: only the answer is unknown.
            label = UNKNOWN if rank == 0 and result.answer is None else score.label
            cells += [label, f"{score.probability:.6f}"]
        self.stream.write("\t".join(map(tsv_cell, cells)) + "\n")
        self.stream.flush()


def tsv_cell(text: str) -> str:
    """Text that stays on its line and in its cell, and that can be had back."""
    return escaped(text.replace("\\", "\\\\"))


@dataclass
class CsvWriter(_Writer):
    """A writer for spreadsheets: a header, then a row for each prediction and each failure."""

    def begin(self) -> None:
        """Write the header."""
        csv_rows(self.stream).writerow(_CSV_HEADER)

    def write(self, result: Result) -> None:
        """Write the rows of one image."""
        rows, text = csv_rows(self.stream), self._text
        name = text(result.name)
        if isinstance(result, Failure):
            blank = [""] * 5
            problem = result.code.value, text(result.message)
            rows.writerow([result.index, name, "error", *blank, *problem])
        else:
            several = result.answers or [UNKNOWN if result.answer is None else result.answer]
            answer = text("; ".join(several))
            for rank, score in enumerate(result.scores[: self.options.shown], 1):
                numbers = text(score.label), score.probability, score.similarity
                rows.writerow([result.index, name, "ok", answer, rank, *numbers, "", ""])
        self.stream.flush()

    def _text(self, cell: str) -> str:
        return csv_text(cell, raw=self.options.raw)


def csv_text(cell: str, *, raw: bool) -> str:
    """A cell of text that neither a terminal obeys nor a spreadsheet computes; raw: as it is."""
    if raw:
        return cell
    cell = escaped(cell, keep=_QUOTED)
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell


def csv_rows(stream: TextIO) -> Any:  # noqa: ANN401  csv's writer has no public type
    """What writes rows of CSV to a stream."""
    # The line end of RFC 4180; with another, older Pythons leave a CR in a name unquoted.
    return csv.writer(stream, lineterminator="\r\n")


@dataclass
class JsonlWriter(_Writer):
    """A writer for programs: one JSON record a line, as it is ready."""

    def write(self, result: Result) -> None:
        """Write one record."""
        self.stream.write(json.dumps(record(result, self.options), allow_nan=False) + "\n")
        self.stream.flush()


@dataclass
class JsonWriter(_Writer):
    """A writer for programs: one JSON array of all records."""

    # Written before each record: the last one must have no comma behind it.
    _separator: str = field(default="\n", init=False)

    def begin(self) -> None:
        """Open the array."""
        self.stream.write("[")

    def write(self, result: Result) -> None:
        """Write one record."""
        text = json.dumps(record(result, self.options), allow_nan=False)
        self.stream.write(self._separator + text)
        self._separator = ",\n"

    def end(self) -> None:
        """Close the array."""
        self.stream.write("\n]\n")
        self.stream.flush()


FORMATS: dict[str, Callable[[TextIO, OutputOptions], Writer]] = {
    "human": HumanWriter,
    "tsv": TsvWriter,
    "csv": CsvWriter,
    "json": JsonWriter,
    "jsonl": JsonlWriter,
}
"""A new format is a writer and a line here."""


def record(result: Result, options: OutputOptions) -> dict[str, Any]:
    """A result as the JSON formats hold it. Fields are only ever added."""
    if isinstance(result, Failure):
        return {**result.to_dict(), "model": model_fields(options)}
    fields = result.to_dict(options.shown)
    # Fields are in the order in which they have always been.
    marks = [name for name in ("doubt", "truncated", "novel", "seen") if name in fields]
    told: dict[str, Any] = {name: fields.pop(name) for name in marks}
    return {**fields, "model": model_fields(options), **told}


def model_fields(options: OutputOptions) -> dict[str, str]:
    """The model, as a record names it."""
    return {"name": options.model_name, "fingerprint": options.model_fingerprint}
