"""Images through the engine: read and decoded ahead in threads, in blocks of the input order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from clipcli.arrays import Float32
from clipcli.embeddings.rows import Block, unit_rows
from clipcli.engines.batches import check_batch_size
from clipcli.errors import FailureCode, InputError
from clipcli.heads.results import Failure, Result, ScoreOptions
from clipcli.heads.zero_shot import ZeroShotHead
from clipcli.images.feeder import FeedMarker
from clipcli.images.sources import ImageRef
from clipcli.images.views import Sight
from clipcli.runs.lookahead import Decoded, LookAhead
from clipcli.runs.options import PipelineOptions
from clipcli.runs.tiles import with_tiles

if TYPE_CHECKING:
    from clipcli.engines.base import Engine


# One block for the engine, and two to be decoded while it works: with one, the threads would
# idle while the block's last image is waited for.
_BLOCKS_AHEAD = 3


def classify(
    refs: Iterable[ImageRef | FeedMarker],
    engine: Engine,
    head: ZeroShotHead,
    options: PipelineOptions,
) -> Iterator[Result]:
    """Classify images as they come, in their order; `encode` says how.

    Returns:
        One result for each image.

    Raises:
        UsageError: the batches do not fit into memory; raised at once, before any image is read.
    """
    blocks = classify_blocks(refs, engine, head, options)
    return (result for block in blocks for result in block)


def classify_blocks(
    refs: Iterable[ImageRef | FeedMarker],
    engine: Engine,
    head: ZeroShotHead,
    options: PipelineOptions,
) -> Iterator[Sequence[Result]]:
    """Classify images as `classify`, in blocks as they are ready."""
    blocks = encode(refs, engine, options)
    return (score(block, head, options.scores) for block in blocks)


def score(block: Block, head: ZeroShotHead, options: ScoreOptions) -> Sequence[Result]:
    """Score a block's images.

    Returns:
        One result for each image, in the block's order.
    """
    rows, failures = block.embeddings, block.failures
    if rows is None:
        return [Failure.of(ref, failures[place]) for place, ref in enumerate(block.refs)]
    scored = head.score(block.refs, rows, options)
    return replace(scored, failures=failures, sights=block.sights)


def encode(
    refs: Iterable[ImageRef | FeedMarker], engine: Engine, options: PipelineOptions
) -> Iterator[Block]:
    """Embed images as they come, in blocks of their order.

    Block k holds inputs k * size up to (k + 1) * size, failures included, so that an image's
    embedding does not depend on whether its neighbours could be read; the size is the options'
    `block_size`. A block that is given before it is full, in a lull, is run in its full shape,
    empty places and all: an image's embedding does not depend on when its neighbours came, either.

    Where images are given as they are ready, blocks are of what is ready, and have no empty places.

    Args:
        refs: the images; pulled at most three blocks ahead of what is given. A `LULL` among them
            gives what is there.
        engine: that runs in the caller's thread.
        options: how.

    Raises:
        UsageError: the batches do not fit into memory; raised at once, before any image is read.
    """
    check_batch_size(options.block_size, engine.info)
    return _encoded(refs, engine, options)


def _encoded(
    refs: Iterable[ImageRef | FeedMarker], engine: Engine, options: PipelineOptions
) -> Iterator[Block]:
    size = options.block_size
    in_a_lull = _BLOCKS_AHEAD * (not options.whole_blocks)
    begun = 0  # images of the current block that have been given already

    def given(images: Sequence[Decoded], *, is_last: bool = False) -> Block:
        nonlocal begun
        is_whole = is_last and not begun
        first, places = begun, len(images) if is_whole else size
        if not options.ordered:
            first, places = 0, len(images)
        else:
            begun = (begun + len(images)) % size
        return _block(images, _embed(images, engine, first, places), engine, size)

    with LookAhead(engine.info.preprocess, options) as ahead:
        for ref in refs:
            if options.stop.is_set():
                break  # what has not been begun is left out when it is waited for
            if isinstance(ref, ImageRef):
                ahead.submit(ref)
                if len(ahead) < _BLOCKS_AHEAD * size:
                    continue
            # Everything in a lull, else one block.
            for _ in range(1 if isinstance(ref, ImageRef) else in_a_lull):
                if images := ahead.take(size - begun):
                    yield given(images)
        while images := ahead.take(size - begun):
            # The last block of all has no empty places, unless it is given in parts.
            yield given(images, is_last=not len(ahead))


def _embed(images: Sequence[Decoded], engine: Engine, first: int, size: int) -> Float32 | None:
    """Run images as the places from `first` on of a block of so many."""
    pixels = _stack(images, first, size)
    return None if pixels is None else engine.encode_images(pixels)[first : first + len(images)]


def _block(
    images: Sequence[Decoded], rows: Float32 | None, engine: Engine, batch_size: int
) -> Block:
    """Images and their embeddings; those of pictures in tiles become the whole pictures'."""
    failures: dict[int, InputError] = {}
    sights: dict[int, Sight] = {}
    if rows is not None:
        rows = with_tiles(rows, [image.image for image in images], engine, batch_size)
        failures = unusable(rows)
        # What is computed with them later must warn of nothing.
        rows[list(failures)] = 0
    for position, image in enumerate(images):
        if isinstance(image.image, InputError):
            failures[position] = image.image  # the first reason is the one to tell
        elif image.image.sight.is_worth_telling:
            sights[position] = image.image.sight
    return Block([image.ref for image in images], rows, failures, sights)


def unusable(rows: Float32) -> dict[int, InputError]:
    """Which rows of an array, shape (n, embed_dim), are no embeddings, and what to say of them."""
    message = "the model's embedding of this image is not finite"
    return {
        position: InputError(FailureCode.NOT_FINITE, message)
        for position in np.flatnonzero(~unit_rows(rows)).tolist()
    }


def _stack(images: Sequence[Decoded], first: int, size: int) -> Float32 | None:
    """Pixels of a whole block, shape (size, 3, height, width), zeros where there is no image.

    None where nothing could be read: there is nothing to run.
    """
    read = {
        position: image.image.pixels
        for position, image in enumerate(images, first)
        if not isinstance(image.image, InputError)
    }
    if not read:
        return None
    pixels = np.zeros((size, *next(iter(read.values())).shape), np.float32)
    for position, one in read.items():
        pixels[position] = one
    return pixels
