"""`clipcli models`: which models are bundled, prepared and available."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from clipcli.cli.options import console_options
from clipcli.errors import UsageError
from clipcli.models import BUNDLED_MODEL, DEFAULT_MODEL, ModelRequest, resolve_model

if TYPE_CHECKING:
    from clipcli.bundles import Bundle, Damaged

_WAYS_OUT = "repair it with 'clipcli pull MODEL', or 'clipcli models --remove {}'"


@click.command()
@click.option(
    "--remove", "removed", metavar="NAME", help="Delete a prepared model, in all precisions."
)
@console_options
def models(removed: str | None) -> None:
    """List the models that are at hand.

    \b
    clipcli models
    clipcli models --remove ViT-B-32:openai
    """  # noqa: D301  click wants the character \b itself
    if removed is not None:
        _remove(removed)
        return
    for line in _lines():
        click.echo(line)


def _lines() -> Iterator[str]:
    from clipcli.bundles import Bundle, open_bundle, prepared_bundles

    tiny = resolve_model(ModelRequest(BUNDLED_MODEL)).folder
    assert tiny is not None
    yield _line("bundled", open_bundle(tiny))
    for prepared in prepared_bundles():
        if isinstance(prepared, Bundle):
            yield _line("prepared", prepared)
        else:
            name = prepared.model or prepared.folder.name
            yield f"damaged    {name}  {prepared.folder}: {_WAYS_OUT.format(name)}"
    others = f"{DEFAULT_MODEL} and every other ARCHITECTURE:TAG of open_clip"
    yield f"available  {others}: 'clipcli pull MODEL'"


def _line(kind: str, bundle: Bundle) -> str:
    manifest = bundle.manifest
    size = f"{bundle.size / 1e6:,.0f} MB"
    return f"{kind:<10} {manifest.model}  {manifest.precision}  {size}  {bundle.folder}"


def _remove(name: str) -> None:
    """Delete every prepared form of a model.

    Raises:
        UsageError: there is none.
    """
    from clipcli.bundles import prepared_bundles, remove

    wanted = {name, _canonical(name)}
    found = False
    for prepared in prepared_bundles():
        if {_name(prepared), prepared.folder.name} & wanted:
            remove(prepared.folder)
            found = True
            click.echo(f"removed {prepared.folder}")
    if not found and name == BUNDLED_MODEL:
        raise UsageError(f"{name} comes with clipcli and stays with it")
    if not found:
        raise UsageError(f"no prepared model is called {name}: 'clipcli models' lists them")


def _name(prepared: Bundle | Damaged) -> str | None:
    from clipcli.bundles import Damaged

    return prepared.model if isinstance(prepared, Damaged) else prepared.manifest.model


def _canonical(name: str) -> str:
    """The name in the list for what the user calls a model; unknown names stay as they are."""
    from clipcli.errors import ModelError

    try:
        return resolve_model(ModelRequest(name, offline=True)).name
    except (ModelError, UsageError):
        return name
