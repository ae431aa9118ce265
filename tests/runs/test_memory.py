"""What is left of an image that failed: a code and a message, and nothing that takes memory."""

from __future__ import annotations

import gc
import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from command import PHOTOS, installed_command, unmeasured_environment
from fake_engine import FakeEngine
from fetching import options_for
from PIL import Image, ImageFile
from web_server import answer, dripping, resetting, serve

from clipcli.errors import FailureCode, InputError, settled
from clipcli.images.options import ImageOptions
from clipcli.images.sources import ImageRef, Source, Stream, Url
from clipcli.images.web.options import FetchOptions
from clipcli.runs.options import PipelineOptions
from clipcli.runs.pipeline import encode

MEGABYTE = 1 << 20
COPIES = 6


def photo(kind: str, size: tuple[int, int] = (1200, 800)) -> bytes:
    """An image of a megabyte or so, whatever its format."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


def cut(kind: str) -> bytes:
    data = photo(kind)
    return data[: len(data) * 95 // 100]


def thin_png(height: int = 199_999_999) -> bytes:
    """A PNG one pixel wide, of as few bytes as its header needs."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", 1, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(4 * 4096))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows)


NOISE = np.random.default_rng(1).bytes(MEGABYTE)
HTML = b"<!doctype html><html>" + b"x" * MEGABYTE
FAILING: dict[str, bytes] = {
    "a cut JPEG": cut("JPEG"),
    "a cut PNG": cut("PNG"),
    "a cut GIF": cut("GIF"),
    "a cut WebP": cut("WEBP"),
    "a cut BMP": cut("BMP"),
    "a JPEG of noise": b"\xff\xd8\xff" + NOISE,
    "a PNG of noise": b"\x89PNG\r\n\x1a\n" + NOISE,
    "a GIF of noise": b"GIF89a\xff\xff\xff\xff" + NOISE,
    "a WebP of noise": b"RIFF\xff\xff\xff\0WEBPVP8 " + NOISE,
    "an unsupported TIFF": b"II*\0" + NOISE,
    "a page": HTML,
    "unknown bytes": b"\0\1\2\3" + NOISE,
    "one pixel wide": thin_png() + NOISE,
}


