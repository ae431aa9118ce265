"""Which model a file of embeddings is asked with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clipcli.cli.options.adapters import model_of

if TYPE_CHECKING:
    import click

    from clipcli.cli.options.shared import ModelFlag, WeightsFlags


def with_the_files_model(
    ctx: click.Context, model: ModelFlag, weights: WeightsFlags, file: str
) -> ModelFlag:
    """The model that a file of embeddings names, where the user names none: see `model_of`."""

    def named() -> str:
        from clipcli.embeddings.files import open_embeddings

        return open_embeddings(Path(file)).description.model

    return model_of(ctx, model, weights, named)
