"""The command line of every command that goes through images, and what it asks of the rooms."""

from __future__ import annotations

import os
import stat
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from clipcli.errors import UsageError
from clipcli.images.sources import (
    STDIN,
    ImageRef,
    Shard,
    SourceOptions,
    expand,
    is_pattern,
    read_names,
)
from clipcli.models.specs import ModelRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clipcli.engines.base import EngineOptions
    from clipcli.heads.results import ScoreOptions
    from clipcli.heads.text_cache import TextCache
    from clipcli.images.options import ImageOptions
    from clipcli.images.web.options import FetchOptions
    from clipcli.runs.options import PipelineOptions

DEFAULT_DECODE_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class RunArguments:
    """What all commands over images are told; a field for each option, named as click names it."""

    images: tuple[str, ...]
    recursive: bool
    files_from: str | None
    null_separated: bool
    shard: str | None
    extra_formats: tuple[str, ...]
    max_bytes: int | None
    max_pixels: int | None
    preprocess: str
    fast_decode: bool
    isolate: bool
    decode_timeout: float | None
    allowed_hosts: tuple[str, ...]
    fetch_concurrency: int | None
    fetch_per_host: int | None
    proxy: str | None
    model: str
    checkpoint: str | None
    quick_gelu: bool | None
    allow_pickle: bool
    revision: str | None
    offline: bool
    engine: Any
    device: str
    precision: Any
    threads: int | None
    batch_size: int
    workers: int | None
    output: str | None
    unordered: bool
    fail_fast: bool
    max_errors: int | None
    summary: str | None
    verbose: bool

    def __post_init__(self) -> None:
        self.check_images()
        if self.null_separated and self.files_from is None:
            raise UsageError("-0 goes with a list: --files-from FILE")
        if self.fail_fast and self.max_errors is not None:
            raise UsageError("--fail-fast means --max-errors 1: keep one of them")
        if self.decode_timeout is not None and not self.isolate:
            raise UsageError("--decode-timeout goes with --isolate")
        self._check_summary()

    def _check_summary(self) -> None:
        # Before the run: after it, a slip of the pen would cost the numbers of hours.
        if self.summary is None:
            return
        folder = Path(self.summary).parent
        if not folder.is_dir():
            raise UsageError(f"cannot write --summary {self.summary} (there is no folder {folder})")
        if not os.access(folder, os.W_OK):
            raise UsageError(f"cannot write --summary {self.summary} ({folder} is read-only)")

    def check_images(self) -> None:
        """Whether there are images, and standard input is read once.

        Raises:
            UsageError: neither, or twice.
        """
        if not self.images and self.files_from is None:
            raise UsageError("no images: name files, URLs, - for standard input, or --files-from")
        if [*self.images, self.files_from].count(STDIN) > 1:
            raise UsageError("standard input can be read only once: as one image or as one list")

    @property
    def wants_whole_blocks(self) -> bool:
        """Whether the last digits must not depend on how fast the images come."""
        return False

    @property
    def error_limit(self) -> int | None:
        """Failures after which the run ends."""
        return 1 if self.fail_fast else self.max_errors

    @property
    def reads_image_from_stdin(self) -> bool:
        """Whether the bytes of an image come on standard input."""
        return STDIN in self.images

    def model_request(self) -> ModelRequest:
        """Which model."""
        return ModelRequest(
            self.model,
            Path(self.checkpoint) if self.checkpoint else None,
            self.quick_gelu,
            self.offline,
            allow_pickle=self.allow_pickle,
            revision=self.revision,
        )

    def engine_options(self) -> EngineOptions:
        """Where and how it runs."""
        from clipcli.engines.base import EngineOptions

        return EngineOptions(
            self.device, self.precision, self.threads, self.engine, self.image_count()
        )

    def image_count(self) -> int | None:
        """How many images the command line names; None where a list or a folder tells."""
        # A pattern's files are not counted: that would be searching the folders twice.
        is_open = self.recursive or self.files_from is not None or any(map(is_pattern, self.images))
        return None if is_open else len(self.images)

    def source_options(self) -> SourceOptions:
        """How names are understood, and which part of them is meant.

        Raises:
            UsageError: there is no such part.
        """
        shard = Shard() if self.shard is None else Shard.parse(self.shard)
        return SourceOptions(self.recursive, self.null_separated, shard)

    def pipeline_options(
        self, scores: ScoreOptions | None = None, stop: threading.Event | None = None
    ) -> PipelineOptions:
        """How images are read, prepared and scored, and what ends it all."""
        from clipcli.heads.results import ScoreOptions
        from clipcli.runs.options import PipelineOptions

        seconds = self.decode_timeout or DEFAULT_DECODE_SECONDS
        return PipelineOptions(
            self.batch_size,
            self.workers,
            self._image_options(),
            self._fetch_options(),
            scores or ScoreOptions(),
            ordered=not self.unordered,
            isolate_seconds=seconds if self.isolate else None,
            whole_blocks=self.wants_whole_blocks,
            stop=stop or threading.Event(),
        )

    def _image_options(self) -> ImageOptions:
        from clipcli.images.options import DEFAULT_MAX_BYTES, DEFAULT_MAX_PIXELS, ImageOptions

        return ImageOptions(
            max_bytes=self.max_bytes or DEFAULT_MAX_BYTES,
            max_pixels=self.max_pixels or DEFAULT_MAX_PIXELS,
            extra_formats=self.extra_formats,
            reference=self.preprocess == "reference",
            fast_decode=self.fast_decode,
        )

    def _fetch_options(self) -> FetchOptions | None:
        # None spares the import to those who fetch nothing.
        given = {
            "allowed_hosts": frozenset(host.lower() for host in self.allowed_hosts),
            "max_bytes": self.max_bytes,
            "concurrency": self.fetch_concurrency,
            "per_host": self.fetch_per_host,
        }
        chosen: dict[str, Any] = {name: value for name, value in given.items() if value}
        if self.proxy is not None:
            # An empty one, too, as an unset variable makes it: to be refused, not passed over.
            chosen["proxy"] = self.proxy
        if not chosen:
            return None
        from clipcli.images.web.options import FetchOptions

        return FetchOptions(**chosen)

    def image_refs(self, stack: ExitStack) -> Iterator[ImageRef]:
        """The images, to be pulled one by one; a list is closed with the stack."""
        name_list = self._name_list(stack)
        return expand(self.images, name_list, sys.stdin.buffer, self.source_options())

    def _name_list(self, stack: ExitStack) -> IO[bytes] | None:
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

    def total(self) -> int | None:
        """How many images there will be, where that can be known without searching for them."""
        count = self.image_count()
        if count is None:
            if self.recursive or any(map(is_pattern, self.images)) or self.has_slow_list():
                return None
            if self.files_from in (None, STDIN):
                return None  # counting what comes on standard input would use it up
            count = len(self.images) + self._list_length(str(self.files_from))
        shard = self.source_options().shard
        return len(range(shard.number - 1, count, shard.count))

    def _list_length(self, file: str) -> int:
        separator = b"\0" if self.null_separated else b"\n"
        with Path(file).open("rb") as stream:
            return sum(1 for _ in read_names(stream, separator))


@dataclass(frozen=True, kw_only=True)
class LabelArguments(RunArguments):
    """What all commands that choose between labels are told as well."""

    labels: tuple[str, ...]
    label_files: tuple[str, ...]
    templates: tuple[str, ...]
    no_cache: bool

    def text_cache(self) -> TextCache | None:
        """Where embeddings of labels are kept between runs."""
        if self.no_cache:
            return None
        from clipcli.disk.paths import text_cache_file
        from clipcli.heads.text_cache import TextCache

        return TextCache(text_cache_file())
