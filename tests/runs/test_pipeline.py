from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from command import PATIENCE
from fake_engine import FakeEngine, grey_png
from hypothesis import given, settings
from hypothesis import strategies as st
from web_server import answer, serve

from clipcli.errors import FailureCode, InputError, UsageError
from clipcli.heads.labels import LabelSet
from clipcli.heads.results import Failure, Prediction
from clipcli.heads.zero_shot import build_head
from clipcli.images.feeder import FeedMarker
from clipcli.images.sources import ImageRef, Source, Stream, Url
from clipcli.images.web.options import FetchOptions
from clipcli.runs.lookahead import LookAhead
from clipcli.runs.options import PipelineOptions
from clipcli.runs.pipeline import classify, encode

LABELS = LabelSet(("1", "12345", "123456789"))
BROKEN = InputError(FailureCode.NO_MATCH, "none")


def refs(*sources: Source) -> list[ImageRef]:
    return [ImageRef(index, f"{index}.png", source) for index, source in enumerate(sources)]


def run(
    images: Iterable[ImageRef | FeedMarker], engine: FakeEngine, **options: int
) -> list[Prediction | Failure]:
    head = build_head(engine, LABELS)
    return list(classify(images, engine, head, PipelineOptions(**options)))


def test_an_image_gets_the_label_nearest_to_it() -> None:
    results = run(refs(grey_png(20), grey_png(130), grey_png(230)), FakeEngine())

    assert [result.answer for result in results] == ["1", "12345", "123456789"]


@pytest.mark.parametrize("row", [(np.nan, 0), (1, np.inf), (0, 0), (3, 4)])
def test_an_embedding_that_is_not_of_length_1_is_a_failure_and_its_neighbour_is_not(
    row: tuple[float, float],
) -> None:
    class HalfBlind(FakeEngine):
        def encode_images(self, pixels: np.ndarray) -> np.ndarray:
            rows = super().encode_images(pixels)
            rows[pixels.mean(axis=(1, 2, 3)) == 1] = row
            rows.flags.writeable = False  # as an engine may give them
            return rows

    bad, good = run(refs(grey_png(255), grey_png(20)), HalfBlind())

    assert isinstance(bad, Failure)
    assert bad.code is FailureCode.NOT_FINITE
    assert isinstance(good, Prediction)
    assert good.answer == "1"


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.one_of(st.integers(0, 255), st.none()), max_size=12),
    st.integers(1, 5),
    st.integers(1, 3),
)
def test_there_is_one_result_for_each_input_in_order(
    levels: list[int | None], batch_size: int, workers: int
) -> None:
    images = refs(*(BROKEN if level is None else grey_png(level) for level in levels))

    results = run(images, FakeEngine(), batch_size=batch_size, workers=workers)

    assert [(result.index, result.name) for result in results] == [
        (ref.index, ref.name) for ref in images
    ]
    assert [isinstance(result, Failure) for result in results] == [
        level is None for level in levels
    ]


def test_blocks_are_of_the_input_order_failures_included() -> None:
    engine = FakeEngine()

    run(refs(grey_png(1), BROKEN, grey_png(2), grey_png(3), BROKEN), engine, batch_size=2)

    # The hole keeps its place, so the neighbours' arithmetic keeps its shape; a block without
    # an image is not run at all.
    assert engine.batches == [2, 2]


def test_a_failure_leaves_its_neighbours_pixels_as_they_are() -> None:
    class Recorder(FakeEngine):
        def encode_images(self, pixels: np.ndarray) -> np.ndarray:
            self.seen = pixels.copy()
            return super().encode_images(pixels)

    whole, holed = Recorder(), Recorder()
    run(refs(grey_png(10), grey_png(50), grey_png(90)), whole)
    run(refs(grey_png(10), BROKEN, grey_png(90)), holed)

    np.testing.assert_array_equal(whole.seen[[0, 2]], holed.seen[[0, 2]])
    assert not holed.seen[1].any()


def test_a_block_of_failures_needs_no_engine() -> None:
    engine = FakeEngine()

    results = run(refs(BROKEN, b"", b"no image"), engine)

    assert engine.batches == []
    codes = [result.code for result in results if isinstance(result, Failure)]
    assert codes == [FailureCode.NO_MATCH, FailureCode.EMPTY, FailureCode.NOT_AN_IMAGE]


