"""`clipcli models`: which models are bundled, prepared and available."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from clipcli.cli.console import Console
from clipcli.cli.options.shared import console_options
from clipcli.errors import ModelError, UsageError
from clipcli.models import catalogue
from clipcli.models.names import BUNDLED_MODEL, resolve_model
from clipcli.models.specs import DEFAULT_MODEL, ModelRequest
from clipcli.printable import printable

if TYPE_CHECKING:
    from clipcli.models.bundles import Bundle, Damaged
    from clipcli.models.catalogue import CatalogueEntry

_WAYS_OUT = "repair it with 'clipcli pull MODEL', or 'clipcli models --remove {}'"
_HEADINGS = ("model", "parameters", "image", "embedding", "ImageNet")
_UNITS = ("{}", "{} M", "{} px", "{}", "{} %", "{}")


@click.command()
@click.argument("pattern", required=False)
@click.option(
    "--available",
    is_flag=True,
    help="List all that open_clip has, or what PATTERN matches: millions of parameters, side of the"
    " image, width of the embeddings, published zero-shot ImageNet accuracy.",
)
@click.option(
    "--remove",
    "removed",
    metavar="NAME",
    help="Delete a prepared model, in all precisions, or an adapter.",
)
@click.option("--json", "as_json", is_flag=True, help="Write the list as JSON.")
@console_options
@click.pass_obj
def models(
    console: Console, /, pattern: str | None, available: bool, removed: str | None, as_json: bool
) -> None:
    """List the models that are at hand.

    PATTERN is a part of a name or, with * or ?, a whole one. In a pipe the columns are separated
    by tabs.

    \b
    clipcli models
    clipcli models --available 'vit-b-*:laion*'
    clipcli models --remove ViT-B-32:openai
    """  # noqa: D301  click wants the character \b itself
    if removed is not None and (available or as_json or pattern is not None):
        raise UsageError("--remove goes with no other option, and no PATTERN")
    if pattern is not None and not available:
        raise UsageError(f"a PATTERN goes with --available: clipcli models --available {pattern}")
    with console.warnings():
        if removed is not None:
            _remove(removed)
        elif available:
            _list_available(_matching(pattern), as_json=as_json)
        elif as_json:
            _write_json(list(_records()))
        else:
            for line in _lines():
                click.echo(printable(line))


def _matching(pattern: str | None) -> list[CatalogueEntry]:
    """What the catalogue has under a pattern.

    Raises:
        UsageError: nothing.
    """
    found = catalogue.available(pattern)
    if not found and pattern is not None:
        names = [entry.name for entry in catalogue.available()]
        # Both kinds of names: a pattern may have been meant for an architecture or for a whole tag.
        near = catalogue.nearest(pattern, [*catalogue.architectures(), *names])
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        way_out = "'clipcli models --available' lists all"
        raise UsageError(f"open_clip has no model like {pattern!r}{hint}: {way_out}")
    return found


def _list_available(entries: Sequence[CatalogueEntry], *, as_json: bool) -> None:
    if as_json:
        _write_json([asdict(entry) for entry in entries])
        return
    rows = [_row(entry) for entry in entries]
    # For `cut` and `awk`: no units, no padding, and empty cells stay empty.
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(map(printable, row)))
        return
    table = [
        [unit.format(cell) if cell else "" for unit, cell in zip(_UNITS, row, strict=True)]
        for row in rows
    ]
    _write_aligned([(*_HEADINGS, ""), *table])


def _row(entry: CatalogueEntry) -> tuple[str, ...]:
    """Name, four figures without their units, and what else one should know."""
    return (
        entry.name,
        "" if entry.parameters is None else f"{entry.parameters:.1f}",
        str(entry.image_size),
        str(entry.embed_dim),
        "" if entry.imagenet_top1 is None else f"{entry.imagenet_top1:.1f}",
        _note(entry),
    )


def _note(entry: CatalogueEntry) -> str:
    if entry.weights is None:
        return "no published weights: needs --checkpoint"
    if entry.weights == "pickle":
        return "published only as a pickle: needs --allow-pickle"
    return "needs the package transformers" if entry.needs_transformers else ""


def _write_aligned(rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell, the figures to the right."""
    # Names of models are ASCII: their length is their width.
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *figures, note in rows:
        cells = [cell.rjust(width) for cell, width in zip(figures, widths[1:-1], strict=True)]
        click.echo(printable("  ".join([name.ljust(widths[0]), *cells, note]).rstrip()))


def _write_json(records: Sequence[dict[str, Any]]) -> None:
    click.echo(json.dumps(records, indent=1))


