"""Which pictures there are, what they show and which are held out; `pictures.tsv` says where.

A row of the table is a set, a pattern of files in the data folder, how many of them to take at
most, their part, and all names that are true of each, the plainest first. The part is `train`,
`test` or `fifth`: then the fifth of the files whose SHA-256 begins lowest is held out. Which files
are taken is decided by their SHA-256 as well, so that neither names nor order matter.
"""

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("pictures.tsv")
FIFTH = 0x33
"""A file of part `fifth` is held out if its SHA-256's first byte is below this: 51 of 256."""


@dataclass(frozen=True)
class Row:
    """A row of the table: files of one set that show the same."""

    set: str
    pattern: str
    most: int
    part: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """A picture file and what is known of it."""

    file: Path
    sha256: str
    held_out: bool
    row: Row


def table(file: Path = TABLE) -> list[Row]:
    """Rows of the table."""
    with file.open(newline="", encoding="utf-8") as lines:
        rows = csv.DictReader(lines, delimiter="\t")
        return [
            Row(
                row["set"],
                row["pattern"],
                int(row["most"]),
                row["part"],
                tuple(row["names"].split("; ")),
            )
            for row in rows
        ]


def pictures(data: Path, rows: list[Row]) -> list[Picture]:
    """Pictures of all rows, each file once: a file that an earlier row has is not taken again."""
    found: dict[str, Picture] = {}
    for row in rows:
        for picture in of_row(data, row):
            found.setdefault(picture.sha256, picture)
    return list(found.values())


def of_row(data: Path, row: Row) -> Iterator[Picture]:
    """Pictures of a row: `most` to train on at most, and as many to measure with."""
    files = {sha256(file): file for file in sorted(data.glob(row.pattern)) if file.is_file()}
    taken = {True: 0, False: 0}
    for sha, file in sorted(files.items()):
        held_out = is_held_out(sha, row.part)
        if taken[held_out] < row.most:
            taken[held_out] += 1
            yield Picture(file, sha, held_out, row)


def is_held_out(sha: str, part: str) -> bool:
    """Whether a file is measured with, not trained on."""
    return part == "test" or (part == "fifth" and int(sha[:2], 16) < FIFTH)


@cache
def sha256(file: Path) -> str:
    """SHA-256 of the file, in hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
