"""Pictures moved, copied or linked to a folder for each answer: `DIR/ANSWER/NAME`."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from clipcli.disk.atomic import cannot_write, writable
from clipcli.disk.copying import SourceError
from clipcli.disk.journal import Journal, open_journal
from clipcli.disk.names import folder_names, numbered, safe_name
from clipcli.disk.paths import is_within
from clipcli.disk.placing import How, Step, drop_source, is_same, put, sync_folder, taken_back
from clipcli.errors import DISK_FULL, UsageError
from clipcli.heads.labels import UNKNOWN
from clipcli.heads.results import Failure, Result
from clipcli.outputs.sidecars import own_sidecars
from clipcli.outputs.telling import Teller

FAILED = "failed"
"""The folder of what has no prediction, beside that of what is `unknown`."""

_KEPT = "what is sorted stays so, and the same command goes on with the rest"
_DONE = {How.MOVE: "moved", How.COPY: "copied", How.LINK: "linked"}
# What a disk answers to a name that it cannot have.
_NO_NAME = frozenset({errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG})


@dataclass(frozen=True)
class SortOptions:
    """Where pictures go.

    Attributes:
        how: whether they are moved, copied or linked.
        folder: with a folder for each answer.
        unknown: with a folder each for those without an answer and without a prediction; None
            where they stay where they are.
        dry_run: what would happen is told, and nothing is touched.
        at_once: files between two moments at which the disk is waited for; until then those that
            are moved are at both places.
    """

    how: How
    folder: Path
    unknown: Path | None = None
    dry_run: bool = False
    at_once: int = 64


@dataclass(frozen=True)
class Folders:
    """The folder of each answer.

    Attributes:
        answers: label -> path.
        unknown: of pictures without an answer; None where these stay.
        failed: of pictures without a prediction; None where these stay.
    """

    answers: dict[str, Path]
    unknown: Path | None
    failed: Path | None

    @classmethod
    def of(cls, options: SortOptions, labels: Sequence[str]) -> Folders:
        """The folders of some labels; of those that make the same name, later ones get a number.

        Raises:
            UsageError: something else has a folder's name.
        """
        other = options.unknown
        is_shared = other is not None and os.path.realpath(other) == os.path.realpath(
            options.folder
        )
        names = folder_names(labels, (UNKNOWN, FAILED) if is_shared else ())
        folders = cls(
            {label: options.folder / name for label, name in names.items()},
            None if other is None else other / UNKNOWN,
            None if other is None else other / FAILED,
        )
        for folder in (*folders.answers.values(), folders.unknown, folders.failed):
            if folder is not None:
                _check_folder(folder)
        return folders

    def folder(self, result: Result) -> Path | None:
        """Where a result's picture goes; None where it stays."""
        if isinstance(result, Failure):
            return self.failed
        return self.unknown if result.answer is None else self.answers[result.answer]