def _records() -> Iterator[dict[str, Any]]:
    """What `_lines` tells, for programs."""
    from clipcli.models.bundles import Damaged

    for kind, bundle in _at_hand():
        if isinstance(bundle, Damaged):
            damage = {"model": bundle.model, "reason": str(bundle.error)}
            yield {"kind": kind, **damage, "folder": str(bundle.folder)}
            continue
        manifest = bundle.manifest
        yield {
            "kind": kind,
            "model": manifest.model,
            "precision": manifest.precision,
            "fingerprint": manifest.fingerprint,
            "bytes": bundle.size,
            "folder": str(bundle.folder),
        }

    yield from _adapters()


def _adapters() -> Iterator[dict[str, Any]]:
    """The adapters that are called by a bare name."""
    from clipcli.heads.adapters import Adapter, kept_adapters

    for found in kept_adapters():
        if not isinstance(found, Adapter):
            folder, error = found
            damage = {"adapter": folder.name, "reason": str(error), "folder": str(folder)}
            yield {"kind": "damaged", **damage}
            continue
        made = found.description
        yield {
            "kind": "adapter",
            "adapter": found.name,
            "method": made.method,
            "model": made.model,
            "fingerprint": made.fingerprint,
            "sha256": found.sha256,
            "labels": len(made.labels),
            "pictures": len(made.pictures),
            "folder": str(found.folder),
        }


def _lines() -> Iterator[str]:
    from clipcli.models.bundles import Damaged

    for kind, bundle in _at_hand():
        if isinstance(bundle, Damaged):
            name = bundle.model or bundle.folder.name
            yield f"{kind:<10} {name}  {bundle.folder}: {_WAYS_OUT.format(name)}"
        else:
            yield _line(kind, bundle)
    for adapter in _adapters():
        if "reason" in adapter:
            yield f"damaged    {adapter['adapter']}  {adapter['reason']}"
        else:
            made = f"{adapter['method']} of {adapter['model']}  {adapter['labels']} labels"
            yield f"adapter    {adapter['adapter']}  {made}  {adapter['folder']}"
    others = f"{DEFAULT_MODEL} and every other ARCHITECTURE:TAG of open_clip"
    yield f"available  {others}: 'clipcli models --available', 'clipcli pull MODEL'"


def _at_hand() -> Iterator[tuple[str, Bundle | Damaged]]:
    """The bundled model and all that `clipcli pull` made, each with its kind."""
    from clipcli.models.bundles import Bundle, open_bundle, prepared_bundles

    tiny = resolve_model(ModelRequest(BUNDLED_MODEL)).folder
    assert tiny is not None
    yield "bundled", open_bundle(tiny)
    for prepared in prepared_bundles():
        yield "prepared" if isinstance(prepared, Bundle) else "damaged", prepared


def _line(kind: str, bundle: Bundle) -> str:
    manifest = bundle.manifest
    size = f"{bundle.size / 1e6:,.0f} MB"
    return f"{kind:<10} {manifest.model}  {manifest.precision}  {size}  {bundle.folder}"


def _remove(name: str) -> None:
    """Delete every prepared form of a model, or an adapter.

    Raises:
        UsageError: there is none.
    """
    from clipcli.disk.folders import remove_folder
    from clipcli.heads.adapters import adapter_folder, adapter_names
    from clipcli.models.bundles import prepared_bundles

    # As the user calls it, as the list calls it, or by its folder: whichever is at hand to be
    # copied.
    wanted = {name, _canonical(name)}
    found = False
    for prepared in prepared_bundles():
        if {_name(prepared), prepared.folder.name} & wanted:
            remove_folder(prepared.folder)
            found = True
            click.echo(printable(f"removed {prepared.folder}"))
    # A prepared int8 form of it could be removed; the files of the installation are the
    # installer's.
    if not found and name in adapter_names():
        remove_folder(adapter_folder(name))
        found = True
        click.echo(printable(f"removed {adapter_folder(name)}"))
    if not found and name == BUNDLED_MODEL:
        raise UsageError(f"{name} comes with clipcli and stays with it")
    if not found:
        raise UsageError(f"no prepared model is called {name}: 'clipcli models' lists them")


def _name(prepared: Bundle | Damaged) -> str | None:
    from clipcli.models.bundles import Damaged

    return prepared.model if isinstance(prepared, Damaged) else prepared.manifest.model


def _canonical(name: str) -> str:
    """The name in the list for what the user calls a model; unknown names stay as they are."""
    try:
        return resolve_model(ModelRequest(name, offline=True)).name
    except (ModelError, UsageError):
        return name
