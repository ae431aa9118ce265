"""Options that say which adapter answers, and when it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from clipcli.cli.options.groups import group, offers, option
from clipcli.cli.options.shared import ModelFlag, WeightsFlags
from clipcli.errors import UsageError
from clipcli.heads.novelty import DENSITIES
from clipcli.models.catalogue import architectures
from clipcli.models.names import BUNDLED_MODEL

if TYPE_CHECKING:
    from clipcli.cli.console import Console
    from clipcli.heads.adapters import Adapter


def _names() -> Iterable[str]:
    from clipcli.heads.adapters import adapter_names

    return adapter_names()


@group("Adapter")
class AdapterFlag:
    """The adapter that answers."""

    adapter: str | None = option(
        "--adapter",
        metavar="NAME",
        shell_complete=offers(_names, others="dir"),
        help="Answer with what `clipcli adapt` made of your pictures; the labels are the adapter's,"
        " and so is the model where none is named.",
    )

    @property
    def model(self) -> str | None:
        """The name of the model that was adapted, if an adapter is named."""
        return None if self.read is None else self.read.description.model

    @cached_property
    def read(self) -> Adapter | None:
        """The adapter, if one is named.

        Raises:
            UsageError: there is none of that name, or it is not usable.
        """
        if self.adapter is None:
            return None
        from clipcli.heads.adapters import read_adapter

        return read_adapter(self.adapter)


@group("Adapter")
class NoveltyFlag:
    """When a picture is like none of the adapter's."""

    novelty: str | None = option(
        "--novelty",
        type=click.Choice(list(DENSITIES)),
        help="With --adapter: answer `unknown` for pictures that are like none of the adapter's; 95"
        " % of its own, held out, are not. knn: by the nearest pictures; mahalanobis: by the"
        " classes' means and spread.",
    )


def tell_of_preparation(
    adapter: Adapter | None, prepared: Mapping[str, str], console: Console
) -> None:
    """Tell that pictures are prepared in another way than those that an adapter was made of.

    Args:
        adapter: if there is one.
        prepared: option -> its value now: `preprocess` and `fit`.
        console: that is told.
    """
    if adapter is None:
        return
    for name, value in prepared.items():
        made = getattr(adapter.description, name)
        if made != value:
            console.hint(
                f"the adapter {adapter.name} was made with --{name} {made}, and this is {value}:"
                " its answers may be worse"
            )


def model_of(
    ctx: click.Context, model: ModelFlag, weights: WeightsFlags, named: Callable[[], str | None]
) -> ModelFlag:
    """The model that a file or an adapter is of, where the user names none.

    Only a model of clipcli's own list is taken at a file's word: a stranger's file must not make
    it download from anywhere, or open a folder.

    Args:
        ctx: of the command.
        model: as it was given.
        weights: likewise.
        named: the name that a file gives; called only where it counts.
    """
    if weights.checkpoint is not None:
        return model
    if ctx.get_parameter_source("model") is not ParameterSource.DEFAULT:
        return model
    name = named()
    is_listed = name == BUNDLED_MODEL or str(name).partition(":")[0] in architectures()
    return ModelFlag(name) if name is not None and is_listed else model


def check_adapter_flags(
    adapter: AdapterFlag, novelty: NoveltyFlag | None = None, *, names_labels: bool
) -> None:
    """See that options go together.

    Raises:
        UsageError: they do not.
    """
    if novelty is not None and novelty.novelty is not None and adapter.adapter is None:
        raise UsageError("--novelty goes with --adapter, whose pictures it goes by")
    if adapter.adapter is not None and names_labels:
        raise UsageError(
            "--adapter brings its own labels: leave out -l, --labels and -t, or adapt anew with"
            " these labels"
        )
