"""Where a run's results go: a stream, or a file that is in place when the run is at its end.

::

    FILE.part       the results so far; renamed to FILE when the run is at its end
    FILE.run.json   what the run is made with; stays beside FILE
    FILE.retry      the results while failed ones are tried again; renamed to FILE, too

A run holds FILE.part against other processes. An empty FILE.part is as good as none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipcli.disk.atomic import write_json
from clipcli.disk.lock import Lock, writable
from clipcli.errors import FailureCode, InputError
from clipcli.heads.results import Result
from clipcli.images.sources import ImageRef
from clipcli.runs.output import RunOutput
from clipcli.runs.records import Line
from clipcli.runs.settings import SIZES

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
        written: the file that `stream` writes and that becomes FILE; None where FILE stays.
    """

    files: RunFiles
    lock: Lock
    settings: dict[str, Any]
    written: Path | None

    def new(self, results: Iterable[Result]) -> Iterator[Result]:
        """The results as they come; before the first, what they are made with is written."""
        for count, result in enumerate(results):
            # Not earlier: a run that comes to nothing leaves an older file its settings.
            if count == 0:
                with writable(self.files.settings):
                    write_json(self.files.settings, self.settings)
            yield result

    def finish(self) -> None:
        """Make sure of what is written, then rename it."""
        self.stream.flush()
        # A rename may reach the disk before the results do.
        os.fsync(self.stream.fileno())
        self.stream.close()
        part, file = self.files.part, self.files.file
        if self.written is None:
            part.unlink()  # empty: it only was the lock's
            return
        # Killed at any point from here on, a run finds all results in FILE.part or in FILE, and
        # FILE's size among those that are told of it.
        sizes = [*self.settings.get(SIZES, []), self.written.stat().st_size]
        write_json(self.files.settings, {**self.settings, SIZES: sizes})
        if self.written != part:
            self.written.replace(part)
        part.replace(file)

    def close(self) -> None:
        """Let go of the file and of the lock."""
        try:
            self.stream.close()
        finally:
            self.lock.close()


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
        for result in results:
            line = self.old.pop(result.index, None)
            if line is None:
                yield result
                continue
            self.stream.write(line.text.decode("utf-8", "surrogateescape"))
            self.tally.add_record(line.record)
            self.kept += 1
