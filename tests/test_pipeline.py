from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from fake_engine import FakeEngine, grey_png
from hypothesis import given, settings
from hypothesis import strategies as st

from clipcli.classifier import Failure, Prediction, build_head
from clipcli.errors import FailureCode, InputError
from clipcli.labels import LabelSet
from clipcli.pipeline import PipelineOptions, classify
from clipcli.sources import ImageRef, Source

LABELS = LabelSet(("1", "12345", "123456789"))
BROKEN = InputError(FailureCode.NO_MATCH, "none")


def refs(*sources: Source) -> list[ImageRef]:
    return [ImageRef(index, f"{index}.png", source) for index, source in enumerate(sources)]


def run(
    images: list[ImageRef] | Iterator[ImageRef], engine: FakeEngine, **options: int
) -> list[Prediction | Failure]:
    head = build_head(engine, LABELS)
    return list(classify(images, engine, head, PipelineOptions(**options)))


def test_an_image_gets_the_label_nearest_to_it() -> None:
    results = run(refs(grey_png(20), grey_png(130), grey_png(230)), FakeEngine())

    assert [result.answer for result in results] == ["1", "12345", "123456789"]


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


def test_no_more_than_two_blocks_are_taken_ahead() -> None:
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
            thread.join(timeout=10)
            assert not thread.is_alive()


def test_an_error_of_the_source_reaches_the_caller() -> None:
    def failing() -> Iterator[ImageRef]:
        yield from refs(grey_png(1))
        raise OSError("the list is gone")

    with pytest.raises(OSError, match="the list is gone"):
        run(failing(), FakeEngine())
