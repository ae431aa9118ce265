"""How images go through the engine."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Protocol

from clipcli.engines.batches import DEFAULT_BATCH_SIZE
from clipcli.engines.hardware import available_cpus
from clipcli.errors import UsageError
from clipcli.heads.results import ScoreOptions
from clipcli.images.options import ImageOptions
from clipcli.images.web.options import FetchOptions

LULL_PLACES = 32
"""Places of a block that may be given in a lull, all of which the engine runs, empty or not."""

# More than processors, for pictures on a disk that answers late.
_WORKERS_A_PROCESSOR = 16
_MOST_DECODE_SECONDS = 24 * 60 * 60


def check_workers(count: int) -> None:
    """Refuse numbers of decoding threads that nothing has a use for.

    Raises:
        UsageError: there are none, or more than sixteen for each processor.
    """
    processors = available_cpus()
    most = _WORKERS_A_PROCESSOR * processors
    if not 1 <= count <= most:
        raise UsageError(
            f"--workers {count}: use 1 to {most} (this process may use {processors} processors)"
        )


def check_decode_seconds(seconds: float) -> None:
    """Refuse what is no time to wait for a decoder.

    Raises:
        UsageError: it is 0 or less, no number, or more than a day.
    """
    if not 0 < seconds <= _MOST_DECODE_SECONDS:
        raise UsageError(f"--decode-timeout is above 0 and at most {_MOST_DECODE_SECONDS:,} s")


class ThumbnailTaker(Protocol):
    """Who shows pictures of a run's images; asked and told in whatever thread decodes them."""

    @property
    def wants_large(self) -> bool:
        """Whether a large picture of the next image is wanted beside the small one."""

    def add_thumbnail(self, index: int, jpeg: bytes, large: bytes = b"") -> None:
        """Take the pictures of the image at a position in the input.

        Args:
            index: the position.
            jpeg: of at most 256 pixels a side.
            large: of at most 1,024; empty where there is none.
        """


@dataclass(frozen=True)
class PipelineOptions:
    """How images go through the engine.

    Attributes:
        batch_size: images in one run of the engine; no more than `LULL_PLACES` where results come
            in order and are given in lulls.
        workers: threads that read and decode; None for one a processor.
        images: what is accepted, and how it is prepared.
        fetch: what downloads may do; None for the defaults.
        scores: what of the scores is kept.
        ordered: results come in input order; without, as they are ready, and blocks are made of
            whatever is ready together.
        isolate_seconds: decode in processes of their own, each image within so many seconds;
            None decodes in this process.
        whole_blocks: nothing is given in a lull. The shape of the last block, and with it the last
            digits of its numbers, then do not depend on how fast the images came.
        stop: set when no more shall be begun; what waits for a thread is then forgotten.
        thumbnails: takes those of each image that has been decoded; None makes none. An image
            that comes open has none.

    Raises:
        UsageError: a number that is out of its range.
    """

    batch_size: int = DEFAULT_BATCH_SIZE
    workers: int | None = None
    images: ImageOptions = field(default_factory=ImageOptions)
    fetch: FetchOptions | None = None
    scores: ScoreOptions = field(default_factory=ScoreOptions)
    ordered: bool = True
    isolate_seconds: float | None = None
    # Off, so that whoever types names sees each answer; a file of results is read later.
    whole_blocks: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    thumbnails: ThumbnailTaker | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(f"a batch of {self.batch_size} images: there must be at least one")
        if self.workers is not None:
            check_workers(self.workers)
        if self.isolate_seconds is not None:
            check_decode_seconds(self.isolate_seconds)

    @property
    def block_size(self) -> int:
        """Images in a block: a whole batch where no block is ever given before it is full."""
        is_padded = self.ordered and not self.whole_blocks
        return min(self.batch_size, LULL_PLACES) if is_padded else self.batch_size

    @property
    def decoders(self) -> int:
        """Images that are decoded at once."""
        # Decoding holds no lock of the interpreter for long: a thread a processor keeps them all
        # busy.
        return self.workers or available_cpus()
