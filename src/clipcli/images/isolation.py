"""Decoding in processes of their own, which may hang or die without taking the run along."""

from __future__ import annotations

import math
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import LifoQueue
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from clipcli.arrays import Float32
from clipcli.errors import ClipcliError, FailureCode, InputError
from clipcli.images.options import ImageOptions
from clipcli.images.prepared import Prepared
from clipcli.images.preprocessing import MOST_TILES, PreprocessConfig
from clipcli.images.thumbnails import LARGE_MAX_BYTES, MAX_BYTES, Thumbnails
from clipcli.images.views import Sight
from clipcli.images.worker import (
    FAILURE,
    HEAD,
    LENGTH_BYTES,
    MAX_FAILURE_BYTES,
    PIXELS,
    READY,
)

# The import path comes from the parent, who found this package on it; -I keeps the environment
# and the current folder from adding to it.
_START = "import sys; sys.path[:] = sys.argv[1:]; from clipcli.images.worker import serve; serve()"

# A start takes 0.2 s; a machine that needs hundreds of times as long decodes nothing either.
_START_SECONDS = 60.0

# How long one may go on that talks nonsense, and one may take to end that has hung up already: it
# may have to write its memory to a core file, and a hostile one must not hold its place for long.
_NONSENSE_SECONDS = 1.0
_END_SECONDS = 10.0


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """What a process has made of an image.

    Attributes:
        image: as the model wants it.
        thumbnails: those that are wanted and can be made.
    """

    image: Prepared
    thumbnails: Thumbnails


