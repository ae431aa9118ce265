"""What is read ahead: that a wait for it hears signals."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import Future

import pytest
from command import PATIENCE
from fake_engine import FakeEngine, grey_png

from clipcli.images.sources import ImageRef, Stream
from clipcli.runs.lookahead import Decoded, LookAhead
from clipcli.runs.options import PipelineOptions


class SlowFile:
    """A file that can be read once somebody says so."""

    def __init__(self) -> None:
        self.is_waited_for, self.may_be_read = threading.Event(), threading.Event()
        self.was_told = False

    def read(self, _size: int) -> bytes:
        if self.was_told:
            return b""
        self.is_waited_for.set()
        self.was_told = self.may_be_read.wait(PATIENCE)
        return grey_png(3)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_signal_that_does_not_interrupt_the_wait_is_heeded_all_the_same(ordered: bool) -> None:
    file = SlowFile()
    before = signal.signal(signal.SIGUSR1, lambda *_: file.may_be_read.set())

    def signal_this_thread() -> None:
        file.is_waited_for.wait(PATIENCE)
        # No event tells that the main thread waits, too; but once it has, in vain, it does again.
        has_waited.wait(PATIENCE)
        # Taken by a thread that does not run Python's handlers: the wait of the one that does,
        # the main thread, goes on as if the signal had come a moment before it.
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    class Watched(LookAhead):
        def _done_by_now(self) -> Future[Decoded] | None:
            found = super()._done_by_now()
            has_waited.set()
            return found

    has_waited = threading.Event()
    thread = threading.Thread(target=signal_this_thread)
    try:
        config = FakeEngine().info.preprocess
        with Watched(config, PipelineOptions(workers=1, ordered=ordered)) as ahead:
            ahead.submit(ImageRef(0, "slow.png", Stream(file)))
            thread.start()
            (decoded,) = ahead.take(1)
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)

    assert decoded.ref.name == "slow.png"
    assert file.was_told
