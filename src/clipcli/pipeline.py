"""Images through the engine: decoded ahead in threads, in blocks, results in input order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipcli.classifier import Failure, Result, ScoreOptions, ZeroShotHead
from clipcli.cpu import available_cpus
from clipcli.errors import InputError
from clipcli.images import ImageOptions, PreprocessConfig, load_image, open_image, preprocess
from clipcli.sources import ImageRef, Stream, Url, read_file, read_stream

if TYPE_CHECKING:
    from PIL.Image import Image

    from clipcli.engines.base import Engine
    from clipcli.fetch import FetchOptions

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class PipelineOptions:
    """How images go through the engine.

    Attributes:
        batch_size: images in one run of the engine.
        workers: threads that read and decode; None for one a processor.
        images: what is accepted, and how it is prepared.
        fetch: what downloads may do; None for the defaults.
        scores: what of the scores is kept.
    """

    batch_size: int = 32
    workers: int | None = None
    images: ImageOptions = field(default_factory=ImageOptions)
    fetch: FetchOptions | None = None
    scores: ScoreOptions = field(default_factory=ScoreOptions)


@dataclass(frozen=True)
class _Decoded:
    """One image ready for the engine, or what kept it from being so."""

    ref: ImageRef
    pixels: Float32 | InputError


def classify(
    refs: Iterable[ImageRef], engine: Engine, head: ZeroShotHead, options: PipelineOptions
) -> Iterator[Result]:
    """Classify images as they come, in their order.

    Block k holds inputs k * batch_size up to (k + 1) * batch_size, failures included, so that
    an image's result does not depend on whether its neighbours could be read.

    Yields:
        One result for each image.
    """
    decoded = _decode_ahead(refs, engine.info.preprocess, options)
    while block := list(islice(decoded, options.batch_size)):
        yield from _classify_block(block, engine, head, options.scores)


def _classify_block(
    block: list[_Decoded], engine: Engine, head: ZeroShotHead, options: ScoreOptions
) -> Iterator[Result]:
    refs = [image.ref for image in block]
    pixels = _stack(block)
    # Scored whole, holes and all: with fewer rows the others' last digits would differ.
    scored = () if pixels is None else head.score(refs, engine.encode_images(pixels), options)
    for image, result in zip_longest(block, scored):
        if isinstance(image.pixels, InputError):
            yield Failure.of(image.ref, image.pixels)
        else:
            yield result


def _stack(block: list[_Decoded]) -> Float32 | None:
    """Pixels of a whole block, shape (n, 3, height, width), zeros for a failure.

    None where nothing could be read: there is nothing to run.
    """
    read = {
        position: image.pixels
        for position, image in enumerate(block)
        if not isinstance(image.pixels, InputError)
    }
    if not read:
        return None
    shape = next(iter(read.values())).shape
    pixels = np.zeros((len(block), *shape), np.float32)
    for position, one in read.items():
        pixels[position] = one
    return pixels


def _decode_ahead(
    refs: Iterable[ImageRef], config: PreprocessConfig, options: PipelineOptions
) -> Iterator[_Decoded]:
    """Read and decode in threads, at most two blocks ahead of who takes the results."""
    pool = ThreadPoolExecutor(options.workers or available_cpus(), "clipcli-decode")
    ahead: deque[Future[_Decoded]] = deque()
    try:
        for ref in refs:
            ahead.append(pool.submit(_decode, ref, config, options))
            # One block for the engine, one to be decoded while it works.
            if len(ahead) > 2 * options.batch_size:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        # Not waited for: who interrupts a run does not want its slowest download first.
        pool.shutdown(wait=False, cancel_futures=True)


def _decode(ref: ImageRef, config: PreprocessConfig, options: PipelineOptions) -> _Decoded:
    try:
        image = _opened(ref, options)
        return _Decoded(ref, preprocess(image, config, options.images))
    except InputError as error:
        return _Decoded(ref, error)


def _opened(ref: ImageRef, options: PipelineOptions) -> Image:
    match ref.source:
        case InputError():
            raise ref.source
        case bytes() as data:
            pass
        case Path() as path:
            data = read_file(path, options.images.max_bytes)
        case Stream(file):
            data = read_stream(file, options.images.max_bytes)
        case Url(address):
            # A start without a URL is spared the import: six milliseconds.
            from clipcli.fetch import FetchOptions, fetch

            data = fetch(address, options.fetch or FetchOptions())
        case image:
            return load_image(image)
    return open_image(data, options.images)
