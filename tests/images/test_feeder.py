"""Images from a slow writer: the words between them, and the end of the thread that reads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from command import PATIENCE

from clipcli.images.feeder import FeedMarker, with_lulls
from clipcli.images.sources import ImageRef


def refs(count: int) -> list[ImageRef]:
    return [ImageRef(index, f"{index}.png", b"") for index in range(count)]


def test_a_fast_stream_comes_as_it_is() -> None:
    images = refs(1000)

    assert [item for item in with_lulls(images, 60) if item is not FeedMarker.LULL] == images


def test_a_slow_stream_says_so_between_its_images() -> None:
    go_on = threading.Event()

    def slow() -> Iterator[ImageRef]:
        first, second = refs(2)
        yield first
        go_on.wait()
        yield second

    items = with_lulls(slow(), 0.01)
    seen = [next(items)]
    while (item := next(items)) is not FeedMarker.LULL:
        seen.append(item)
    go_on.set()
    seen += [item for item in items if item is not FeedMarker.LULL]

    assert seen == refs(2)


def test_an_error_of_the_stream_is_raised_where_its_images_are_taken() -> None:
    def broken() -> Iterator[ImageRef]:
        yield refs(1)[0]
        raise OSError("the disk is gone")

    items = with_lulls(broken(), 60)

    assert next(items) == refs(1)[0]
    with pytest.raises(OSError, match="the disk is gone"):
        next(items)


def test_it_reads_a_bounded_number_ahead_and_its_thread_ends_when_nobody_takes_more() -> None:
    taken = []
    ended = threading.Event()

    def endless() -> Iterator[ImageRef]:
        try:
            while True:
                taken.append(len(taken))
                yield ImageRef(0, "again.png", b"")
        finally:
            ended.set()

    items = with_lulls(endless(), 60)
    next(items)
    items.close()  # type: ignore[attr-defined]
    names = [thread for thread in threading.enumerate() if thread.name == "clipcli-names"]
    for thread in names:
        thread.join(PATIENCE)

    assert ended.wait(PATIENCE)
    assert len(taken) < 1000
