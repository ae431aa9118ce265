"""What a search found, to text: a function for each format."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from clipcli.heads.results import input_fields
from clipcli.outputs.writers import csv_rows, csv_text, tsv_cell
from clipcli.printable import printable

if TYPE_CHECKING:
    from clipcli.embeddings.search import Hit
    from clipcli.outputs.terminal.previews import Previews

_CSV_HEADER = ("index", "input", "similarity", "file")


@dataclass(frozen=True)
class HitOptions:
    """How hits are shown.

    Attributes:
        model: name and fingerprint, for programs.
        counts: what a hit's rank counts: `rank`, or `group` of near-equal pictures.
        color: people see bold names.
        raw: CSV holds names as they are.
        previews: pictures beside the hits.
    """

    model: dict[str, str]
    counts: str = "rank"
    color: bool = False
    raw: bool = False
    previews: Previews | None = None


def write_human(hits: Sequence[Hit], stream: TextIO, options: HitOptions) -> None:
    """A line for each hit, the best first; groups with a line between them."""
    before = 1
    for place, hit in enumerate(hits):
        if hit.rank != before and options.counts == "group":
            stream.write("\n")
        before = hit.rank
        name = printable(hit.name)
        bold = f"\x1b[1m{name}\x1b[0m" if options.color else name
        line = f"{hit.rank:>3}  {hit.similarity:7.4f}  {bold}"
        previews = options.previews
        stream.write(previews.beside(place, [line]) if previews else line + "\n")


def write_tsv(hits: Sequence[Hit], stream: TextIO, options: HitOptions) -> None:
    """A line for each hit: its picture and its cosine; of groups, the group's number first."""
    for hit in hits:
        group = [str(hit.rank)] if options.counts == "group" else []
        cells = [*group, tsv_cell(hit.name), f"{hit.similarity:.6f}"]
        stream.write("\t".join(cells) + "\n")


def write_csv(hits: Sequence[Hit], stream: TextIO, options: HitOptions) -> None:
    """A header, then a row for each hit."""
    rows = csv_rows(stream)
    rows.writerow([options.counts, *_CSV_HEADER])
    for hit in hits:
        name, file = (csv_text(text, raw=options.raw) for text in (hit.name, hit.file))
        rows.writerow([hit.rank, hit.index, name, hit.similarity, file])


def write_json(hits: Sequence[Hit], stream: TextIO, options: HitOptions) -> None:
    """One array of records."""
    records = ",\n".join(_records(hits, options))
    stream.write(f"[\n{records}\n]\n" if hits else "[\n]\n")


def write_jsonl(hits: Sequence[Hit], stream: TextIO, options: HitOptions) -> None:
    """A record a line."""
    stream.writelines(record + "\n" for record in _records(hits, options))


HIT_FORMATS: dict[str, Callable[[Sequence[Hit], TextIO, HitOptions], None]] = {
    "human": write_human,
    "tsv": write_tsv,
    "csv": write_csv,
    "json": write_json,
    "jsonl": write_jsonl,
}
"""A new format is a function and a line here."""


def _records(hits: Sequence[Hit], options: HitOptions) -> Iterable[str]:
    for hit in hits:
        fields: dict[str, Any] = {
            options.counts: hit.rank,
            "index": hit.index,
            **input_fields(hit.name),
            "similarity": hit.similarity,
            "file": printable(hit.file),
            "model": options.model,
        }
        yield json.dumps(fields, allow_nan=False)
