"""How far a run has come: a bar on a terminal, else a line now and then for those who ask."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from tqdm import tqdm

    from clipcli.cli.console import Console
    from clipcli.runs.output import RunOutput

_SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """Shows how far one run has come.

    Args:
        console: where it is shown.
        run: whose images are counted.
        total: images that will come, earlier runs' included; None where nobody knows.
        hides_bar: there is no place for a bar, even on a terminal.
    """

    def __init__(
        self, console: Console, run: RunOutput, total: int | None, *, hides_bar: bool = False
    ) -> None:
        self._console = console
        self._run = run
        self._total = total
        self._started = time.monotonic()
        self._next_line = self._started + _SECONDS_BETWEEN_LINES
        wants_bar = not console.quiet and sys.stderr.isatty() and not hides_bar
        self._bar = self._made_bar() if wants_bar else None

    def _made_bar(self) -> tqdm[NoReturn]:
        from tqdm import tqdm

        return tqdm(
            total=self._total,
            initial=self._run.kept,
            unit=" images",
            delay=1,
            leave=False,
            dynamic_ncols=True,
            # Over the whole run: results come in blocks, a burst at a time.
            smoothing=0,
        )

    def expect(self, total: int) -> None:
        """Show from now on that so many images will come, earlier runs' included."""
        self._total = total
        if self._bar is not None:
            self._bar.total = total

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._started

    @property
    def rate(self) -> float:
        """Images a second, those of earlier runs not counted."""
        new: int = self._run.tally.total - self._run.kept
        return new / max(self.seconds, 1e-9)

    def advance(self) -> None:
        """One more image is done, or has failed."""
        tally = self._run.tally
        failed = tally.failed.total()
        if self._bar is not None:
            if failed:
                self._bar.set_postfix_str(f"{failed:,} failed", refresh=False)
            # Beside the new result there may be some that were kept.
            self._bar.update(tally.total - self._bar.n)
        elif time.monotonic() >= self._next_line:
            # From now on: after a pause, lines would come one upon another to make up for it.
            self._next_line = time.monotonic() + _SECONDS_BETWEEN_LINES
            of_all = f" of {self._total:,}" if self._total else ""
            self._console.note(
                f"{tally.done:,}{of_all} done, {failed:,} failed, {self.rate:.1f} images/s"
            )

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            # A failure's line draws the bar anew even before its delay is over, and tqdm would
            # not wipe it then: it believes that there is none yet.
            self._bar.delay = 0
            self._bar.close()