@contextmanager
def without_collector() -> Iterator[None]:
    """What is in a circle stays, as it may for long: the collector counts objects, not bytes."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def count_images() -> int:
    """Pictures of Pillow that are alive."""
    # By its type: `isinstance` asks objects for their class, and some of torch's warn when asked.
    return sum(issubclass(type(one), Image.Image) for one in gc.get_objects())


def left_of(source: Callable[[], Source], options: PipelineOptions) -> tuple[int, list[InputError]]:
    """Bytes that are held by the failures of several images, and the failures."""

    def through(count: int) -> list[InputError]:
        images = (ImageRef(index, "x", source()) for index in range(count))
        blocks = list(encode(images, FakeEngine(), options))
        return [error for block in blocks for error in block.failures.values()]

    through(1)  # what is imported or set up once is nobody's
    with without_collector():
        images = count_images()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            failures = through(COPIES)
            held = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        # An image's own pixels are not Python's memory.
        assert count_images() == images
    return held, failures


def assert_settled(held: int, failures: list[InputError]) -> None:
    assert len(failures) == COPIES
    assert held < MEGABYTE / 2
    for error in failures:
        assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


@pytest.mark.parametrize("isolate_seconds", [None, 300.0], ids=["here", "isolated"])
@pytest.mark.parametrize("name", FAILING)
def test_nothing_is_left_of_a_failed_file_but_its_reason(
    tmp_path: Path, name: str, isolate_seconds: float | None
) -> None:
    file = tmp_path / "x"
    file.write_bytes(FAILING[name])

    options = PipelineOptions(workers=1, isolate_seconds=isolate_seconds)
    assert_settled(*left_of(lambda: file, options))


@pytest.mark.parametrize(
    "source",
    [
        lambda: Stream(io.BytesIO(cut("JPEG"))),
        lambda: cut("PNG"),
        lambda: Stream(io.BytesIO(bytes(3 * MEGABYTE))),
        lambda: InputError(FailureCode.NO_MATCH, "none"),
    ],
    ids=["a stream", "bytes", "too many bytes", "known to have none"],
)
def test_nothing_is_left_of_other_sources(source: Callable[[], Source]) -> None:
    images = ImageOptions(max_bytes=2 * MEGABYTE)
    assert_settled(*left_of(source, PipelineOptions(workers=1, images=images)))


DOWNLOADS = {
    "/page": answer(HTML),
    "/cut.jpg": answer(cut("JPEG")),
    "/large": answer(b"\xff\xd8\xff" + bytes(3 * MEGABYTE)),
    "/large-undeclared": answer(b"\xff\xd8\xff" + bytes(3 * MEGABYTE), content_length=None),
    "/short": answer(b"\xff\xd8\xff" + bytes(MEGABYTE), content_length=2 * MEGABYTE),
    "/gone": answer(HTML, 404),
    "/busy": answer(HTML, 503),
    "/moved": answer(HTML, 302, location="ftp://nowhere/"),
    "/round": answer(HTML, 302, location="/round"),
    "/reset": resetting(answer(b"\xff\xd8\xff" + bytes(MEGABYTE), content_length=2 * MEGABYTE)),
}


@pytest.mark.parametrize("path", DOWNLOADS)
def test_nothing_is_left_of_a_failed_download(path: str) -> None:
    with serve(DOWNLOADS) as server:
        fetch = options_for(server, max_bytes=2 * MEGABYTE)
        options = PipelineOptions(workers=1, fetch=fetch)
        held, failures = left_of(lambda: Url(server.url(path)), options)
    assert_settled(held, failures)


def test_what_is_no_image_is_left_where_it_is(tmp_path: Path) -> None:
    # A byte more than may be read: reading it all would say so.
    options = PipelineOptions(workers=1, images=ImageOptions(max_bytes=MEGABYTE))
    file = tmp_path / "x"
    file.write_bytes(HTML[:MEGABYTE])
    endless = Stream(io.BytesIO(bytes(10 * MEGABYTE)))
    with serve({"/": dripping(answer(HTML, content_length=10**9)[:5000], b"x")}) as server:
        fetch = options_for(server, max_bytes=10**9)
        sources = [file, endless, Url(server.url("/"))]
        images = [ImageRef(index, "x", source) for index, source in enumerate(sources)]
        (block,) = encode(images, FakeEngine(), PipelineOptions(fetch=fetch, images=options.images))

    codes = [block.failures[place].code for place in range(3)]
    assert codes == [FailureCode.NOT_AN_IMAGE] * 3


def test_a_file_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipcli.images.files.read_stream", pytest.fail)
    file = tmp_path / "x"
    with file.open("wb") as sparse:
        sparse.truncate(1 << 40)

    (block,) = encode([ImageRef(0, "x", file)], FakeEngine(), PipelineOptions())

    assert block.failures[0].code is FailureCode.TOO_MANY_BYTES


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("side", ["up", "down"])
def test_pixels_that_a_resize_would_multiply_are_never_made(
    monkeypatch: pytest.MonkeyPatch, side: str, reference: bool
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as the command does
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _self: pytest.fail("decoded"))
    images = ImageOptions(reference=reference)
    options = PipelineOptions(images=images, fetch=FetchOptions())
    data = thin_png()
    if side == "down":
        data = data[:16] + data[20:24] + data[16:20] + data[24:]
        header = data[12:29]
        data = data[:29] + struct.pack(">I", zlib.crc32(header)) + data[33:]

    (block,) = encode([ImageRef(0, "x", data)], FakeEngine(), options)

    assert block.failures[0].code is FailureCode.TOO_ELONGATED


def test_an_error_in_a_circle_is_let_go() -> None:
    class Held:
        pass

    def raising() -> None:
        big = Held()  # noqa: F841  it is the frame's
        error = InputError(FailureCode.DAMAGED, "x")
        try:
            raise ValueError
        except ValueError as cause:
            kept = cause
            raise error from kept

    with without_collector():
        try:
            raising()
        except InputError as error:
            caught = settled(error)
        assert not any(issubclass(type(one), Held) for one in gc.get_objects())
    assert (caught.code, caught.message) == (FailureCode.DAMAGED, "x")


# -- the whole command, by the peak of its process ----------------------------------------------

# A process of its own between: its only child is the run, so the peak of children is the run's.
WATCHER = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL,"
    " stderr=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def peak(folder: Path, *options: str) -> int:
    """Kilobytes that classifying all images of a folder takes at most."""
    command = [installed_command(), "-r", str(folder), "--model", "tiny", "-l", "a", "-l", "b"]
    run = subprocess.run(
        [sys.executable, "-c", WATCHER, *command, *options],
        env=unmeasured_environment(),
        capture_output=True,
        check=True,
    )
    return int(run.stdout)


def filled(folder: Path, data: bytes, count: int) -> Path:
    folder.mkdir()
    (folder / "0.jpg").write_bytes(data)
    for index in range(1, count):
        os.link(folder / "0.jpg", folder / f"{index}.jpg")
    return folder


@pytest.fixture(scope="module")
def whole_peak(tmp_path_factory: pytest.TempPathFactory) -> int:
    return peak(filled(tmp_path_factory.mktemp("whole") / "photos", large_photo(), 24))


def large_photo() -> bytes:
    with Image.open(PHOTOS / "rocket.jpg") as image:
        file = io.BytesIO()
        image.resize((3000, 2000)).save(file, "JPEG", quality=90)
    return file.getvalue()


def part_of_photo() -> bytes:
    data = large_photo()
    return data[: len(data) * 95 // 100]


@pytest.mark.parametrize(
    ("make", "count", "options"),
    [
        (part_of_photo, 24, ()),
        (part_of_photo, 24, ("--isolate",)),
        (part_of_photo, 24, ("--unordered",)),
        (thin_png, 12, ()),
        (lambda: bytes(50 * MEGABYTE), 24, ()),
        (lambda: bytes(50 * MEGABYTE), 24, ("--isolate",)),
    ],
    ids=["cut", "cut-isolated", "cut-unordered", "thin", "no-image", "no-image-isolated"],
)
def test_failures_take_no_more_memory_than_photos(
    tmp_path: Path, whole_peak: int, make: Callable[[], bytes], count: int, options: tuple[str, ...]
) -> None:
    assert peak(filled(tmp_path / "photos", make(), count), *options) < 1.5 * whole_peak
