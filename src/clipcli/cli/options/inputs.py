"""Options that say which images there are, and how they are read."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import click

from clipcli.cli.options.groups import argument, group, option
from clipcli.errors import UsageError
from clipcli.images.formats import EXTRA_FORMATS
from clipcli.images.options import (
    DEFAULT_MAX_BYTES,
    DEFAULT_MAX_PIXELS,
    FITS,
    MOST_BYTES,
    MOST_PIXELS,
    PREPROCESSINGS,
    ImageOptions,
)
from clipcli.images.sources import (
    STDIN,
    ImageRef,
    Shard,
    SourceOptions,
    expand,
    is_pattern,
    read_names,
)
from clipcli.images.web.options import MOST_AT_ONCE, FetchOptions
from clipcli.runs.options import check_decode_seconds, check_workers

DEFAULT_DECODE_SECONDS = 20.0


@group("Images")
class NamingFlags:
    """Which images there are.

    Raises:
        UsageError: options that do not go together, or standard input named twice.
    """

    images: tuple[str, ...] = argument(nargs=-1, type=click.Path(), metavar="IMAGE...")
    recursive: bool = option(
        "-r", "--recursive", is_flag=True, help="Search folders, and folders in them, for images."
    )
    hidden: bool = option(
        "--hidden",
        is_flag=True,
        help="Folders and patterns give hidden files and folders (.name), too.",
    )
    files_from: str | None = option(
        "--files-from",
        metavar="FILE",
        type=click.Path(allow_dash=True),
        help="Read image names from FILE (- for standard input), one a line.",
    )
    null_separated: bool = option(
        "-0",
        "--null",
        is_flag=True,
        help="In the list, names end with NUL, as `find -print0` writes them.",
    )
    shard: str | None = option(
        "--shard",
        metavar="I/N",
        help="Take only the I-th of N equal parts of the images, from 1/N to N/N.",
    )

    def __post_init__(self) -> None:
        # It has one end: the second reader would find it empty, and fail for no visible reason.
        if [*self.images, self.files_from].count(STDIN) > 1:
            raise UsageError("standard input can be read only once: as one image or as one list")
        if self.null_separated and self.files_from is None:
            raise UsageError("-0 goes with a list: --files-from FILE, or - for standard input")

    @property
    def names_images(self) -> bool:
        """Whether any image, or a list of them, is named."""
        # An empty list names none, but that is only known when it has been read.
        return bool(self.images) or self.files_from is not None

    @property
    def reads_image_from_stdin(self) -> bool:
        """Whether the bytes of an image come on standard input."""
        return STDIN in self.images

    @property
    def reads_stdin(self) -> bool:
        """Whether standard input is taken: by an image or by a list."""
        return STDIN in (*self.images, self.files_from)

    def check_named(self) -> None:
        """See that there are images.

        Raises:
            UsageError: none are named.
        """
        if not self.names_images:
            raise UsageError("no images: name files, URLs, - for standard input, or --files-from")

    def source_options(self) -> SourceOptions:
        """How names are understood, and which part of them is meant.

        Raises:
            UsageError: there is no such part.
        """
        shard = Shard() if self.shard is None else Shard.parse(self.shard)
        return SourceOptions(self.recursive, self.null_separated, shard, self.hidden)

    def refs(self, stack: ExitStack) -> Iterator[ImageRef]:
        """The images, to be pulled one by one; a list is closed with the stack.

        Raises:
            UsageError: the list cannot be read.
        """
        return expand(self.images, self._list(stack), sys.stdin.buffer, self.source_options())

    def _list(self, stack: ExitStack) -> IO[bytes] | None:
        if self.files_from is None:
            return None
        if self.files_from == STDIN:
            return sys.stdin.buffer
        try:
            # Unbuffered: a buffer cannot be closed while a thread waits in it for the next name,
            # and whoever writes into a pipe may take for ever.
            return stack.enter_context(Path(self.files_from).open("rb", buffering=0))
        except OSError as error:
            raise UsageError(
                f"cannot read --files-from {self.files_from} ({error.strerror})"
            ) from error

    def has_slow_list(self) -> bool:
        """Whether names may come in a trickle: from a pipe, a terminal, anything but a file."""
        if self.files_from is None:
            return False
        try:
            file = sys.stdin.fileno() if self.files_from == STDIN else self.files_from
            return not stat.S_ISREG(os.stat(file).st_mode)
        except OSError:  # no file at all: whatever it is, waiting for it does no harm
            return True

    def image_count(self) -> int | None:
        """How many images the command line names; None where a list or a folder tells."""
        # A pattern's files are not counted: that would be searching the folders twice.
        is_open = self.recursive or self.files_from is not None or any(map(is_pattern, self.images))
        return None if is_open else len(self.images)

    def total(self) -> int | None:
        """How many images there will be, where that can be known without searching for them."""
        count = self.image_count()
        if count is None:
            if self.recursive or any(map(is_pattern, self.images)) or self.has_slow_list():
                return None
            if self.files_from in (None, STDIN):
                return None  # counting what comes on standard input would use it up
            count = len(self.images) + self._list_length(str(self.files_from))
        # Every N-th image from the I-th on: as many as the range has numbers.
        shard = self.source_options().shard
        return len(range(shard.number - 1, count, shard.count))

    @property
    def can_be_counted(self) -> bool:
        """Whether searching for the images twice finds the same ones: nothing comes from a pipe."""
        return not self.reads_stdin and not self.has_slow_list()

    def count(self) -> int:
        """How many images there are, found out by searching for them."""
        with ExitStack() as stack:
            return sum(1 for _ in self.refs(stack))

    def _list_length(self, file: str) -> int:
        separator = b"\0" if self.null_separated else b"\n"
        with Path(file).open("rb") as stream:
            return sum(1 for _ in read_names(stream, separator))


@group("Reading images")
class ReadingFlags:
    """What is accepted as an image, and how it is prepared.

    Raises:
        UsageError: options that do not go together.
    """

    extra_formats: tuple[str, ...] = option(
        "--allow-format",
        multiple=True,
        type=click.Choice(list(EXTRA_FORMATS)),
        help="Also open images of this format.",
    )
    max_bytes: int | None = option(
        "--max-bytes",
        type=click.IntRange(1, MOST_BYTES),
        metavar="N",
        help=f"Refuse larger files.  [default: {DEFAULT_MAX_BYTES:,}; from the network"
        f" {FetchOptions.max_bytes:,}]",
    )
    max_pixels: int | None = option(
        "--max-pixels",
        type=click.IntRange(1, MOST_PIXELS),
        metavar="N",
        help=f"Refuse larger images.  [default: {DEFAULT_MAX_PIXELS:,}]",
    )
    preprocess: str = option(
        "--preprocess",
        type=click.Choice(PREPROCESSINGS),
        default=PREPROCESSINGS[0],
        show_default=True,
        help="plain: upright, on white, in sRGB, 16 bits scaled. reference: exactly open_clip's"
        " transform.",
    )
    fit: Any = option(
        "--fit",
        type=click.Choice(FITS),
        help="How a picture becomes the model's square. crop: its middle. pad: all, with a border."
        " squash: all, out of proportion. tiles: all, in overlapping squares, averaged.  [default:"
        " as the model was trained]",
    )
    allow_truncated: bool = option(
        "--allow-truncated",
        is_flag=True,
        help="Take pictures whose file is cut short; what is missing is grey, the record says so.",
    )

    def __post_init__(self) -> None:
        # A slip of the pen should not have to wait for a model.
        self.image_options()

    def image_options(self, *, fast_decode: bool = False) -> ImageOptions:
        """What is accepted and how it is prepared, for the rooms that read images.

        Raises:
            UsageError: fast decoding, or a fit, together with the reference's preprocessing.
        """
        return ImageOptions(
            max_bytes=self.max_bytes or DEFAULT_MAX_BYTES,
            max_pixels=self.max_pixels or DEFAULT_MAX_PIXELS,
            extra_formats=self.extra_formats,
            reference=self.preprocess == "reference",
            fast_decode=fast_decode,
            allow_truncated=self.allow_truncated,
            fit=self.fit,
        )


@group("Reading images")
class DecodingFlags:
    """How many images are decoded.

    Raises:
        UsageError: options that do not go together.
    """

    fast_decode: bool = option(
        "--fast-decode",
        is_flag=True,
        help="Decode large JPEG photos at a fraction of their size; numbers change a little.",
    )
    isolate: bool = option(
        "--isolate",
        is_flag=True,
        help="Decode in processes of their own: one that hangs or dies costs one image.",
    )
    decode_timeout: float | None = option(
        "--decode-timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help=f"With --isolate, for each image.  [default: {DEFAULT_DECODE_SECONDS:g}]",
    )
    workers: int | None = option(
        "--workers",
        type=click.IntRange(min=1),
        metavar="N",
        help="Threads that read and decode images.  [default: one a processor]",
    )

    def __post_init__(self) -> None:
        if self.decode_timeout is not None:
            check_decode_seconds(self.decode_timeout)
            if not self.isolate:
                raise UsageError("--decode-timeout goes with --isolate")
        # Here, too: a slip of the pen should not have to wait for a model.
        if self.workers is not None:
            check_workers(self.workers)

    @property
    def isolate_seconds(self) -> float | None:
        """What an image may take in a process of its own; None without such processes."""
        return self.decode_timeout or DEFAULT_DECODE_SECONDS if self.isolate else None


@group("Images from the network")
class AddressFlags:
    """Where images may be fetched from."""

    allowed_hosts: tuple[str, ...] = option(
        "--allow-host",
        metavar="HOST[:PORT]",
        multiple=True,
        help="Fetch from this host even if its address is private (localhost, 10.0.0.7).",
    )
    proxy: str | None = option(
        "--proxy",
        metavar="URL",
        help="Fetch through this proxy, http(s)://[NAME:PASSWORD@]HOST[:PORT]; it then decides"
        " what addresses a host name leads to.",
    )

    def fetch_options(
        self, max_bytes: int | None, *, concurrency: int | None = None, per_host: int | None = None
    ) -> FetchOptions:
        """What downloads may do; None stands for the default.

        Raises:
            UsageError: an allowed host is more than that, or the proxy's address is none.
        """
        given = {"max_bytes": max_bytes, "concurrency": concurrency, "per_host": per_host}
        # What is not given keeps the default that the room itself has.
        chosen: dict[str, Any] = {name: value for name, value in given.items() if value}
        # An empty proxy, too, as an unset variable makes it: to be refused, not passed over.
        hosts = frozenset(host.lower() for host in self.allowed_hosts)
        return FetchOptions(allowed_hosts=hosts, proxy=self.proxy, **chosen)


@group("Images from the network")
class DownloadFlags:
    """How many images are fetched at once."""

    concurrency: int | None = option(
        "--fetch-concurrency",
        type=click.IntRange(1, MOST_AT_ONCE),
        metavar="N",
        help=f"Downloads at once.  [default: {FetchOptions.concurrency}]",
    )
    per_host: int | None = option(
        "--fetch-per-host",
        type=click.IntRange(1, MOST_AT_ONCE),
        metavar="N",
        help=f"Downloads at once from one host.  [default: {FetchOptions.per_host}]",
    )


@group("Images")
class EmbeddingsFlag:
    """Images that have been embedded already."""

    embeddings: str | None = option(
        "--embeddings",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        help="Score the images of a file that `clipcli embed` made, in place of IMAGEs.",
    )
