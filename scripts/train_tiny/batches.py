"""Training batches: pictures drawn, cropped and flipped at random, ahead of their use."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scripts.train_tiny.pictures import SIDE, Pictures
from scripts.train_tiny.runtime import SEED

SIZE = 256
MORE_SIZE = 80
LOOK_AHEAD = 4


class Batch(NamedTuple):
    """Pictures for one step.

    Attributes:
        images: Shape (256, side, side, 3), uint8; the side differs from batch to batch.
        labels: Shape (256,), int64.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def epochs(pictures: Pictures, smallest_crop: Callable[[], int]) -> Iterator[Batch]:
    """Yield batches for ever: all pictures in a new random order, again and again.

    Args:
        pictures: What to draw from.
        smallest_crop: Asked before each batch: the least side of a crop, in pixels.

    Raises:
        ValueError: If there are too few pictures for one batch.
    """
    if len(pictures) < SIZE:
        raise ValueError(f"{len(pictures)} pictures do not fill a batch of {SIZE}")
    rng = np.random.default_rng(SEED)
    while True:
        order = rng.permutation(len(pictures))
        for start in range(0, len(order) - SIZE + 1, SIZE):
            # In order of place, so that memory is read forwards.
            rows = np.sort(order[start : start + SIZE])
            images = _augmented(pictures.images[rows], smallest_crop(), rng)
            yield Batch(images, pictures.labels[rows])


def mixed(base: Pictures, more: Pictures, smallest_crop: Callable[[], int]) -> Iterator[Batch]:
    """Yield batches for ever: 176 pictures of one collection and 80 of another, any time again.

    Args:
        base: The larger collection.
        more: The smaller one, which so comes up more often a picture.
        smallest_crop: Asked before each batch: the least side of a crop, in pixels.
    """
    rng = np.random.default_rng(SEED)
    while True:
        base_rows = rng.integers(0, len(base), SIZE - MORE_SIZE)
        more_rows = rng.integers(0, len(more), MORE_SIZE)
        images = np.concatenate([base.images[base_rows], more.images[more_rows]])
        labels = np.concatenate([base.labels[base_rows], more.labels[more_rows]])
        yield Batch(_augmented(images, smallest_crop(), rng), labels)


def prefetched(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield the same batches, the next few of them prepared in a thread meanwhile."""
    with ThreadPoolExecutor(1) as executor:
        ahead = deque(executor.submit(next, batches) for _ in range(LOOK_AHEAD))
        while True:
            ahead.append(executor.submit(next, batches))
            yield ahead.popleft().result()


def _augmented(
    images: NDArray[np.uint8], smallest_crop: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Crop images at random places, all to one random side, and flip about half of them."""
    count = len(images)
    side = int(rng.integers(smallest_crop, SIDE + 1))
    tops = rng.integers(0, SIDE - side + 1, count)
    lefts = rng.integers(0, SIDE - side + 1, count)
    flips = rng.random(count) < 0.5
    crops = np.empty((count, side, side, 3), np.uint8)
    for row, (top, left, flip) in enumerate(zip(tops, lefts, flips, strict=True)):
        crop = images[row, top : top + side, left : left + side]
        crops[row] = crop[:, ::-1] if flip else crop
    return crops
