"""How images go through the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from clipcli.engines.hardware import available_cpus
from clipcli.heads.results import ScoreOptions
from clipcli.images.options import ImageOptions
from clipcli.images.web.options import FetchOptions


@dataclass(frozen=True)
class PipelineOptions:
    """How images go through the engine.

    Attributes:
        batch_size: images in one run of the engine.
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
        thumbnails: takes the thumbnail, a JPEG, of the image at a position in the input, whenever
            one has been decoded, in whatever thread; None makes none. An image that comes open
            has none.
    """

    # Larger ones are hardly faster on a processor, take more memory, and let the first answer wait.
    batch_size: int = 32
    workers: int | None = None
    images: ImageOptions = field(default_factory=ImageOptions)
    fetch: FetchOptions | None = None
    scores: ScoreOptions = field(default_factory=ScoreOptions)
    ordered: bool = True
    isolate_seconds: float | None = None
    # Off, so that whoever types names sees each answer; a file of results is read later.
    whole_blocks: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    thumbnails: Callable[[int, bytes], None] | None = None

    @property
    def decoders(self) -> int:
        """Images that are decoded at once."""
        # Decoding holds no lock of the interpreter for long: a thread a processor keeps them all
        # busy.
        return self.workers or available_cpus()
