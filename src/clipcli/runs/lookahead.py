"""Images read and decoded ahead in threads: from files, from the network, in other processes."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from clipcli.errors import InputError, settled
from clipcli.images.decoding import check_start, decode_marked, load_image, prepare
from clipcli.images.prepared import Prepared
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.images.reading import read_bytes
from clipcli.images.sources import ImageRef, Url
from clipcli.images.web.options import FetchOptions

if TYPE_CHECKING:
    from clipcli.images.isolation import DecoderPool
    from clipcli.images.web.fetch import Fetcher
    from clipcli.runs.options import PipelineOptions


# A signal that comes at the very moment in which a wait begins is heeded only when the wait ends,
# and a wait for a slow server is long.
_LONGEST_WAIT_SECONDS = 0.2


@dataclass(frozen=True, eq=False)
class Decoded:
    """One image ready for the engine, or what kept it from being so.

    Attributes:
        ref: the image.
        image: as the engine wants it.
    """

    ref: ImageRef
    image: Prepared | InputError


class LookAhead:
    """Images that are being read and decoded in threads.

    Taken in the order in which they were submitted or, with `ordered` off, as they are ready.
    """

    def __init__(self, config: PreprocessConfig, options: PipelineOptions) -> None:
        self._config = config
        self._options = options
        self._images = ThreadPoolExecutor(options.decoders, "clipcli-decode")
        self._isolated = _decoder_pool(config, options)
        self._submitted: deque[Future[Decoded]] = deque()
        self._ready: SimpleQueue[Future[Decoded]] = SimpleQueue()

    def __enter__(self) -> LookAhead:
        return self

    def __exit__(self, *_error: object) -> None:
        # Not waited for: who interrupts a run does not want its slowest download first.
        self._images.shutdown(wait=False, cancel_futures=True)
        if "_downloads" in self.__dict__:
            self._downloads.fetcher.close()
            self._downloads.pool.shutdown(wait=False, cancel_futures=True)
        if self._isolated is not None:
            self._isolated.close()

    def __len__(self) -> int:
        return len(self._submitted)

    def submit(self, ref: ImageRef) -> None:
        """Begin with an image as soon as a thread is free."""
        if isinstance(ref.source, Url):
            future = self._downloads.pool.submit(self._decoded, ref)
        else:
            future = self._images.submit(self._decoded, ref)
        self._submitted.append(future)
        if not self._options.ordered:
            future.add_done_callback(self._ready.put)

    def take(self, count: int) -> list[Decoded]:
        """The next images, waited for; fewer where fewer are left or, as ready, others are late."""
        taken: list[Decoded] = []
        while len(taken) < count and (future := self._next(may_be_late=not taken)) is not None:
            taken.append(future.result())
        return taken

    def _drop_waiting(self) -> None:
        """Forget the images that no thread has begun with and, in input order, those behind."""
        submitted = list(self._submitted)
        # From the end, or a thread that becomes free would begin with the next.
        waiting = {future for future in reversed(submitted) if future.cancel()}
        choose = takewhile if self._options.ordered else filter
        self._submitted = deque(choose(lambda future: future not in waiting, submitted))

    def _next(self, *, may_be_late: bool) -> Future[Decoded] | None:
        """An image that is done; None where none is left or, unordered, the next one is late."""
        while self._submitted:
            future = self._done_by_now()
            if future is not None:
                self._submitted.remove(future)
                return future
            if self._options.stop.is_set():
                self._drop_waiting()
            if not (self._options.ordered or may_be_late):
                return None  # what is ready does not wait for it
        return None

    def _done_by_now(self) -> Future[Decoded] | None:
        """The next image after a short wait; None where it is not done by then."""
        if self._options.ordered:
            first = self._submitted[0]
            if not first.done():
                wait([first], _LONGEST_WAIT_SECONDS)
            return first if first.done() else None
        with suppress(Empty):
            future = self._ready.get(timeout=_LONGEST_WAIT_SECONDS)
            return None if future.cancelled() else future
        return None

    def _decoded(self, ref: ImageRef) -> Decoded:
        try:
            return Decoded(ref, self._prepared(ref))
        except InputError as error:
            return Decoded(ref, settled(error))

    def _prepared(self, ref: ImageRef) -> Prepared:
        images = self._options.images
        if ref.open_image is not None:
            return prepare(load_image(ref.open_image), self._config, images)
        is_fetched = isinstance(ref.source, Url)
        data = read_bytes(ref, images, self._fetch)
        with self._downloads.decoding if is_fetched else nullcontext():
            return self._decode(ref, data)

    def _fetch(self, address: str) -> bytes:
        images = self._options.images
        return self._downloads.fetcher.fetch(address, lambda start: check_start(start, images))

    def _decode(self, ref: ImageRef, data: bytes) -> Prepared:
        taker = self._options.thumbnails
        jpegs: tuple[bytes, ...] = ()
        if self._isolated is not None:
            wanted = 0 if taker is None else 1 + taker.wants_large
            found = self._isolated.decoded(data, wanted)
            image, jpegs = found.image, found.thumbnails
        else:
            image = decode_marked(data, self._config, self._options.images)
            if taker is not None:
                from clipcli.images.thumbnails import thumbnails

                options = self._options.images
                jpegs = thumbnails(data, options, self._config, large=taker.wants_large)
        if taker is not None and any(jpegs):
            taker.add_thumbnail(ref.index, *jpegs)
        return image

    @cached_property
    def _downloads(self) -> _Downloads:
        # A start without a URL is spared the import: six milliseconds.
        from clipcli.images.web.fetch import Fetcher

        options = self._options.fetch or FetchOptions()
        return _Downloads(
            Fetcher(options),
            ThreadPoolExecutor(options.concurrency, "clipcli-fetch"),
            threading.Semaphore(self._options.decoders),
        )


@dataclass(frozen=True)
class _Downloads:
    """Threads that wait for the network, more than there are processors to decode with."""

    fetcher: Fetcher
    pool: ThreadPoolExecutor
    decoding: threading.Semaphore


def _decoder_pool(config: PreprocessConfig, options: PipelineOptions) -> DecoderPool | None:
    if options.isolate_seconds is None:
        return None
    from clipcli.images.isolation import DecoderPool

    return DecoderPool(config, options.images, options.isolate_seconds, options.decoders)
