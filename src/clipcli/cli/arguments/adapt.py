"""The command line of `adapt`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli.cli.arguments.checks import labels_of_data
from clipcli.cli.arguments.eval import DataFlag
from clipcli.cli.arguments.run import RunArguments
from clipcli.cli.options.adapters import AdaptFlags, StoredFlag
from clipcli.cli.options.results import ColorFlag
from clipcli.cli.options.shared import LabelFlags
from clipcli.heads.labels import LabelSet, collect_templates

if TYPE_CHECKING:
    from clipcli.embeddings.base import EmbeddingsFile
    from clipcli.engines.base import EngineOptions
    from clipcli.images.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class AdaptArguments(RunArguments):
    """The command line of `adapt`. The images are the data's: no option names them."""

    data: DataFlag
    stored: StoredFlag
    labels: LabelFlags
    adapt: AdaptFlags
    color: ColorFlag
    verbose: bool

    def folder(self) -> Path:
        """Where the adapter goes.

        Raises:
            UsageError: it cannot be called so, or something is there that may not be replaced.
        """
        from clipcli.adaptation.writing import check_target
        from clipcli.heads.adapters import adapter_folder

        folder = adapter_folder(self.adapt.name)
        check_target(self.adapt.name, folder, may_be_there=self.adapt.force)
        return folder

    def engine_options(self) -> EngineOptions:
        """Where and how the model runs; there are many images, as far as that is concerned."""
        return self.engine.options(None)

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
