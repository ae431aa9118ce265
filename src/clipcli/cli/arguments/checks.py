"""Checks of what the user named, before anything is loaded or begun."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli.disk.atomic import writable
from clipcli.disk.outputs import behind_links, check_stream, is_stream
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.cli.options.shared import LabelFlags


def check_report_name(file: str) -> None:
    """See that a report replaces no image: `--report *.jpg` would name the first one.

    Raises:
        UsageError: the name is not that of a page.
    """
    if is_stream(Path(file)):
        return
    if Path(file).suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--report {file} is no name of a page: give one that ends in .html")


@dataclass(frozen=True)
class Outputs:
    """The files that a command line names to be written.

    Attributes:
        named: option -> the file that it names, or None.
        replaced: options whose file may be there already.
        ways_on: option -> what else than replacing its file may be meant, for the message.
        beside: files that the run makes beside these.
    """

    named: Mapping[str, str | None]
    replaced: Container[str]
    ways_on: Mapping[str, str] = field(default_factory=dict)
    beside: Sequence[str] = ()

    @property
    def files(self) -> dict[str, str]:
        """Those that are named and are files, or will be: several may well be /dev/null."""
        named = {option: file for option, file in self.named.items() if file is not None}
        return {option: file for option, file in named.items() if not is_stream(Path(file))}


def check_outputs(outputs: Outputs) -> None:
    """See that files can be written: after a run, a slip of the pen would cost hours.

    Raises:
        UsageError: one is there, its folder is not or cannot be written to, or two are the same.
    """
    files = outputs.files
    for (option, file), (other, same) in combinations(files.items(), 2):
        if is_same_file(file, same):
            raise UsageError(
                f"{option} and {other} name the same file: name another for one of them"
            )
    for option, file in files.items():
        if any(is_same_file(file, beside) for beside in outputs.beside):
            raise UsageError(f"{option} {file} is a file of the run's own: name another")
    for option, named in outputs.named.items():
        if named is not None:
            check_output(
                f"{option} {named}",
                Path(named),
                may_be_there=option in outputs.replaced,
                ways_on=outputs.ways_on.get(option, ""),
            )


def check_output(what: str, file: Path, *, may_be_there: bool, ways_on: str = "") -> None:
    """See that a file can be written, and that it replaces none that nobody asked it to.

    Args:
        what: the file and its option, for the message.
        file: as the user names it.
        may_be_there: what it has held may be lost.
        ways_on: what else than replacing it may be meant, for the message.

    Raises:
        UsageError: it is there, or its folder is not or cannot be written to.
    """
    with writable(what):
        if is_stream(file):
            check_stream(file)
            return
        target = behind_links(file)
        if target.is_symlink():
            raise UsageError(f"cannot write {what} (a link that leads nowhere)")
        if target.is_dir():
            raise UsageError(f"cannot write {what} (a folder): name a file")
        if target.exists() and not may_be_there:
            raise UsageError(f"{what} exists already: {ways_on}--force replaces it")
    _check_folder(target.parent, what)


def check_writable_folder(option: str, folder: str) -> None:
    """See that a folder can be written to, or can be made where it is not there.

    Raises:
        UsageError: what there is of it cannot be written to.
    """
    there = next(filter(os.path.exists, (Path(folder), *Path(folder).parents)))
    _check_folder(there, f"{option} {folder}")


def check_pictures(option: str, folder: Path, names: Iterable[str], *, force: bool) -> None:
    """See that a folder holds no pictures yet that new ones would replace.

    Raises:
        UsageError: it does.
    """
    there = [] if force else [name for name in names if os.path.lexists(folder / name)]
    if there:
        raise UsageError(f"{option} {folder} holds {there[0]} already: --force replaces it")


def is_same_file(file: str, other: str) -> bool:
    """Whether two names are one file's, which need not be there."""
    return os.path.realpath(file) == os.path.realpath(other)


def labels_of_data(flags: LabelFlags, classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The labels to choose from, with their texts, for pictures whose labels are known.

    Args:
        flags: that may name labels.
        classes: of the data; they are the labels where the command line has none.

    Raises:
        UsageError: a class of the data is none of the labels.
    """
    labels = flags.collected() or {name: (name,) for name in classes}
    check_classes(classes, labels, "add it with -l, or leave out -l and --labels")
    return labels


def check_classes(classes: Sequence[str], labels: Container[str], way_out: str) -> None:
    """See that each class of some data is a label.

    Raises:
        UsageError: one is not.
    """
    missing = [name for name in classes if name not in labels]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UsageError(f"the data's class {missing[0]!r}{more} is none of the labels: {way_out}")


def _check_folder(folder: Path, what: str) -> None:
    if not folder.is_dir():
        raise UsageError(f"cannot write {what} (there is no folder {folder})")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"cannot write {what} ({folder} is read-only)")