def test_no_more_than_three_blocks_are_taken_ahead() -> None:
    taken = 0

    def endless() -> Iterator[ImageRef]:
        nonlocal taken
        while True:
            yield ImageRef(taken, "grey.png", grey_png(taken % 256))
            taken += 1

    engine = FakeEngine()
    results = classify(endless(), engine, build_head(engine, LABELS), PipelineOptions(batch_size=4))
    for _ in range(10):
        next(results)
    results.close()

    assert taken <= 10 + 3 * 4


def test_its_threads_end_with_it() -> None:
    engine = FakeEngine()
    results = classify(
        refs(*[grey_png(1)] * 50), engine, build_head(engine, LABELS), PipelineOptions(workers=3)
    )
    next(results)
    results.close()

    for thread in threading.enumerate():
        if thread.name.startswith("clipcli-decode"):
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_an_error_of_the_source_reaches_the_caller() -> None:
    def failing() -> Iterator[ImageRef]:
        yield from refs(grey_png(1))
        raise OSError("the list is gone")

    with pytest.raises(OSError, match="the list is gone"):
        run(failing(), FakeEngine())


class Recorder(FakeEngine):
    """Keeps the pixels that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[np.ndarray] = []

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        self.seen.append(pixels.copy())
        return super().encode_images(pixels)


def test_in_a_lull_what_is_there_is_given() -> None:
    given = []

    def slow() -> Iterator[ImageRef | FeedMarker]:
        images = refs(*map(grey_png, (10, 60, 110, 160, 210)))
        yield from images[:2]
        yield FeedMarker.LULL
        given.append(len(results))
        yield FeedMarker.LULL
        yield from images[2:]

    results: list[object] = []
    engine = FakeEngine()
    for result in classify(slow(), engine, build_head(engine, LABELS), PipelineOptions()):
        results.append(result)

    assert given == [2]
    assert [result.index for result in results] == [0, 1, 2, 3, 4]


@settings(deadline=None, max_examples=40)
@given(st.sets(st.integers(0, 10)), st.integers(1, 5))
def test_lulls_leave_every_image_its_place_in_a_block_of_full_size(
    lulls: set[int], batch_size: int
) -> None:
    def with_lulls() -> Iterator[ImageRef | FeedMarker]:
        for ref in refs(*(grey_png(20 * level) for level in range(11))):
            if ref.index in lulls:
                yield FeedMarker.LULL
            yield ref

    engine = Recorder()
    results = run(with_lulls(), engine, batch_size=batch_size)

    assert [result.index for result in results] == list(range(11))
    places = {
        round(float(image.mean()) * 255 / 20): place
        for block in engine.seen
        for place, image in enumerate(block)
        if image.any()
    }
    assert places == {level: level % batch_size for level in range(1, 11)}
    assert {len(block) for block in engine.seen} <= {batch_size, 11 % batch_size}


@pytest.mark.parametrize("batch_size", [33, 2000, 20_000])
def test_a_lull_costs_no_more_work_than_by_default(batch_size: int) -> None:
    images = refs(*(grey_png(level) for level in range(40)))
    with_lulls = [*images[:2], FeedMarker.LULL, *images[2:], FeedMarker.LULL]

    engines = FakeEngine(), FakeEngine()
    results = [
        run(feed, engine, batch_size=batch_size)
        for feed, engine in zip((with_lulls, images), engines, strict=True)
    ]

    assert results[0] == results[1]
    assert engines[0].batches == [32, 32, 32]  # the first in two parts
    assert engines[1].batches == [32, 8]


def test_a_batch_that_does_not_fit_is_refused_before_an_image_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("clipcli.engines.batches.available_memory", lambda: 10**6)
    options = PipelineOptions(batch_size=20_000, whole_blocks=True)
    engine = FakeEngine()
    unread: Iterator[ImageRef] = (pytest.fail("read") for _ in range(1))

    with pytest.raises(UsageError, match=r"--batch-size \d+ does"):
        encode(unread, engine, options)
    with pytest.raises(UsageError, match=r"--batch-size \d+ does"):
        classify(unread, engine, build_head(engine, LABELS), options)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"batch_size": -1},
        {"workers": 0},
        {"workers": 10_000},
        {"isolate_seconds": 0},
        {"isolate_seconds": float("nan")},
        {"isolate_seconds": float("inf")},
        {"isolate_seconds": 1e9},
    ],
)
def test_numbers_that_make_no_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        PipelineOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("has_ended", [True, False], ids=["list at its end", "list goes on"])
def test_a_stop_gives_what_was_begun_and_leaves_out_the_rest(has_ended, ordered) -> None:
    stop, begun, go_on = threading.Event(), threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            begun.set()
            go_on.wait()
            return super().read(size)

    def images() -> Iterator[ImageRef | FeedMarker]:
        yield from refs(Stream(Slow(grey_png(10))), *[grey_png(50)] * 9)
        if not has_ended:
            begun.wait()
            stop.set()
            yield FeedMarker.LULL
            raise AssertionError("nothing more is asked for")

    def wish_an_end() -> None:
        begun.wait()
        stop.set()

    # The first image is read on when the others have been left out, not before.
    class Watched(LookAhead):
        def _drop_waiting(self) -> None:
            super()._drop_waiting()
            go_on.set()

    options = PipelineOptions(workers=1, stop=stop, ordered=ordered)
    engine = FakeEngine()
    threading.Thread(target=wish_an_end).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clipcli.runs.pipeline.LookAhead", Watched)
        results = list(classify(images(), engine, build_head(engine, LABELS), options))

    assert [result.name for result in results] == ["0.png"]


@pytest.mark.parametrize("others", [3, 20], ids=["less than a block", "several blocks"])
def test_unordered_results_do_not_wait_for_a_slow_image(others: int) -> None:
    go_on = threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            go_on.wait()
            return super().read(size)

    images = refs(Stream(Slow(grey_png(10))), *[grey_png(90)] * others)
    engine = FakeEngine()
    options = PipelineOptions(batch_size=8, workers=2, ordered=False)
    results = classify(images, engine, build_head(engine, LABELS), options)
    first = [next(results).index for _ in range(others)]
    go_on.set()

    assert sorted(first) == list(range(1, others + 1))
    assert [result.index for result in results] == [0]


def test_a_block_holds_embeddings_and_the_reasons_of_failures() -> None:
    images = refs(grey_png(0), BROKEN, grey_png(255))

    (block,) = encode(images, FakeEngine(), PipelineOptions())

    assert block.refs == images
    assert block.failures == {1: BROKEN}
    np.testing.assert_allclose(block.embeddings[[0, 2]], [[1, 0], [0, 1]], atol=1e-6)


def test_isolated_decoding_gives_the_same_results() -> None:
    images = refs(grey_png(20), b"no image", grey_png(230))
    options = PipelineOptions(isolate_seconds=60)
    engine = FakeEngine()

    isolated = list(classify(images, engine, build_head(engine, LABELS), options))

    assert isolated == run(images, FakeEngine())


def test_downloads_go_on_at_once_beside_files() -> None:
    together = threading.Barrier(6, timeout=PATIENCE)

    def meeting(connection: socket.socket, _over: threading.Event) -> None:
        together.wait()  # breaks unless all six are being answered
        connection.sendall(answer(grey_png(90)))

    with serve({"/grey.png": meeting}) as server:
        urls = [Url(server.url("/grey.png"))] * 6
        hosts = frozenset({server.host})
        limits = {"read_seconds": PATIENCE, "total_seconds": PATIENCE}
        fetch = FetchOptions(allowed_hosts=hosts, concurrency=6, per_host=6, **limits)
        engine = FakeEngine()
        options = PipelineOptions(workers=1, fetch=fetch)
        results = classify(refs(*urls, grey_png(90)), engine, build_head(engine, LABELS), options)

        assert {result.answer for result in results} == {"12345"}


def test_whole_blocks_are_the_same_whatever_lulls_there_are() -> None:
    images = refs(*(grey_png(20 * level) for level in range(11)))
    with_lulls = [item for image in images for item in (image, FeedMarker.LULL)]
    shapes = []
    for stream in (images, with_lulls):
        engine = FakeEngine()
        run(stream, engine, batch_size=4, whole_blocks=True)
        shapes.append(engine.batches)

    assert shapes == [[4, 4, 3], [4, 4, 3]]
