"""The process in which strangers' images are decoded: what it is told, and how it answers.

It reads its settings and then image after image from its standard input, each with its length in
front and, in a byte, how many thumbnails are wanted: none, the small one, or the large one, too.
It answers on its standard output: one byte for the kind, then what is known of the image (`HEAD`)
and its pixels and other tiles, whose size is known beforehand, or a failure's code and message with
their length in front. The thumbnails follow the pixels, each with its length in front. The worker
has decoded bytes of strangers, so nothing that it says is to be unpickled or taken on trust.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from struct import Struct

from PIL import Image

from clipcli.errors import InputError
from clipcli.images.decoding import decode_marked, lift_pillow_limit
from clipcli.images.options import ImageOptions
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.images.thumbnails import thumbnails

READY, PIXELS, FAILURE = b"R", b"P", b"F"
"""The kinds of answers."""

HEAD = Struct("<?dB")
"""Whether the file is cut short, the share that is seen, and how many tiles follow the first."""

LENGTH_BYTES = 8
MAX_FAILURE_BYTES = 10_000

# What an image may take while it is decoded: the greediest, JPEG 2000, has 12 bytes a pixel in
# its decoder, as many again in its tiles, and 4 as Pillow's own. Beside it, the libraries.
_BYTES_PER_PIXEL = 32
_BYTES_BESIDE = 1 << 30

# How much later than its parent a worker ends itself: only if there is no parent any more.
_ORPHAN_SECONDS = 5


def serve() -> None:
    """A worker's life: read settings, then decode image after image until the input ends."""
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    config, options, seconds = pickle.load(requests)  # noqa: S301  the parent's own
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lift_pillow_limit()
    Image.init()  # all plug-ins, or the first image's time would go into their import
    _limit_resources(options)
    _silence()
    answers.write(READY)
    answers.flush()
    while length := requests.read(LENGTH_BYTES):
        wanted = requests.read(1)[0]
        data = requests.read(int.from_bytes(length))
        with _end_of_an_orphan(seconds):
            answer = _answer_to(data, config, options)
            if wanted and not answer.startswith(FAILURE):
                answer += _thumbnails_of(data, config, options, wanted)
        answers.write(answer)
        answers.flush()
        del data, answer  # an idle process keeps nothing


def _answer_to(data: bytes, config: PreprocessConfig, options: ImageOptions) -> bytes:
    try:
        found = decode_marked(data, config, options)
        head = HEAD.pack(found.sight.truncated, found.sight.seen, len(found.others))
        return PIXELS + head + found.pixels.tobytes() + found.others.tobytes()
    except InputError as error:
        text = f"{error.code}\n{error.message[: MAX_FAILURE_BYTES // 8]}"
        encoded = text.encode(errors="backslashreplace")
        return FAILURE + len(encoded).to_bytes(LENGTH_BYTES) + encoded


def _thumbnails_of(
    data: bytes, config: PreprocessConfig, options: ImageOptions, wanted: int
) -> bytes:
    jpegs = thumbnails(data, options, config, large=wanted > 1)[:wanted]
    return b"".join(len(jpeg).to_bytes(LENGTH_BYTES) + jpeg for jpeg in jpegs)


def _silence() -> None:
    """Drop what decoders print: it would tear the answers, and a picture's author words it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


def _limit_resources(options: ImageOptions) -> None:
    """Let no decoder fill the machine's memory, or its disk with what is left of the dead."""
    if sys.platform == "linux":  # elsewhere the limit of memory does not hold, or does not exist
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        limit = _BYTES_BESIDE + options.max_bytes + options.max_pixels * _BYTES_PER_PIXEL
        _, highest = resource.getrlimit(resource.RLIMIT_DATA)
        if highest == resource.RLIM_INFINITY or limit < highest:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


@contextmanager
def _end_of_an_orphan(seconds: float) -> Iterator[None]:
    """End this process if its parent, who would have done so, is gone while a decoder hangs."""
    if not hasattr(signal, "alarm"):  # Windows
        yield
        return
    signal.alarm(ceil(seconds) + _ORPHAN_SECONDS)  # the default action ends even a loop in C
    yield
    signal.alarm(0)
