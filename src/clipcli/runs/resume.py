"""Runs into a file: begun, gone on with after a kill, tried again where images failed."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from clipcli.disk.atomic import open_own, writable
from clipcli.disk.lock import Lock
from clipcli.disk.outputs import text_stream
from clipcli.errors import ClipcliWarning, UsageError
from clipcli.images.sources import ImageRef
from clipcli.runs.checksums import Checksums, Sum, SummedFile, whole
from clipcli.runs.files import FileOutput, RetryOutput, RunFiles
from clipcli.runs.output import RunOutput
from clipcli.runs.records import EarlierResults
from clipcli.runs.settings import (
    AS_READY,
    CHECKSUMS,
    PROVENANCE,
    RESUMED,
    SIZES,
    Settings,
    differences,
    moved_digits,
    read_settings,
)
from clipcli.runs.tally import Tally

_COPIED_AT_ONCE = 1 << 20


class Mode(StrEnum):
    """What becomes of an earlier run's results; the values are the options' names."""

    # They are replaced when this run is at its end.
    NEW = "new"
    # They are kept, and the run goes on behind them.
    RESUME = "--resume"
    # The same, and those that failed are tried again.
    RETRY = "--retry-failed"


@dataclass(frozen=True)
class RunOptions:
    """Where a run's results go, and what they are made with.

    Attributes:
        file: of the results; formats other than JSON Lines can only be begun anew.
        settings: what must be equal for a run to be continued, by names that people understand,
            `format` among them; what is under `provenance` may differ.
        batch_size: images in a block, as the pipeline has it.
        mode: what becomes of an earlier run's results.
        expected: the answers that are as they should be; empty where any will do.
    """

    file: Path
    settings: Settings
    batch_size: int
    mode: Mode = Mode.NEW
    expected: tuple[str, ...] = ()

    @property
    def files(self) -> RunFiles:
        """The file and those beside it."""
        return RunFiles(self.file)

    @property
    def can_go_on(self) -> bool:
        """Whether a later run can go on with the results."""
        return self.settings.get("format") == "jsonl" and self.settings.get("order") != AS_READY

    @property
    def kept(self) -> str:
        """What becomes of the results where the disk is full, for its message."""
        if self.mode is Mode.RETRY:
            return "no result is lost, and the same command tries again"
        if self.can_go_on:
            return "what is done is kept, and the same command with --resume goes on"
        return f"what is done is in {self.files.part}"


Output = TypeVar("Output", bound=FileOutput)


def open_run(refs: Iterator[ImageRef], options: RunOptions) -> RunOutput:
    """Begin a run into a file, or go on with an earlier one.

    Args:
        refs: the input from its start; what an earlier run did is passed over.
        options: where the results go, and what becomes of earlier ones.

    Raises:
        UsageError: the file cannot be written, another process is writing it, or an earlier run's
            results are in the way or do not belong to this input and these settings. Where failed
            images are tried again, the run's `refs` raise it when they come to such a result.
    """
    _check_place(options.file)
    lock = Lock(options.files.part)
    try:
        if options.mode is Mode.NEW or not (_size(options.files.part) or options.file.exists()):
            return _new(refs, options, lock)
        return (_retried if options.mode is Mode.RETRY else _resumed)(refs, options, lock)
    except BaseException:
        lock.close()
        raise


def _check_place(file: Path) -> None:
    with writable(file):
        if not file.parent.is_dir():
            raise UsageError(f"cannot write {file} (there is no folder {file.parent})")
        if file.exists() and not file.is_file():
            what = "a folder" if file.is_dir() else "no regular file"
            raise UsageError(f"cannot write {file} ({what}): name a file")


def _new(refs: Iterator[ImageRef], options: RunOptions, lock: Lock) -> RunOutput:
    if _size(options.files.part):
        raise UsageError(_in_the_way(options))
    # Of results that somebody has removed.
    Checksums(options.files.sums).forget()
    run = _opened(FileOutput, options, lock, dict(options.settings), Sum())
    run.refs = refs
    return run


def _in_the_way(options: RunOptions) -> str:
    part = options.files.part
    if not options.can_go_on:
        return f"{part} is left of an interrupted run: delete it to start over"
    with part.open("rb") as stream:
        count = sum(line.endswith(b"\n") for line in stream)
    return (
        f"{part} holds {count:,} results of an interrupted run: add --resume to go on, or delete"
        " it to start over"
    )


def _resumed(refs: Iterator[ImageRef], options: RunOptions, lock: Lock) -> RunOutput:
    """Go through what is there, cut off what does not stand, and go on."""
    earlier, settings = _earlier(options)
    tally, size = Tally(options.expected), 0
    rest: Iterator[ImageRef] | None = None
    walk = earlier.walk(refs, options.batch_size)
    for line, ref in walk:
        if line is None:
            rest = chain([ref], (later for _, later in walk))
            break
        tally.add_record(line.record)
        size += len(line.text)
    is_in_place = rest is None and earlier.file == options.file
    kept = Sum() if is_in_place else _kept(earlier.file, options, size)
    run = _opened(FileOutput, options, lock, settings, kept)
    run.written = None if is_in_place else options.files.part
    run.refs, run.tally, run.kept = rest or iter(()), tally, tally.total
    return run


def _kept(source: Path, options: RunOptions, size: int) -> Sum:
    """Make the first bytes of a file all that FILE.part, which it may be itself, holds."""
    part, sums = options.files.part, Checksums(options.files.sums)
    with writable(part):
        if source == part:
            os.truncate(part, size)
        else:
            sums.forget()
            _copy(source, part, size)
    with writable(sums.file):
        return sums.renew(part, options.batch_size)


def _copy(source: Path, part: Path, size: int) -> None:
    with source.open("rb") as old, open_own(part, "wb") as new:
        while size > 0 and (data := old.read(min(size, _COPIED_AT_ONCE))):
            new.write(data)
            size -= len(data)


def _retried(refs: Iterator[ImageRef], options: RunOptions, lock: Lock) -> RunOutput:
    """Write all anew: what stands as it is, what failed as it comes out now."""
    earlier, settings = _earlier(options)
    with writable(options.files.retry):
        # An earlier try that was killed may have left some.
        open_own(options.files.retry, "wb").close()
    run = _opened(RetryOutput, options, lock, settings, Sum())
    run.refs = run.again(earlier.walk(refs, options.batch_size))
    return run


def _earlier(options: RunOptions) -> tuple[EarlierResults, dict[str, Any]]:
    """An earlier run's results and what they were made with, if they can be continued."""
    files = options.files
    settings, problem = _recorded(files.settings)
    part, size = _size(files.part), _size(files.file)
    is_whole = _is_as_left(files.file, settings)
    # A FILE.part that is shorter is FILE's copy, cut short by a kill before the run went on.
    from_part = part > 0 and not (is_whole and part < size)
    source = files.part if from_part else files.file
    if problem is None and (differ := differences(settings, options.settings)):
        problem = f"was made with other settings ({'; '.join(differ)}): give the same"
    elif problem is None and not (from_part or is_whole):
        problem = f"is not as the run in {files.settings} left it: put that back"
    way_out = f"delete {source} to start over" if from_part else f"leave {options.mode} out"
    if problem is not None:
        raise UsageError(f"{source} {problem}, or {way_out}")
    try:
        verified = Checksums(files.sums).verified(source) if from_part else None
    except UsageError as error:
        raise UsageError(f"{error}, or {way_out}") from error
    _note_going_on(source, settings, options.settings)
    return EarlierResults(source, way_out, verified), settings