@dataclass
class Sorter:
    """A writer that puts each result's picture into the folder of its answer.

    No file is ever replaced: a name that is taken gets a number, and what is there already with the
    same content is not put there twice. A journal in the folder tells of each step before it is
    taken, so that a run that was killed can be repeated, and each can be undone.

    Attributes:
        options: where pictures go.
        folders: for each answer.
        teller: is told of what stays where it is.
        journal: of this run, while it goes.
    """

    options: SortOptions
    folders: Folders
    teller: Teller
    journal: Journal | None = field(default=None, init=False)
    _count: int = field(default=0, init=False)
    _no_files: int = field(default=0, init=False)
    # Files that are at both places until it is sure that they are at the new one.
    _pending: list[Step] = field(default_factory=list, init=False)
    _touched: set[str] = field(default_factory=set, init=False)
    _since_sync: int = field(default=0, init=False)
    _made: set[Path] = field(default_factory=set, init=False)
    # In a dry run, names that would be taken.
    _planned: set[str] = field(default_factory=set, init=False)
    # Something may be half done: the next run has to look at it.
    _is_cut: bool = field(default=False, init=False)
    _last_folder: tuple[str, bool] = field(default=("", False), init=False)

    def begin(self) -> None:
        """Begin the journal, and finish what runs that were killed have left half done.

        Raises:
            UsageError: the folder cannot be written to.
        """
        if self.options.dry_run:
            return
        with writable(self.options.folder, _KEPT):
            self.options.folder.mkdir(parents=True, exist_ok=True)
            self.journal = open_journal(self.options.folder.resolve(), _KEPT)

    def write(self, result: Result) -> None:
        """Put one picture into its folder, or tell why it stays.

        Raises:
            ClipcliError: the disk takes no more.
        """
        folder = self.folders.folder(result)
        if folder is None:
            return
        if result.path is None or not os.path.isfile(result.path):
            # That there is no such file has been told as a failure.
            self._no_files += not isinstance(result, Failure) or result.path is None
            return
        source = os.path.join(os.path.realpath(result.path.parent), result.path.name)
        if any(step.source == source for step in self._pending):
            return  # named twice
        if self._is_sorted(os.path.dirname(source)):
            self.teller.told(result.name, "is in a folder of this sorting already: it stays")
            return
        try:
            self._put(result.name, source, folder)
        except OSError as error:
            if error.errno in DISK_FULL and not isinstance(error, SourceError):
                self._is_cut = True
                raise cannot_write(folder / result.path.name, error, _KEPT) from error
            self._stays(result.name, error)

    def end(self) -> None:
        """Finish what is pending and the journal, and tell how the run is undone.

        Raises:
            ClipcliError: the disk takes no more.
        """
        if self.journal is not None:
            try:
                is_cut = self._is_cut
                self._sync()
                if not is_cut and not self.journal.is_empty:
                    self.journal.end("sorted")
            finally:
                self.journal.close()
        self.teller.hint("; ".join(self._summary()))

    def _summary(self) -> Iterator[str]:
        done, where = _DONE[self.options.how], self.options.folder
        pictures = f"{self._count:,} picture{'' if self._count == 1 else 's'}"
        if self.options.dry_run:
            yield f"{pictures} would be {done}; nothing was touched"
        elif self._count and self.journal is not None:
            way_back = shlex.join(["clipcli", "undo", str(where / self.journal.file.name)])
            yield f"{pictures} {done} to {where}; to undo it: {way_back}"
        else:
            yield f"no picture was {done}"
        if self._no_files:
            yield f"{self._no_files:,} that are no files (addresses, standard input) stay"

    def _put(self, name: str, source: str, folder: Path) -> None:
        if self.options.how is How.MOVE and not os.access(os.path.dirname(source), os.W_OK):
            raise PermissionError(errno.EACCES, "its folder is read-only", source)
        file = os.path.basename(source)
        try:
            self._put_as(file, name, source, folder)
        except OSError as error:
            safe = safe_name(file)
            if error.errno not in _NO_NAME or isinstance(error, SourceError) or safe == file:
                raise
            self._put_as(safe, name, source, folder)

    def _put_as(self, file: str, name: str, source: str, folder: Path) -> None:
        """Put a picture, and what belongs to it, under a name or the first free number of it."""
        own = own_sidecars(source)
        place = os.path.join(os.path.realpath(folder.parent), folder.name)
        number = 0
        while True:
            number += 1
            shown = folder / numbered(file, number)
            target = os.path.join(place, shown.name)
            pairs = [*((one, beside(target)) for one, beside in own), (source, target)]
            if self._is_taken(target):
                if is_same(source, target):
                    self.teller.told(name, f"is at {shown} already: it stays")
                    return
            elif not any(self._is_taken(path) for _, path in pairs):
                try:
                    self._take(pairs)
                except FileExistsError:  # another program's, of this moment
                    continue
                if self.options.dry_run:
                    self.teller.told(name, f"would be {_DONE[self.options.how]} to {shown}")
                self._count += 1
                return

    def _is_taken(self, path: str) -> bool:
        return path in self._planned or os.path.lexists(path)

    def _take(self, pairs: Sequence[tuple[str, str]]) -> None:
        if self.journal is None:
            self._planned.update(path for _, path in pairs)
            return
        self._is_cut = True
        self._make_folder(Path(pairs[0][1]).parent)
        steps: list[Step] = []
        try:
            for source, target in pairs:
                steps.append(self._took(source, target))
        except OSError:
            for step in steps:
                self._take_back(step)
            self._is_cut = False
            raise
        self._keep(steps)
        self._is_cut = False
        if self._since_sync >= self.options.at_once:
            self._sync()

    def _took(self, source: str, target: str) -> Step:
        assert self.journal is not None
        step = self.journal.plan(self.options.how, source, target)
        try:
            put(step)
        except OSError:
            self.journal.tell("dropped", step)
            raise
        return step

    def _keep(self, steps: Sequence[Step]) -> None:
        assert self.journal is not None
        self._since_sync += 1
        for step in steps:
            self._touched.add(os.path.dirname(step.target))
            if step.how is How.MOVE:
                self._pending.append(step)
            else:
                self.journal.tell("done", step)

    def _sync(self) -> None:
        """Wait for the disk; then what is moved leaves its old place."""
        if self.journal is None or not self._since_sync:
            return
        self._is_cut = True
        with _disk(self.options.folder):
            self.journal.sync()
            for folder in self._touched:
                sync_folder(folder)
            pending, self._pending = self._pending, []
            for step in pending:
                self._leave(step)
        self._touched.clear()
        self._since_sync = 0
        self._is_cut = False

    def _leave(self, step: Step) -> None:
        assert self.journal is not None
        try:
            drop_source(step)
        except OSError as error:
            self._take_back(step)
            self._count -= 1
            self._stays(step.source, error)
        else:
            self.journal.tell("done", step)

    def _take_back(self, step: Step) -> None:
        """Undo a step of this run's own."""
        assert self.journal is not None
        if os.path.lexists(step.source):
            os.unlink(step.target)
        else:
            taken_back(step, is_done=True)
        self.journal.tell("dropped", step)

    def _stays(self, name: str, error: OSError) -> None:
        self.teller.trouble(name, f"cannot be {_DONE[self.options.how]} ({error.strerror})")

    def _make_folder(self, folder: Path) -> None:
        assert self.journal is not None
        if folder in self._made:
            return
        missing = [one for one in (folder, *folder.parents) if not os.path.lexists(one)]
        for one in reversed(missing):
            self.journal.plan_folder(str(one))
            one.mkdir(exist_ok=True)
            self._touched.add(str(one.parent))
        _check_folder(folder)
        self._made.add(folder)

    def _is_sorted(self, folder: str) -> bool:
        """Whether a folder is in one that is sorted into: asked once for many pictures."""
        if self._last_folder[0] != folder:
            roots = filter(None, (self.options.folder, self.options.unknown))
            self._last_folder = folder, any(is_within(folder, str(root)) for root in roots)
        return self._last_folder[1]


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(folder, error, _KEPT) from error


def _check_folder(folder: Path) -> None:
    """See that a folder is one, or is not there.

    Raises:
        UsageError: it is a file, or a link, which may lead anywhere.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        what = "a link" if folder.is_symlink() else "no folder"
        raise UsageError(f"cannot sort into {folder} ({what}): move it away")
