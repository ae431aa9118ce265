"""The command line of `explain`, and what it asks of the rooms beyond image and model."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipcli.cli.arguments.run import LabelArguments
from clipcli.errors import UsageError
from clipcli.heads.labels import LabelSet, collect_labels, collect_templates

if TYPE_CHECKING:
    from clipcli.explanation.explain import ExplainOptions
    from clipcli.images.sources import ImageRef


@dataclass(frozen=True, kw_only=True)
class ExplainArguments(LabelArguments):
    """The command line of `explain`."""

    method: Any
    grid: int
    top_k: int | None
    output_format: str | None
    no_color: bool

    recursive: bool = False
    files_from: str | None = None
    null_separated: bool = False
    shard: str | None = None
    fast_decode: bool = False
    isolate: bool = False
    decode_timeout: float | None = None
    fetch_concurrency: int | None = None
    fetch_per_host: int | None = None
    workers: int | None = None
    unordered: bool = False
    fail_fast: bool = False
    max_errors: int | None = None
    summary: str | None = None

    def in_torch(self) -> ExplainArguments:
        """The same with the engine that gradients need.

        Raises:
            UsageError: another one was asked for.
        """
        if self.method != "gradient":
            return self
        if self.engine == "onnx":
            raise UsageError("--method gradient runs in torch only: leave out --engine onnx")
        return replace(self, engine="torch")

    def image_count(self) -> int | None:
        """How many runs of the model there will be, which is what an engine is chosen by."""
        return 1 if self.method == "gradient" else self.grid**2 + 1

    def explain_options(self) -> ExplainOptions:
        """How the answer is explained."""
        from clipcli.explanation.explain import ExplainOptions
        from clipcli.outputs.writers import DEFAULT_TOP_K

        images = self.pipeline_options().images
        top_k = self.top_k or DEFAULT_TOP_K
        return ExplainOptions(self.method, self.grid, top_k, self.batch_size, images)

    def label_set(self) -> LabelSet:
        """The labels and their templates."""
        names = collect_labels(self.labels, self.label_files)
        return LabelSet(names, collect_templates(self.templates))

    def format_name(self) -> str:
        """The output format: as asked for, else by the terminal."""
        return self.output_format or ("human" if sys.stdout.isatty() else "tsv")

    def image_ref(self, stack: ExitStack) -> ImageRef:
        """The image.

        Raises:
            UsageError: it is a folder, or a pattern of several images.
        """
        # What other commands say of a folder is the way out of theirs: -r.
        if os.path.isdir(self.images[0]):
            raise UsageError(f"{self.images[0]} is a folder: name one image in it")
        ref, *more = islice(self.image_refs(stack), 2)
        if more:
            raise UsageError(f"{self.images[0]} names several images: explain one at a time")
        return ref

    def folder(self) -> Path | None:
        """Where pictures are written, made if it is not there.

        Raises:
            UsageError: it cannot be made or written to.
        """
        if self.output is None:
            return None
        folder = Path(self.output)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make the folder {folder} ({error.strerror})") from error
        if not os.access(folder, os.W_OK):
            raise UsageError(f"cannot write to {folder} (it is read-only)")
        return folder
