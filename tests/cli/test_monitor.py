"""What watches over a run: signals, progress, the limit of failures, exit codes."""

from __future__ import annotations

import io
import queue
import signal
import sys
import threading
from collections import Counter
from functools import partial

import pytest
import tqdm
from command import PATIENCE

from clipcli.cli.console import Console
from clipcli.cli.exit_codes import ExitCode, code_of_run
from clipcli.cli.options.inputs import NamingFlags
from clipcli.cli.options.results import LimitFlags
from clipcli.cli.running.interruption import Interruption, Terminated
from clipcli.cli.running.monitor import RunMonitor
from clipcli.cli.running.progress import Progress
from clipcli.runs.output import RunOutput
from clipcli.runs.tally import Tally


def a_run(done: int = 0, failed: int = 0, kept: int = 0) -> RunOutput:
    tally = Tally(done=done, failed=Counter({"empty": failed}) if failed else Counter())
    return RunOutput(io.StringIO(), iter(()), tally, kept)


@pytest.mark.parametrize(
    ("done", "failed", "unexpected", "code"),
    [
        (1, 0, 0, ExitCode.ALL_DONE),
        (1, 1, 0, ExitCode.SOME_FAILED),
        (1, 1, 1, ExitCode.CHECK_NOT_MET),
        (0, 1, 0, ExitCode.NONE_SUCCEEDED),
        (0, 0, 0, ExitCode.NONE_SUCCEEDED),
    ],
)
def test_where_several_exit_codes_hold_the_gravest_is_taken(done, failed, unexpected, code):
    tally = a_run(done, failed).tally
    tally.unexpected = unexpected
    assert code_of_run(tally) is code


@pytest.mark.parametrize(
    ("quiet", "error_terminal", "hides_bar", "shown"),
    [
        (False, True, False, True),
        (True, True, False, False),
        (False, False, False, False),
        (False, True, True, False),
    ],
)
def test_a_bar_needs_a_terminal_a_place_and_no_quiet(
    monkeypatch, quiet, error_terminal, hides_bar, shown
):
    made = []
    monkeypatch.setattr("tqdm.tqdm", lambda **options: made.append(options))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: error_terminal)
    console = Console()
    console.quiet = quiet

    Progress(console, a_run(kept=7), 100, hides_bar=hides_bar)

    assert [(options["total"], options["initial"]) for options in made] == [(100, 7)] * shown


def test_a_bar_counts_what_is_kept_and_what_has_failed(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("tqdm.tqdm", partial(tqdm.tqdm, mininterval=0))
    run = a_run(done=5, kept=5)
    progress = Progress(Console(), run, 11)
    progress._bar.delay = 0
    for _ in range(3):
        run.tally.done += 1
        run.tally.failed["empty"] += 1
        progress.advance()
    shown = capsys.readouterr().err
    progress.close()

    assert "11/11" in shown
    assert "3 failed" in shown


@pytest.mark.parametrize(
    ("naming", "total"),
    [
        (NamingFlags(("a", "b.png"), recursive=True), 3),
        (NamingFlags(("*/*.png",)), 2),
        (NamingFlags(("a",), recursive=True, shard="2/2"), 1),
        (NamingFlags(("a",), recursive=True, files_from="list.txt"), 4),
        (NamingFlags(("-", "a"), recursive=True), None),
        (NamingFlags(("a",), recursive=True, files_from="-"), None),
    ],
)
def test_a_folders_images_are_counted_beside_the_run(monkeypatch, tmp_path, naming, total):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    for name in ("1.png", "2.png", "3.txt"):
        (tmp_path / "a" / name).touch()
    (tmp_path / "list.txt").write_text("x.png\ny.png\n")
    expected = queue.SimpleQueue()
    monkeypatch.setattr(Progress, "expect", lambda _self, count: expected.put(count))
    console = Console()
    console.verbose = True
    threads = threading.active_count()

    RunMonitor(console, a_run(), naming, LimitFlags())

    if total is None:
        assert threading.active_count() == threads
    else:
        assert expected.get(timeout=PATIENCE) == total


def test_a_total_that_comes_late_is_shown(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("tqdm.tqdm", partial(tqdm.tqdm, mininterval=0))
    run = a_run()
    progress = Progress(Console(), run, None)
    progress._bar.delay = 0
    progress.expect(11)
    run.tally.done += 1
    progress.advance()
    progress.close()
    assert "1/11" in capsys.readouterr().err


@pytest.mark.parametrize(("verbose", "lines"), [(True, 2), (False, 0)])
def test_without_a_terminal_a_line_comes_every_thirty_seconds_for_those_who_ask(
    monkeypatch, capsys, verbose, lines
):
    clock = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: clock)
    console = Console()
    console.verbose = verbose
    run = a_run(kept=1000, done=1000)
    progress = Progress(console, run, 5000)
    for _ in range(65):
        clock += 1
        run.tally.done += 10
        progress.advance()

    told = capsys.readouterr().err.splitlines()
    assert len(told) == lines
    if lines:
        assert told[1] == "clipcli: 1,600 of 5,000 done, 0 failed, 10.0 images/s"

    clock += 3600  # nothing came for an hour: its lines are not made up for
    for _ in range(5):
        progress.advance()
    assert len(capsys.readouterr().err.splitlines()) == (1 if lines else 0)


@pytest.mark.parametrize(
    ("number", "error", "code"),
    [(signal.SIGINT, KeyboardInterrupt, 130), (signal.SIGTERM, Terminated, 143)],
)
def test_the_first_signal_is_a_wish_and_the_second_an_order(capfd, number, error, code):
    interruption = Interruption()
    before = signal.getsignal(number)
    with interruption.heeded():
        signal.raise_signal(number)
        assert interruption.stop.is_set()
        with pytest.raises(error):
            signal.raise_signal(number)

    assert signal.getsignal(number) is before
    assert interruption.exit_code == code
    with pytest.raises(error):
        interruption.raise_if_asked()


def test_without_a_signal_nothing_is_raised():
    interruption = Interruption()
    with interruption.heeded():
        interruption.raise_if_asked()
    assert interruption.exit_code is None