class DecoderPool:
    """Processes that decode images, each started when it is first needed.

    Args:
        config: how the model wants its pixels.
        options: what is accepted as an image.
        seconds: that one image may take; the start of a process does not count.
        workers: processes at most; so many calls of `pixels` run at once, others wait.

    Example:
        >>> with DecoderPool(config, ImageOptions(), seconds=10, workers=2) as pool:
        ...     pixels = pool.pixels(data)
    """

    def __init__(
        self,
        config: PreprocessConfig,
        options: ImageOptions,
        seconds: float,
        workers: int,
    ) -> None:
        self._settings = _Settings(config, options, seconds)
        # Last in, first out: a worker that runs already is taken before one is started.
        self._idle: LifoQueue[_Worker | None] = LifoQueue()
        for _ in range(workers):
            self._idle.put(None)
        self._lock = threading.Lock()
        self._running: set[_Worker] = set()
        self._is_closed = False

    def __enter__(self) -> DecoderPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pixels(self, data: bytes) -> Float32:
        """Turn an encoded image into the model's input, as `images.decode` does.

        May be called from several threads.

        Returns:
            Normalised pixels of shape (3, height, width).

        Raises:
            InputError: as `images.decode` does, or the decoder hung or died.
            ClipcliError: no process can be started, or the pool is closed.
        """
        return self.decoded(data).image.pixels

    def decoded(self, data: bytes, thumbnails: int = 0) -> DecodedImage:
        """An image's pixels as `pixels` gives them, and what else is known of it.

        Args:
            data: the image, as it is in its file.
            thumbnails: how many are wanted: none, the small one, or the large one, too.
        """
        worker = self._idle.get()
        try:
            # One that died while it was idle did not die of this image.
            if worker is None or not worker.is_alive():
                worker = self._replace(worker)
            try:
                return worker.decoded(data, thumbnails)
            except _DecoderDiedError:
                # It may have died of what an earlier image did to its memory.
                if worker.images == 1:
                    raise
            worker = self._replace(worker)
            return worker.decoded(data, thumbnails)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End all processes, those that decode an image included."""
        with self._lock:
            self._is_closed = True
            running, self._running = self._running, set()
        for worker in running:
            worker.end()

    def _replace(self, worker: _Worker | None) -> _Worker:
        """A new worker in the place of one that has died, if there was any."""
        # Under the lock, so that none can be started behind the back of `close`.
        with self._lock:
            if worker is not None:
                self._running.discard(worker)
                worker.end()
            if self._is_closed:
                raise ClipcliError("the pool of decoders is closed")
            worker = _Worker(self._settings)
            self._running.add(worker)
        worker.wait_until_ready()
        return worker


class _DecoderDiedError(InputError):
    """The process ended, or said what no decoder says."""

    def __init__(self, cause: str) -> None:
        super().__init__(FailureCode.DECODER_DIED, f"the process that decoded it died ({cause})")


@dataclass(frozen=True)
class _Settings:
    """What a worker is told at its start."""

    config: PreprocessConfig
    options: ImageOptions
    seconds: float

    def pickled(self) -> bytes:
        return pickle.dumps((self.config, self.options, self.seconds))


class _Worker:
    """One process, used by one thread at a time.

    Attributes:
        images: how many it has been given.
    """

    def __init__(self, settings: _Settings) -> None:
        self.images = 0
        self._settings = settings
        try:
            self._process = subprocess.Popen(  # noqa: S603  our own interpreter
                [sys.executable, "-I", "-c", _START, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Decoding multiplies no matrices: a thread a processor would only cost memory.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
                # Ctrl-C is for the parent alone, who finishes what is in flight.
                start_new_session=True,
            )
        except OSError as error:
            message = f"no process for decoding can be started ({error.strerror})"
            raise ClipcliError(message) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests: IO[bytes] = self._process.stdin
        self._answers: IO[bytes] = self._process.stdout

    def wait_until_ready(self) -> None:
        """Wait until everything is imported.

        Raises:
            ClipcliError: it ended before, or took too long.
        """
        with self._limit(_START_SECONDS), suppress(OSError, ValueError):
            self._requests.write(self._settings.pickled())
            self._requests.flush()
            if self._answers.read(1) == READY:
                return
        cause = self._cause_of_death()
        self.end()
        raise ClipcliError(f"a process for decoding ended at its start ({cause})")

    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def decoded(self, data: bytes, thumbnails: int) -> DecodedImage:
        """Have one image decoded; whoever fails to answer is ended."""
        self.images += 1
        answer: DecodedImage | InputError | None = None
        try:
            # ValueError: nonsense for an answer, or pipes that `close` has closed.
            with self._limit(self._settings.seconds) as is_over, suppress(OSError, ValueError):
                self._ask(data, thumbnails)
                answer = self._answer(thumbnails)
        except BaseException:  # after Ctrl-C the answer would be taken for the next image's
            self.end()
            raise
        if is_over.is_set():
            self.end()
            message = f"took too long to decode (--decode-timeout is {self._settings.seconds:g} s)"
            raise InputError(FailureCode.DECODER_TIMEOUT, message)
        if answer is None:
            cause = self._cause_of_death()
            self.end()
            raise _DecoderDiedError(cause)
        if isinstance(answer, InputError):
            raise answer
        return answer

    def _ask(self, data: bytes, thumbnails: int) -> None:
        self._requests.write(len(data).to_bytes(LENGTH_BYTES) + bytes([thumbnails]))
        self._requests.write(data)
        self._requests.flush()

    def _answer(self, thumbnails: int) -> DecodedImage | InputError:
        kind = self._answers.read(1)
        if kind == PIXELS:
            image = self._image()
            most = (MAX_BYTES, LARGE_MAX_BYTES)[:thumbnails]
            return DecodedImage(image, Thumbnails(*map(self._part, most)))
        if kind == FAILURE:
            code, _, message = self._part(MAX_FAILURE_BYTES).decode().partition("\n")
            return InputError(FailureCode(code), message)
        raise ValueError(kind)

    def _image(self) -> Prepared:
        """An image, and how much of it is to be seen.

        Raises:
            ValueError: it is cut short, or what is said of it cannot be.
        """
        head = self._answers.read(HEAD.size)
        if len(head) < HEAD.size:
            raise ValueError(head)
        truncated, seen, others = HEAD.unpack(head)
        settings = self._settings
        most = MOST_TILES - 1 if settings.options.fit == "tiles" else 0
        if not (0 <= seen <= 1 and others <= most):
            raise ValueError(head)
        size = settings.config.size
        pixels = self._array((3, *size), np.float32)
        return Prepared(pixels, self._array((others, *size, 3), np.uint8), Sight(truncated, seen))

    def _array(self, shape: tuple[int, ...], kind: type[np.generic]) -> NDArray[Any]:
        values = np.empty(math.prod(shape), kind)
        values.data.cast("B")[:] = self._answers.read(values.nbytes)
        return values.reshape(shape)

    def _part(self, most: int) -> bytes:
        """What has its length in front.

        Raises:
            ValueError: it is longer than it may be, or cut short.
        """
        header = self._answers.read(LENGTH_BYTES)
        length = int.from_bytes(header)
        data = self._answers.read(min(length, most))
        if len(header) < LENGTH_BYTES or len(data) < length:
            raise ValueError(length)
        return data

    @contextmanager
    def _limit(self, seconds: float) -> Iterator[threading.Event]:
        """Kill the process after so many seconds, which ends all reading and writing.

        Yields:
            What is set if that happened.
        """
        is_over = threading.Event()

        def kill() -> None:
            is_over.set()
            self._process.kill()

        timer = threading.Timer(seconds, kill)
        timer.daemon = True
        timer.start()
        try:
            yield is_over
        finally:
            timer.cancel()
            timer.join()  # it may be at its work just now

    def _cause_of_death(self) -> str:
        # One that ends hangs up first, on a busy machine long before it is gone; one that does not
        # talks nonsense.
        with self._limit(_NONSENSE_SECONDS) as is_over, suppress(OSError, ValueError):
            while self._answers.read(1 << 16):
                pass
        if is_over.is_set():
            return "its answer made no sense"
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        match self._process.returncode:
            case None:
                return "it hung up"
            case int(status) if status < 0 and -status in set(signal.Signals):
                return signal.Signals(-status).name
            case status:
                return f"exit status {status}"

    def end(self) -> None:
        """Kill the process, if it still runs, and wait for its end."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._requests, self._answers):
            with suppress(OSError):  # what was not written yet cannot be any more
                pipe.close()
