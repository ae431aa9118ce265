"""Where a run's results go: here, a stream; `runs/` knows files that outlive a kill."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from clipcli.heads.results import Result
    from clipcli.images.sources import ImageRef
    from clipcli.runs.tally import Tally


@dataclass
class RunOutput:
    """Where a run's results go: here, a stream and nowhere else.

    Attributes:
        stream: what results are written to.
        refs: the images that the pipeline shall run.
        tally: counts of all results; the caller adds those that `new` gives it.
        kept: how many of them are an earlier run's.
    """

    stream: TextIO
    refs: Iterator[ImageRef]
    tally: Tally
    kept: int = 0

    def new(self, results: Iterable[Result]) -> Iterator[Result]:
        """The pipeline's results that are this run's, to be written and counted, as they come."""
        yield from results

    def new_blocks(self, blocks: Iterable[Sequence[Result]]) -> Iterator[Sequence[Result]]:
        """The same, of results that come in blocks."""
        yield from blocks

    def finish(self) -> None:
        """Put the file in place: the run is at its end.

        Raises:
            OSError: the disk is full or gone; what is written stays where it is.
        """

    def close(self) -> None:
        """Let go of all files; without `finish`, a later run can go on with what is written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class StreamOutput(RunOutput):
    """A run whose results go into a device or a pipe that the user named."""

    def close(self) -> None:
        """Write what waits, and let the reader see the end."""
        self.stream.close()
