"""A stream of images from a slow writer: read in a thread, with a word where nothing comes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipcli.images.sources import ImageRef

# Short enough that whoever types names sees each answer, long enough to cost nothing.
_LULL_SECONDS = 0.2
_NAMES_AHEAD = 256


class FeedMarker(Enum):
    """What a stream of images says beside its images."""

    # Nothing has come for a while: what is there already should not wait for more.
    LULL = auto()


Feed = Iterator["ImageRef | FeedMarker"]


def with_lulls(refs: Iterable[ImageRef], seconds: float = _LULL_SECONDS) -> Feed:
    """Images as they come, with a `LULL` wherever the next is not there within so many seconds.

    Args:
        refs: iterated in a thread of its own, a bounded number of images ahead. That thread may
            be blocked in a read for ever: it ends with the process, or at the read's end.
        seconds: to wait for an image before each `LULL`.
    """
    arrived: SimpleQueue[ImageRef | BaseException | None] = SimpleQueue()
    room = threading.Semaphore(_NAMES_AHEAD)
    closed = threading.Event()

    def feed() -> None:
        try:
            for ref in refs:
                room.acquire()
                if closed.is_set():
                    return
                arrived.put(ref)
            arrived.put(None)
        except BaseException as error:  # noqa: BLE001  raised again where the images are taken
            arrived.put(error)

    threading.Thread(target=feed, name="clipcli-names", daemon=True).start()
    try:
        yield from _taken(arrived, room, seconds)
    finally:
        closed.set()
        room.release()


def _taken(
    arrived: SimpleQueue[ImageRef | BaseException | None],
    room: threading.Semaphore,
    seconds: float,
) -> Feed:
    while True:
        try:
            item = arrived.get(timeout=seconds)
        except Empty:
            yield FeedMarker.LULL
            continue
        if item is None:
            return
        if isinstance(item, BaseException):
            raise item
        room.release()
        yield item
