"""Pictures with their labels: a folder of class folders, or a CSV or TSV file."""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from clipcli.disk.hashes import hash_file
from clipcli.disk.text import decode_text
from clipcli.errors import ClipcliWarning, FailureCode, InputError, UsageError
from clipcli.images.formats import has_image_ending
from clipcli.images.sources import (
    ImageRef,
    SourceOptions,
    Url,
    expand,
    is_url,
    public_name,
)

if TYPE_CHECKING:
    from _csv import Reader as CsvReader

# Headings of the two columns, as data sets have them; in any case.
_PATH_HEADINGS = frozenset(
    {"path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path"}
    | {"input", "url", "name"}
)
_LABEL_HEADINGS = frozenset({"label", "class", "class_name", "category"})


@dataclass(frozen=True)
class Dataset:
    """Images, not yet read, and what each of them shows.

    Attributes:
        refs: n images.
        labels: the true label of each.
    """

    refs: tuple[ImageRef, ...]
    labels: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that some image has, sorted."""
        return tuple(sorted(set(self.labels)))

    def subset(self, places: Sequence[int]) -> Dataset:
        """Some of the images, by their places."""
        refs = tuple(self.refs[place] for place in places)
        return Dataset(refs, tuple(self.labels[place] for place in places))


def read_dataset(data: str, *, several: bool = False) -> Dataset:
    """Read which images there are, and their labels.

    In a folder, each folder is a class: the images in it and in folders below, hidden files left
    out. The class's label is the folder's name with spaces for underscores. Folders without
    images, and images beside the class folders, are warned of and left out.

    A file has a row for each image: its path (from the file's own folder) or URL, and its label,
    used as it is. A first row of headings may say which columns these are (`path`, `file`, ...;
    `label`, `class`, ...); without one they are the first two. `.tsv` files and those with a tab
    in their first line have tabs between columns, others commas.

    Args:
        data: a folder's or a file's name.
        several: an image may come on several rows of a file, each with another label.

    Raises:
        UsageError: it cannot be read or has no labelled images, or a row of it is at fault.
    """
    found = _in_folder(data) if os.path.isdir(data) else _in_file(data, several=several)
    numbered = [(replace(ref, index=index), label) for index, (ref, label) in enumerate(found)]
    if not numbered:
        raise UsageError(f"{data}: no images with labels: {_WANTED}")
    refs, labels = zip(*numbered, strict=True)
    return Dataset(refs, labels)


def file_sha256(ref: ImageRef) -> str | None:
    """The sha256 of an image's file, in hexadecimal; None where there is none that can be read."""
    if isinstance(ref.source, Path) and ref.source.is_file():
        with suppress(OSError):
            return hash_file(ref.source)
    return None


_WANTED = "name a folder of class folders, or a CSV or TSV file of paths and labels"


def _in_folder(folder: str) -> Iterator[tuple[ImageRef, str]]:
    try:
        # Bytewise, as everywhere: the order must not depend on the machine's language.
        names = sorted(os.listdir(folder), key=os.fsencode)
    except OSError as error:
        raise UsageError(f"cannot read {folder} ({error.strerror})") from error
    visible = [name for name in names if not name.startswith(".")]
    # A class folder may be a link, as subsets of data sets are made.
    classes = [name for name in visible if os.path.isdir(os.path.join(folder, name))]
    empty = []
    for name in classes:
        refs = _class_images(os.path.join(folder, name))
        if not refs:
            empty.append(name)
        for ref in refs:
            yield ref, name.replace("_", " ")
    if empty:
        _warn(f"{folder}: class folders without images, left out: {', '.join(empty)}")
    loose = sum(has_image_ending(name) for name in set(visible) - set(classes))
    if loose and len(classes) > len(empty):
        _warn(f"{folder}: images outside of class folders, left out: {loose}")


def _class_images(folder: str) -> list[ImageRef]:
    refs = expand([folder], None, BytesIO(), SourceOptions(recursive=True))
    return [ref for ref in refs if not _is_nothing(ref)]


def _is_nothing(ref: ImageRef) -> bool:
    return isinstance(ref.source, InputError) and ref.source.code is FailureCode.NO_MATCH


def _in_file(file: str, *, several: bool) -> Iterator[tuple[ImageRef, str]]:
    try:
        text = decode_text(Path(file).read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {file} ({error.strerror}): {_WANTED}") from error
    except ValueError as error:
        raise UsageError(f"{file}: {error}: {_WANTED}") from error
    yield from _rows(file, StringIO(text, newline=""), several=several)


def _rows(file: str, stream: TextIO, *, several: bool) -> Iterator[tuple[ImageRef, str]]:
    has_tabs = file.lower().endswith(".tsv") or "\t" in stream.readline()
    stream.seek(0)
    rows = csv.reader(stream, delimiter="\t" if has_tabs else ",", strict=True)
    folder = os.path.dirname(file)
    columns: tuple[int, int] | None = None
    seen: dict[str, tuple[str, int]] = {}
    for row in _parsed(rows, file):
        place = f"{file}: line {rows.line_num}"
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if columns is None:
            columns = _headed_columns(cells)
            if columns is not None:
                continue
            _check_first_row(cells, folder, place)
            columns = 0, 1
        path, label = _labelled(cells, columns, place)
        # Twice with one label is harmless; with two, one of them is a mistake, and counts as one of
        # the model's.
        earlier, line = seen.setdefault(path, (label, rows.line_num))
        if earlier != label and not several:
            raise UsageError(f"{place}: {path} is {label!r} here and {earlier!r} on line {line}")
        yield _ref(path, folder), label


def _parsed(rows: CsvReader, file: str) -> Iterator[list[str]]:
    try:
        yield from rows
    except csv.Error as error:
        way_out = "quote whole cells, and double the quotes in them"
        raise UsageError(f"{file}: line {rows.line_num}: {error}: {way_out}") from error


def _headed_columns(cells: Sequence[str]) -> tuple[int, int] | None:
    """Which columns are the path and the label, where the first row says so."""
    lowered = [cell.lower() for cell in cells]
    paths = [place for place, cell in enumerate(lowered) if cell in _PATH_HEADINGS]
    labels = [place for place, cell in enumerate(lowered) if cell in _LABEL_HEADINGS]
    return (paths[0], labels[0]) if paths and labels else None


def _check_first_row(cells: Sequence[str], folder: str, place: str) -> None:
    """See that a first row without known headings is an image's: others would be a class each."""
    path = cells[0]
    is_named = (
        is_url(path) or os.path.splitext(path)[1] or os.path.exists(os.path.join(folder, path))
    )
    if not is_named:
        raise UsageError(f"{place}: {path!r} names no image: head the columns with path and label")


def _labelled(cells: Sequence[str], columns: tuple[int, int], place: str) -> tuple[str, str]:
    path, label = (cells[column] if column < len(cells) else "" for column in columns)
    if not path:
        raise UsageError(f"{place}: no path for the label {label!r}")
    if not label:
        raise UsageError(f"{place}: no label for {path}: write it in column {columns[1] + 1}")
    return path, label


def _ref(path: str, folder: str) -> ImageRef:
    if is_url(path):
        return ImageRef(0, public_name(path), Url(path))
    # From the file's own folder, so that a data set can be moved and evaluated from anywhere.
    joined = os.path.join(folder, path)
    if os.path.isdir(joined):
        return ImageRef(
            0, joined, InputError(FailureCode.IS_A_FOLDER, "a folder: name an image in it")
        )
    return ImageRef(0, joined, Path(joined))


def _warn(text: str) -> None:
    warnings.warn(text, ClipcliWarning, stacklevel=2)
