"""Which model a file of embeddings is asked with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from click.core import ParameterSource

from clipcli.cli.options.shared import ModelFlag
from clipcli.models.catalogue import architectures
from clipcli.models.names import BUNDLED_MODEL

if TYPE_CHECKING:
    import click

    from clipcli.cli.options.shared import WeightsFlags


def with_the_files_model(
    ctx: click.Context, model: ModelFlag, weights: WeightsFlags, file: str
) -> ModelFlag:
    """The model that a file of embeddings names, where the user names none.

    Only a model of clipcli's own list is taken at a file's word: a stranger's file must not make
    it download from anywhere, or open a folder.
    """
    if weights.checkpoint is not None:
        return model
    if ctx.get_parameter_source("model") is not ParameterSource.DEFAULT:
        return model
    from clipcli.embeddings.files import open_embeddings

    name = open_embeddings(Path(file)).description.model
    is_listed = name == BUNDLED_MODEL or name.partition(":")[0] in architectures()
    return ModelFlag(name) if is_listed else model