def _is_as_left(file: Path, settings: Settings) -> bool:
    """Whether a file of results is one that a run was at its end with."""
    sizes, sums = settings.get(SIZES, []), settings.get(CHECKSUMS, [])
    # A new run forgets the sizes: what it has not finished yet it does not speak for.
    if not file.exists() or (size := _size(file)) not in sizes:
        return False
    # Settings without checksums are those of a copy, or another program's.
    return not sums or (size, f"{whole(file).crc:08x}") in zip(sizes, sums, strict=False)


def _note_going_on(source: Path, settings: dict[str, Any], now: Settings) -> None:
    """Keep the new run's provenance beside the earlier one's, and warn where it tells in digits."""
    if moved := moved_digits(settings, now):
        warnings.warn(
            f"{source} was begun with another {'; '.join(moved)}: the last digits of its numbers"
            " may differ from those to come",
            ClipcliWarning,
            stacklevel=5,
        )
    if PROVENANCE in now:
        settings[RESUMED] = [*settings.get(RESUMED, []), now[PROVENANCE]]


def _recorded(file: Path) -> tuple[dict[str, Any], str | None]:
    """Settings, or why there are none."""
    try:
        return read_settings(file), None
    except OSError as error:
        return {}, f"cannot be continued without {file} ({error.strerror}): put it back"
    except ValueError:
        return {}, f"cannot be continued: {file} does not say what made it; put back what did"


def _opened(
    kind: type[Output], options: RunOptions, lock: Lock, settings: dict[str, Any], before: Sum
) -> Output:
    """A run that appends to a file, so far without images."""
    written = options.files.retry if kind is RetryOutput else options.files.part
    with writable(written):
        file = SummedFile(written, before, options.kept)
    # What is tried again is written to the end, or anew.
    has_sums = options.can_go_on and kind is not RetryOutput
    return kind(
        stream=text_stream(io.BufferedWriter(file)),
        refs=iter(()),
        tally=Tally(options.expected),
        files=options.files,
        lock=lock,
        settings=settings,
        block=options.batch_size,
        summed=file,
        written=written,
        sums=Checksums(options.files.sums) if has_sums else None,
    )


def _size(file: Path) -> int:
    """The size of a file in bytes; 0 where there is none."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
