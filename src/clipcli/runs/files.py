"""Where a run's results go: a stream, or a file that is in place when the run is at its end.

::

    FILE.part       the results so far; renamed to FILE when the run is at its end
    FILE.part.sums  checksums of its finished blocks, while it can be gone on with
    FILE.run.json   what the run is made with; stays beside FILE
    FILE.retry      the results while failed ones are tried again; renamed to FILE, too

A run holds FILE.part against other processes. An empty FILE.part is as good as none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from clipcli.disk.atomic import gone, writable, write_text
from clipcli.disk.lock import Lock
from clipcli.errors import FailureCode, InputError
from clipcli.heads.results import Result
from clipcli.images.sources import ImageRef
from clipcli.runs.checksums import Checksums, Sum, SummedFile
from clipcli.runs.output import RunOutput
from clipcli.runs.records import Line
from clipcli.runs.settings import CHECKSUMS, SIZES

_HAS_RESULT = InputError(FailureCode.UNREADABLE, "has its result from an earlier run")


@dataclass(frozen=True)
class RunFiles:
    """A file of results and those beside it."""

    file: Path

    @property
    def part(self) -> Path:
        """The results of a run that is not at its end."""
        return self._beside(".part")

    @property
    def retry(self) -> Path:
        """The results of a run that tries failed images again."""
        return self._beside(".retry")

    @property
    def sums(self) -> Path:
        """Checksums of what is in `part`."""
        return self._beside(".part.sums")

    @property
    def settings(self) -> Path:
        """What the results are made with."""
        return self._beside(".run.json")

    def _beside(self, ending: str) -> Path:
        return self.file.with_name(self.file.name + ending)


@dataclass(kw_only=True)
class FileOutput(RunOutput):
    """A run whose results go to a file.

    Attributes:
        files: of the run.
        lock: on FILE.part.
        settings: what the run is made with.
        block: images in a block.
        summed: the file that `stream` writes.
        written: its name, and what becomes FILE; None where FILE stays.
        sums: where finished blocks are summed up; None where no later run can go on with them.
    """

    files: RunFiles
    lock: Lock
    settings: dict[str, Any]
    block: int
    summed: SummedFile
    written: Path | None
    sums: Checksums | None

    def new(self, results: Iterable[Result]) -> Iterator[Result]:
        """The results as they come; before the first, what they are made with is written."""
        for (result,) in self.new_blocks([result] for result in results):
            yield result

    def new_blocks(self, blocks: Iterable[Sequence[Result]]) -> Iterator[Sequence[Result]]:
        """The same, of results that come in blocks."""
        count = 0
        for block in blocks:
            # Not earlier: a run that comes to nothing leaves an older file its settings.
            if count == 0:
                self._write_settings(self.settings)
            yield block
            before, count = count, count + len(block)
            if before // self.block < count // self.block:
                self._end_block()

    def _end_block(self) -> None:
        """Sum up what has been written.

        Raises:
            ClipcliError: it is not there any more: better now than after the last image.
        """
        self.stream.flush()
        self._check_in_place()
        if self.sums is not None:
            with writable(self.sums.file, self.summed.kept):
                self.sums.add(self.summed.sum)

    def _check_in_place(self) -> None:
        path = self.written or self.files.part
        with suppress(FileNotFoundError):
            if os.path.samestat(path.lstat(), os.fstat(self.summed.fileno())):
                return
        raise gone(path)

    def _write_settings(self, settings: Mapping[str, Any]) -> None:
        with writable(self.files.settings, self.summed.kept):
            write_text(self.files.settings, json.dumps(settings, indent=2, allow_nan=False) + "\n")

    def finish(self) -> None:
        """Make sure of what is written, then rename it."""
        self.stream.flush()
        # A rename may reach the disk before the results do.
        with writable(self.written or self.files.part, self.summed.kept):
            os.fsync(self.summed.fileno())
        self._check_in_place()
        self.stream.close()
        part, file = self.files.part, self.files.file
        if self.written is None:
            part.unlink()  # empty: it only was the lock's
            return
        # Killed at any point from here on, a run finds all results in FILE.part or in FILE, and
        # FILE's size and checksum among those that are told of it.
        self._write_settings({**self.settings, **_told(self.settings, self.summed.sum)})
        if self.written != part:
            # Of what FILE.part holds no more in a moment.
            Checksums(self.files.sums).forget()
            self.written.replace(part)
        part.replace(file)
        Checksums(self.files.sums).forget()

    def close(self) -> None:
        """Let go of the file and of the lock."""
        try:
            self.stream.close()
        finally:
            self.lock.close()


def _told(settings: Mapping[str, Any], whole: Sum) -> dict[str, Any]:
    """The sizes and checksums that FILE has had, and this one."""
    earlier = {name: settings.get(name, []) for name in (SIZES, CHECKSUMS)}
    if len(earlier[SIZES]) != len(earlier[CHECKSUMS]):
        earlier[CHECKSUMS] = [None] * len(earlier[SIZES])
    return {
        SIZES: [*earlier[SIZES], whole.size],
        CHECKSUMS: [*earlier[CHECKSUMS], f"{whole.crc:08x}"],
    }


@dataclass(kw_only=True)
class RetryOutput(FileOutput):
    """A run that writes an earlier one's results anew and tries those that failed again.

    Attributes:
        old: results of images that are in the pipeline, by index: as many as it looks ahead.
    """

    old: dict[int, Line] = field(default_factory=dict)

    def again(self, walk: Iterator[tuple[Line | None, ImageRef]]) -> Iterator[ImageRef]:
        """The images to run; one that has its result leaves a hole in its block."""
        for line, ref in walk:
            if line is None or line.failed:
                yield ref
            else:
                # Not left out: in another place of its block, or in a shorter block, an image
                # would get other last digits.
                self.old[ref.index] = line
                yield ImageRef(ref.index, ref.name, _HAS_RESULT)

    def new(self, results: Iterable[Result]) -> Iterator[Result]:
        """Write old results where the pipeline gives holes, and give the others."""
        for count, result in enumerate(results, 1):
            line = self.old.pop(result.index, None)
            if line is None:
                yield result
            else:
                self.stream.write(line.text.decode("utf-8", "surrogateescape"))
                self.tally.add_record(line.record)
                self.kept += 1
            if count % self.block == 0:
                self._end_block()

    def new_blocks(self, blocks: Iterable[Sequence[Result]]) -> Iterator[Sequence[Result]]:
        """The same, of results that come in blocks."""
        for result in self.new(chain.from_iterable(blocks)):
            yield [result]
