"""The command line of `explain`, and what it asks of the rooms beyond image and model."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import click

from clipcli.cli.arguments.checks import check_output, check_pictures
from clipcli.cli.options.groups import argument, group, option
from clipcli.cli.options.inputs import AddressFlags, NamingFlags, ReadingFlags
from clipcli.cli.options.results import MOST_LABELS, ColorFlag, ForceFlag
from clipcli.cli.options.shared import EngineFlags, LabelFlags, ModelFlag, WeightsFlags
from clipcli.disk.outputs import is_stream
from clipcli.engines.base import EngineOptions
from clipcli.errors import UsageError
from clipcli.explanation.names import file_names
from clipcli.explanation.options import METHODS, ExplainOptions
from clipcli.images.sources import STDIN, ImageRef
from clipcli.models.specs import ModelRequest
from clipcli.outputs.writers import DEFAULT_TOP_K

# Rows of a table have no room for maps: they are the business of `classify`.
_FORMATS = ("human", "json")
# A folder that is called so is more likely a slip.
_OTHER_PICTURES = frozenset(
    {".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".svg", ".pdf", ".html"}
)


@group("Images")
class ImageFlag:
    """The image that is explained."""

    image: str = argument(type=click.Path())


@group("Explanation")
class ExplainFlags:
    """How an answer is explained, and how that is shown.

    Raises:
        UsageError: two formats.
    """

    method: Any = option(
        "--method",
        type=click.Choice(METHODS),
        default=METHODS[0],
        show_default=True,
        help="occlusion: what the score loses where the image is covered; with every engine."
        " gradient: LeGrad for vision transformers, Grad-CAM for others; in torch.",
    )
    # By default 101 runs of the model: with ViT-B/32 on two processors eight seconds.
    grid: int = option(
        "--grid",
        type=click.IntRange(2, 50),
        metavar="N",
        default=ExplainOptions.grid,
        show_default=True,
        help="Cover N x N places; the model runs once for each.",
    )
    top_k: int | None = option(
        "-k",
        "--top-k",
        type=click.IntRange(1, MOST_LABELS),
        metavar="N",
        help=f"Explain the N best labels.  [default: {DEFAULT_TOP_K}]",
    )
    output: str | None = option(
        "-o",
        "--output",
        metavar="FOLDER|FILE.png",
        type=click.Path(),
        help="Write an overlay for each label to FOLDER, and all side by side in explanation.png;"
        " or that picture alone to FILE.png.",
    )
    each_scale: bool = option(
        "--each-scale",
        is_flag=True,
        help="Draw each label's map up to its own maximum, not to that of all maps.",
    )
    format: str | None = option(
        "--format",
        type=click.Choice(_FORMATS),
        help="human shows maps, json holds them as numbers.  [default: human on a terminal, json"
        " elsewhere]",
    )
    as_json: bool = option("--json", is_flag=True, help="Short for --format json.")

    def __post_init__(self) -> None:
        if self.as_json and self.format not in (None, "json"):
            raise UsageError("--format and --json exclude each other: keep one of them")

    @property
    def format_name(self) -> str:
        """The output format: as asked for, else by the terminal."""
        if self.as_json:
            return "json"
        return self.format or ("human" if sys.stdout.isatty() else "json")


@dataclass(frozen=True, kw_only=True)
class ExplainArguments:
    """The command line of `explain`.

    Raises:
        UsageError: gradients are asked of an engine that has none, standard input is named twice,
            or the image is to be cut into tiles.
    """

    image: ImageFlag
    labels: LabelFlags
    how: ExplainFlags
    force: ForceFlag
    color: ColorFlag
    reading: ReadingFlags
    addresses: AddressFlags
    engine: EngineFlags
    model: ModelFlag
    weights: WeightsFlags
    verbose: bool

    def __post_init__(self) -> None:
        if self.how.method == "gradient" and self.engine.engine == "onnx":
            raise UsageError("--method gradient runs in torch only: leave out --engine onnx")
        if self.labels.reads_stdin and self.image.image == STDIN:
            raise UsageError(
                "standard input can be read only once: give the labels or the image in a file"
            )
        self.explain_options()

    def model_request(self) -> ModelRequest:
        """Which model."""
        return self.weights.request(self.model.model)

    def engine_options(self) -> EngineOptions:
        """Where and how the model runs, as often as the method wants."""
        if self.how.method == "occlusion":
            return self.engine.options(self.runs_of_the_model)
        flags = self.engine
        return EngineOptions(flags.device, flags.precision, flags.threads, "torch", 1)

    @property
    def runs_of_the_model(self) -> int:
        """How often occlusion runs the model: for each place, and for the whole."""
        return self.how.grid**2 + 1

    def explain_options(self) -> ExplainOptions:
        """How the answer is explained."""
        images = self.reading.image_options()
        top_k = self.how.top_k or DEFAULT_TOP_K
        return ExplainOptions(
            self.how.method,
            self.how.grid,
            top_k,
            self.engine.batch_size,
            images,
            each_scale=self.how.each_scale,
        )

    def image_ref(self, stack: ExitStack) -> ImageRef:
        """The image.

        Raises:
            UsageError: it is a folder, or a pattern of several images.
        """
        name = self.image.image
        # What other commands say of a folder is the way out of theirs: -r.
        if os.path.isdir(name):
            raise UsageError(f"{name} is a folder: name one image in it")
        # Two are enough to know, however many a pattern matches.
        ref, *more = islice(NamingFlags((name,)).refs(stack), 2)
        if more:
            raise UsageError(f"{name} names several images: explain one at a time")
        return ref

    def target(self, labels: Iterable[str]) -> Path | None:
        """Where pictures are written: a folder, which need not be there, or a PNG file.

        Args:
            labels: of which the best get pictures.

        Raises:
            UsageError: it cannot be written, or it or such pictures are there already.
        """
        if self.how.output is None:
            return None
        target = Path(self.how.output)
        if _is_picture(target):
            check_output(f"-o {target}", target, may_be_there=self.force.force)
        elif not target.is_dir() and target.suffix.lower() in _OTHER_PICTURES:
            raise UsageError(f"-o {target}: pictures are PNG: name FILE.png, or a folder")
        else:
            names = file_names(labels, self.explain_options().top_k)
            check_pictures("-o", target, names, force=self.force.force)
        return target


def make_folder(target: Path) -> None:
    """Make the folder of pictures, where one is named and is not there.

    Raises:
        UsageError: it cannot be made or written to.
    """
    if _is_picture(target):
        return
    try:
        # Made now: minutes of work must not end with a folder that cannot be made.
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {target} ({error.strerror})") from error
    if not os.access(target, os.W_OK):
        raise UsageError(f"cannot write to {target} (it is read-only)")


def _is_picture(target: Path) -> bool:
    """Whether one picture is meant, and no folder of them."""
    return is_stream(target) or (target.suffix.lower() == ".png" and not target.is_dir())
