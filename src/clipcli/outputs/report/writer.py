"""Collects results and thumbnails on disk while a run goes, and writes the page at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Self

from clipcli.disk.atomic import open_own, writable
from clipcli.disk.outputs import OutputFile, workspace
from clipcli.heads.results import Failure, LabelScore, Result
from clipcli.outputs.report.counts import Counts
from clipcli.outputs.report.links import folder_of, link
from clipcli.outputs.report.page import Page, json_for_html
from clipcli.outputs.report.pictures import Pictures
from clipcli.printable import printable

# A picture's bars are a few hundred pixels wide: more digits would only make the file larger.
_DIGITS = 6


class Report:
    """One run's results on their way into one HTML file.

    What is added goes to disk, to files without a name: a run that is killed leaves nothing, and
    memory holds a few numbers an image.

    Args:
        path: of the page; it appears when the report is finished, whole or not at all.
        title: of the page.
        labels: all that may be an answer, in the user's order.
        settings: what the run is made with, for the page to tell; ready for JSON.

    Raises:
        UsageError: nothing can be written there.

    Example:
        >>> with Report(Path("report.html"), "Cats", ["cat", "dog"], {"model": "tiny"}) as report:
        ...     report.add_thumbnail(0, jpeg)
        ...     report.add(prediction)
        ...     report.finish()
    """

    def __init__(
        self, path: Path, title: str, labels: Sequence[str], settings: Mapping[str, Any]
    ) -> None:
        self._path = path
        self._title = title
        # Places in place of names: a thousand labels would be written out again for each image.
        self._labels = {label: place for place, label in enumerate(labels)}
        self._settings = settings
        self._folder = folder_of(path)
        self._counts = Counts()
        with self._writing():
            folder = workspace(path)
            self._images = _spool(folder)
            self._pictures = Pictures(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Forget what is not finished."""
        # On a full disk the last bytes would fail once more, in place of the first error.
        for file in (self._images, self._pictures):
            with suppress(OSError):
                file.close()

    @property
    def wants_large(self) -> bool:
        """Whether there is room for another picture to be looked at alone."""
        return self._pictures.has_room

    def add_thumbnail(self, index: int, jpeg: bytes, large: bytes = b"") -> None:
        """Keep an image's pictures for when its result comes; may be called from any thread.

        Args:
            index: the image's position in the input.
            jpeg: its picture, a few kilobytes.
            large: one to be looked at alone, left out where there is no more room for it.

        Raises:
            ClipcliError: the disk takes no more.
        """
        with self._writing():
            self._pictures.keep(index, jpeg, large)

    def add(self, result: Result, truth: str | None = None) -> None:
        """Add one image.

        Args:
            result: its scores, or why it has none.
            truth: the label that it should have; None where nobody knows.

        Raises:
            KeyError: `truth`, or a label of the result, is none of the report's labels.
            ClipcliError: the disk takes no more.
        """
        # Counted here and not in the page: its script may be switched off.
        self._counts.add(result, truth)
        # Pictures come as images are read, results in their order: this is where they meet.
        self._pictures.show(result.index)
        with self._writing():
            self._images.write(json_for_html(self._record(result, truth)) + "\n")

    def finish(self, figures: Mapping[str, str] | None = None, *, is_cut: bool = False) -> None:
        """Write the page; one that was there is replaced.

        Args:
            figures: names and values to be shown on top, beside the counts.
            is_cut: whether the run ended before its images did, which the page then says.

        Raises:
            ClipcliError: it cannot be written; what was there before still is.
        """
        page = Page(
            title=printable(self._title),
            labels=[printable(label) for label in self._labels],
            settings=self._settings,
            counts=self._counts,
            figures={printable(name): printable(text) for name, text in (figures or {}).items()},
            is_cut=is_cut,
        )
        with (
            self._writing(),
            OutputFile(self._path) as beside,
            open_own(beside, "w", encoding="utf-8", newline="\n") as file,
        ):
            self._images.seek(0)
            lines = (line.rstrip("\n") for line in self._images)
            page.write(file, lines, self._pictures.shown(), self._pictures.shown_large())

    def _record(self, result: Result, truth: str | None) -> dict[str, Any]:
        """A result as the page's script reads it; labels are places in the list of labels."""
        record: dict[str, Any] = {"index": result.index, "name": printable(result.name)}
        if (way := link(result.name, self._folder)) is not None:
            record["link"] = way
        if truth is not None:
            record["truth"] = self._labels[truth]
        if isinstance(result, Failure):
            failure = {"code": result.code.value, "message": printable(result.message)}
            return {**record, "failure": failure}
        answer = None if result.answer is None else self._labels[result.answer]
        if result.doubt:
            record["doubt"] = True
        if result.seen is not None:
            record["seen"] = result.seen
        return {**record, "answer": answer, "scores": [*map(self._score, result.scores)]}

    def _score(self, score: LabelScore) -> list[float]:
        place = self._labels[score.label]
        return [place, round(score.probability, _DIGITS), round(score.similarity, _DIGITS)]

    def _writing(self) -> AbstractContextManager[None]:
        return writable(f"--report {self._path}")


def _spool(folder: Path) -> IO[str]:
    return TemporaryFile("w+", dir=folder, encoding="ascii", newline="\n")
