"""The command line of `adapt`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipcli.adaptation.options import METHODS, MOST_SEED, MOST_SHOTS, AdaptOptions
from clipcli.cli.arguments.checks import labels_of_data
from clipcli.cli.arguments.eval import DataFlag
from clipcli.cli.arguments.run import RunArguments
from clipcli.cli.options.groups import group, option
from clipcli.cli.options.lora import LoraFlags, MergeFlag
from clipcli.cli.options.results import ColorFlag
from clipcli.cli.options.shared import LabelFlags
from clipcli.engines.choice import for_training
from clipcli.errors import UsageError
from clipcli.heads.labels import LabelSet, collect_templates

if TYPE_CHECKING:
    from clipcli.embeddings.base import EmbeddingsFile
    from clipcli.engines.base import EngineOptions
    from clipcli.images.dataset import Dataset


@group("Images")
class StoredFlag:
    """Embeddings of the images, where they have been made already."""

    embeddings: str | None = option(
        "--embeddings",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        help="Take the images' embeddings from a file that `clipcli embed` made of them, by their"
        " paths, in place of reading them.",
    )


@group("Adapter")
class AdaptFlags:
    """How an adapter is made, and where it goes."""

    name: str | None = option(
        "-o",
        "--output",
        metavar="NAME",
        help="What the adapter is called, for `clipcli classify --adapter NAME`; a NAME with a"
        " slash is its folder.",
    )
    method: str = option(
        "--method",
        type=click.Choice(list(METHODS)),
        default=next(iter(METHODS)),
        show_default=True,
        help="probe: weights for each label on the model's embeddings, begun at the label's own."
        " lora: small changes of the model's own weights, trained on the pictures; slow.",
    )
    shots: int | None = option(
        "--shots",
        type=click.IntRange(1, MOST_SHOTS),
        metavar="N",
        help="Take N pictures of each class, drawn by --seed.  [default: all]",
    )
    seed: int = option(
        "--seed",
        type=click.IntRange(0, MOST_SEED),
        metavar="N",
        default=0,
        show_default=True,
        help="Of all that is drawn: pictures, folds.",
    )
    ungated: bool = option(
        "--ungated",
        is_flag=True,
        help="Write the adapter even if it is not surely better than zero-shot.",
    )
    force: bool = option("--force", is_flag=True, help="Replace an adapter of that name.")
    as_json: bool = option("--json", is_flag=True, help="Write the figures as JSON.")


@dataclass(frozen=True, kw_only=True)
class AdaptArguments(RunArguments):
    """The command line of `adapt`. The images are the data's: no option names them."""

    data: DataFlag
    stored: StoredFlag
    labels: LabelFlags
    adapt: AdaptFlags
    lora: LoraFlags
    merging: MergeFlag
    color: ColorFlag
    verbose: bool

    def __post_init__(self) -> None:
        self.lora.check_method(self.adapt.method)
        if self.merging.merge is not None and self.adapt.name is not None:
            raise UsageError("--merge writes to DATA: leave out -o")
        if self.merging.merge is None and self.adapt.name is None:
            raise UsageError("the adapter needs a name: add -o NAME")
        if self.trains_model and self.stored.embeddings is not None:
            raise UsageError("--method lora looks at the pictures anew: leave out --embeddings")

    @property
    def trains_model(self) -> bool:
        """Whether the model's own weights change."""
        return self.adapt.method == "lora"

    @property
    def name(self) -> str:
        """Of the adapter."""
        assert self.adapt.name is not None
        return self.adapt.name

    def options(self) -> AdaptOptions:
        """How the adapter is made."""
        adapt, lora = self.adapt, self.lora
        return AdaptOptions(
            adapt.method,
            adapt.shots,
            adapt.seed,
            adapt.ungated,
            adapt.force,
            lora.options(),
            lora.folds,
            lora.head,
        )

    def folder(self) -> Path:
        """Where the adapter goes.

        Raises:
            UsageError: it cannot be called so, or something is there that may not be replaced.
        """
        from clipcli.adaptation.writing import check_target
        from clipcli.heads.adapters import adapter_folder

        folder = adapter_folder(self.name)
        check_target(self.name, folder, may_be_there=self.adapt.force)
        return folder

    def engine_options(self) -> EngineOptions:
        """Where and how the model runs; there are many images, as far as that is concerned."""
        options = self.engine.options(None)
        what = f"--merge {self.merging.merge}" if self.merging.merge else "--method lora"
        is_in_torch = self.trains_model or self.merging.merge
        return for_training(options, what) if is_in_torch else options

    def dataset(self) -> Dataset:
        """The images and their labels."""
        from clipcli.images.dataset import read_dataset

        return read_dataset(self.data.data)

    def label_set(self, classes: tuple[str, ...]) -> LabelSet:
        """The labels: the data's classes, and what else the command line names.

        Raises:
            UsageError: a class of the data is none of the labels.
        """
        labels = labels_of_data(self.labels, classes)
        return LabelSet.of(labels, collect_templates(self.labels.templates))

    def embeddings_file(self) -> EmbeddingsFile | None:
        """The embeddings that take the place of reading images, if any do."""
        if self.stored.embeddings is None:
            return None
        from clipcli.embeddings.files import open_embeddings

        return open_embeddings(Path(self.stored.embeddings))
