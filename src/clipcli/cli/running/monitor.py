"""What watches over a run: signals, progress, the limit of failures, the summary, its code."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipcli.cli.exit_codes import ExitCode, code_of_run
from clipcli.cli.running.interruption import Interruption
from clipcli.cli.running.progress import Progress
from clipcli.errors import ClipcliError
from clipcli.heads.labels import UNKNOWN
from clipcli.heads.results import Failure
from clipcli.images.feeder import Feed, with_lulls
from clipcli.runs.tally import Ending, summary

if TYPE_CHECKING:
    from clipcli.cli.console import Console
    from clipcli.cli.options.inputs import NamingFlags
    from clipcli.cli.options.results import LimitFlags
    from clipcli.heads.results import Result
    from clipcli.images.sources import ImageRef
    from clipcli.runs.output import RunOutput


class RunMonitor:
    """What goes on beside one run: signals, progress, counts, and when it is over.

    Args:
        console: where failures, progress and the summary are told.
        run: what is run, and counted.
        naming: the images, as the command line names them.
        limits: when the run ends, and where its summary goes.
        way_on: how a run that is cut goes on, for the user; empty where it cannot.
        hides_bar: there is no place for a bar, even on a terminal.
    """

    def __init__(
        self,
        console: Console,
        run: RunOutput,
        naming: NamingFlags,
        limits: LimitFlags,
        *,
        way_on: str = "",
        hides_bar: bool = False,
    ) -> None:
        self._console = console
        self._run = run
        self._naming = naming
        self._limits = limits
        self._way_on = way_on
        self._interruption = Interruption()
        self._troubles = 0
        if naming.reads_stdin:
            is_image = naming.reads_image_from_stdin
            console.awaiting("the bytes of an image" if is_image else "names of images")
        # An earlier run's failures were let pass: the limit counts this one's.
        self._failed_before = run.tally.failed.total()
        # Counting a list takes a moment: not for a number that nobody sees.
        is_shown = console.verbose or sys.stderr.isatty()
        total = naming.total() if is_shown else None
        self._progress = Progress(console, run, total, hides_bar=hides_bar)
        if is_shown and total is None and naming.can_be_counted:
            # Beside the run: a folder of a million files takes a while to search.
            threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        # Whatever there is to tell of a name, the run itself tells.
        with suppress(ClipcliError, OSError):
            self._progress.expect(self._naming.count())

    @contextmanager
    def going(self) -> Iterator[None]:
        """The time in which images go through: signals are heeded, and progress is shown."""
        try:
            if self._naming.reads_image_from_stdin:
                # An answer that nobody may ever type is not waited for.
                yield
            else:
                with self._interruption.heeded():
                    yield
        finally:
            self._progress.close()

    def feed(self, refs: Iterable[ImageRef]) -> Feed:
        """The images as the pipeline takes them: with a word where a slow list gives none."""
        return with_lulls(refs) if self._naming.has_slow_list() else iter(refs)

    @property
    def stop(self) -> threading.Event:
        """Set when somebody wishes an end."""
        return self._interruption.stop

    def count(self, result: Result) -> None:
        """One more image has its result: a failure, or an answer that may not be the expected."""
        tally = self._run.tally
        tally.add(result)
        if isinstance(result, Failure):
            self._console.failure(result)
        elif not tally.meets(result):
            several = result.answers or (UNKNOWN if result.answer is None else result.answer,)
            best = result.best
            share = f"{best.label!r} has {best.probability:.4f}, cosine {best.similarity:.2f}"
            expected = " or ".join(map(repr, tally.expected))
            text = f"expected {expected}, got {' and '.join(map(repr, several))} ({share})"
            self._console.problem(result.name, text)
        self._progress.advance()

    def parts(self, results: Sequence[Result]) -> Iterable[Sequence[Result]]:
        """Results that come together, as parts that are written before the next one is counted.

        Where there is something to tell of one, it is told behind what is written before it.
        """
        # Not at the top: it imports NumPy, which usage errors are spared.
        from clipcli.heads.scored import ScoredBlock

        is_quiet = isinstance(results, ScoredBlock) and not results.failures
        is_whole = is_quiet and not self._run.tally.expected
        return [results] if is_whole else ([result] for result in results)

    def count_all(self, results: Sequence[Result]) -> None:
        """One more part has its results."""
        from clipcli.heads.scored import ScoredBlock

        if isinstance(results, ScoredBlock) and len(results) > 1:
            narrow = sum(sight.is_narrow for sight in results.sights.values())
            self._run.tally.add_answered(len(results), narrow)
            self._progress.advance()
            return
        for result in results:
            self.count(result)

    def told(self, name: str, text: str) -> None:
        """Tell what becomes of one picture beside its result."""
        self._console.problem(name, text)

    def trouble(self, name: str, text: str) -> None:
        """Tell what could not be done with one picture: the exit code will say so, too."""
        self._troubles += 1
        self._console.problem(name, text)

    def hint(self, text: str) -> None:
        """Tell what there is to say of the whole."""
        self._console.hint(text)

    @property
    def is_over(self) -> bool:
        """Whether too many images have failed to go on."""
        limit = self._limits.error_limit
        failed = self._run.tally.failed.total() - self._failed_before
        return limit is not None and failed >= limit

    @property
    def is_cut(self) -> bool:
        """Whether the run ended before its images did."""
        return self.is_over or self._interruption.stop.is_set()

    def end(self, settings: dict[str, Any]) -> int:
        """Sum up, and give the exit code.

        Args:
            settings: what the run was made with, for the summary that programs read.

        Raises:
            KeyboardInterrupt: the run was interrupted.
            Terminated: it was terminated.
            ClipcliError: the summary cannot be written.
        """
        total = self._run.tally.total
        # Where the run was cut before its first image, the list is not to blame.
        if total or not self.is_cut:
            self._console.summary(self._run.tally, self._progress.rate)
            self._console.narrow(self._run.tally.narrow, self._run.tally.done)
        if self.is_cut:
            why = f"ended after {total:,} image{'' if total == 1 else 's'}"
            if self.is_over:
                why += ": too many have failed"
            self._console.hint("; ".join(filter(None, [why, self._way_on])))
        code = self._interruption.exit_code or code_of_run(self._run.tally)
        if code == ExitCode.ALL_DONE and self._troubles:
            code = ExitCode.SOME_FAILED
        self._write_summary(settings, code)
        self._interruption.raise_if_asked()
        return code

    def _write_summary(self, settings: dict[str, Any], code: int) -> None:
        file = self._limits.summary
        if file is None:
            return
        from clipcli.disk.atomic import cannot_write
        from clipcli.disk.outputs import write_json

        ending = Ending(self._progress.seconds, code, self._run.kept, self.is_cut)
        try:
            write_json(Path(file), summary(self._run.tally, ending, settings))
        except OSError as error:
            # Not the command line's fault: that there is a place for it was seen before the run.
            raise cannot_write(f"--summary {file}", error) from error
