"""The streams of a command: results on standard output, all that is told on standard error."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click

from clipcli.cli.advice import way_out
from clipcli.errors import ClipcliWarning

if TYPE_CHECKING:
    from clipcli.heads.results import Failure
    from clipcli.runs.tally import Tally

# More images than these are a bulk run, whose end and speed are worth a line.
_A_FEW = 100


class Console:
    """Standard error of one run.

    Attributes:
        quiet: only errors and failures are told.
        verbose: also what is being done.
        debug: errors come with their traceback, and libraries' warnings are shown.
        command: that runs, with the words before it.
        words: of the command line, as they were given, without the program's name.
    """

    def __init__(self, words: Sequence[str] = ()) -> None:
        self.quiet = False
        self.verbose = False
        self.debug = False
        self.command = "clipcli classify"
        self.words = tuple(words)

    def error(self, error: BaseException, text: str) -> None:
        """Tell why the command ends."""
        if self.debug:
            traceback.print_exception(error)
        self._line(text)

    def unexpected(self, error: BaseException) -> None:
        """Tell of an error that nobody foresaw."""
        if self.debug:
            traceback.print_exception(error)
        reason = str(error) or "no reason given"
        hint = "" if self.debug else "; --debug shows where"
        self._line(f"unexpected error: {type(error).__name__}: {reason}{hint}")

    def failure(self, failure: Failure) -> None:
        """Tell of one image that could not be classified."""
        self._line(f"{failure.name}: {failure.message}{way_out(failure)}")

    def problem(self, name: str, text: str) -> None:
        """Tell of one image whose answer is not as it should be."""
        self._line(f"{name}: {text}")

    def note(self, text: str) -> None:
        """Tell what is being done, to those who asked."""
        if self.verbose and not self.quiet:
            self._line(text)

    def detail(self, text: str) -> None:
        """Tell what an error comes from, to those who asked."""
        if self.verbose or self.debug:
            self._line(text)

    def hint(self, text: str) -> None:
        """Tell what would serve the user better next time."""
        if not self.quiet:
            self._line(text)

    def awaiting(self, what: str) -> None:
        """Tell who is at the keyboard that it is their turn; in a pipe there is nobody to tell."""
        if sys.stdin.isatty():
            self.hint(f"reading {what} from the keyboard: Ctrl-D ends them, Ctrl-C leaves")

    def step(self, text: str) -> None:
        """Tell where a long job has come to, on a terminal or to those who asked."""
        if (self.verbose or sys.stderr.isatty()) and not self.quiet:
            self._line(text)

    def summary(self, tally: Tally, rate: float) -> None:
        """Tell how many images were classified, where some were not, were many, or where asked for.

        Args:
            tally: what was done.
            rate: images a second; told of runs long enough for it to mean something.
        """
        done, failures = tally.done, tally.failed.total()
        if not done + failures:
            self._line("there are no images: the list, or this --shard of it, names none")
        is_bulk = done + failures > _A_FEW
        worth_telling = self.verbose or is_bulk or (failures and done + failures > 1)
        if self.quiet or not worth_telling:
            return
        codes = ", ".join(f"{code} {count}" for code, count in tally.failed.most_common())
        speed = f", {rate:.1f} images/s" if self.verbose or is_bulk else ""
        failed = f"{failures:,} failed{f' ({codes})' if codes else ''}"
        self._line(f"{done:,} done, {failed}{speed}")

    def narrow(self, count: int, total: int, *, has_tiles: bool = True) -> None:
        """Warn of pictures of which the model was shown less than half, if there are any.

        Args:
            count: how many there are.
            total: how many pictures there are in all.
            has_tiles: the command knows `--fit tiles`.
        """
        if count:
            were = "picture was" if total == 1 else "pictures were"
            tiles = "--fit tiles sees all of each in pieces, " if has_tiles else ""
            self.hint(
                f"warning: {count:,} of {total:,} {were} looked at by less than half; {tiles}"
                "--fit pad and --fit squash see it at once, smaller"
            )

    @contextmanager
    def warnings(self) -> Iterator[None]:
        """Show clipcli's warnings as lines of their own, and libraries' warnings not at all."""
        with warnings.catch_warnings():
            if not self.debug:
                warnings.simplefilter("ignore")
                # Pillow logs what it then raises.
                logging.getLogger("PIL").setLevel(logging.CRITICAL)
                # Of a home that is missing the user knows already.
                logging.getLogger("matplotlib").setLevel(logging.ERROR)
            if self.quiet:
                os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # before its client is imported
            warnings.simplefilter("ignore" if self.quiet else "always", ClipcliWarning)
            show = warnings.showwarning

            def told(message: Warning | str, category: type[Warning], *rest: object) -> None:
                if issubclass(category, ClipcliWarning):
                    self._line(f"warning: {message}")
                else:
                    show(message, category, *rest)  # type: ignore[arg-type]

            warnings.showwarning = told  # type: ignore[assignment]
            yield

    def _line(self, text: str) -> None:
        # Names of files may hold anything; a terminal obeys control characters.
        from clipcli.printable import printable

        if sys.stderr.isatty() and "tqdm" in sys.modules:
            from tqdm import tqdm

            tqdm.write(f"clipcli: {printable(text)}", file=sys.stderr)
        else:
            click.echo(f"clipcli: {printable(text)}", err=True)


def results_stream() -> TextIO:
    """Standard output, in UTF-8 whatever the locale, able to give back any file's name."""
    stream: Any = sys.stdout
    stream.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")
    result: TextIO = stream
    return result


def wants_color(*, no_color: bool) -> bool:
    """Whether results may have colours: on a terminal that has them, for who does not mind."""
    # https://no-color.org: set and not empty.
    refused = no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not refused
