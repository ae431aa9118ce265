"""`clipcli pull`: download a model and prepare it for the fast start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clipcli.cli.console import Console
from clipcli.cli.options.groups import SectionedCommand, takes
from clipcli.cli.options.shared import WeightsFlags, complete_model, console_options
from clipcli.engines.base import PREPARED_PRECISIONS, Precision
from clipcli.errors import ModelError
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest
from clipcli.printable import printable

if TYPE_CHECKING:
    from clipcli.engines.base import Precision
    from clipcli.models.bundles import Bundle


@click.command(cls=SectionedCommand)
@click.argument("name", metavar="MODEL", shell_complete=complete_model)
@takes(weights=WeightsFlags)
@click.option(
    "--precision",
    type=click.Choice(PREPARED_PRECISIONS),
    default=PREPARED_PRECISIONS[0],
    show_default=True,
    envvar="CLIPCLI_PRECISION",
    show_envvar=True,
    help="Of the prepared model; int8 makes transformers smaller and faster, a little less exact.",
)
@console_options
@click.pass_obj
def pull(console: Console, /, name: str, weights: WeightsFlags, precision: Precision) -> None:
    """Download a model, or take a local one, and prepare it.

    A prepared model starts in half a second, without torch. It is checked against torch before it
    is used; pulling once more replaces it.

    \b
    clipcli pull ViT-B/32
    clipcli pull ViT-B/32 --precision int8
    clipcli pull ViT-B-32 --checkpoint mine.safetensors --no-quick-gelu
    """  # noqa: D301  click wants the character \b itself
    with console.warnings():
        _pull(weights.request(name), precision, console)


def _pull(request: ModelRequest, precision: Precision, console: Console) -> None:
    spec = resolve_model(request)

    from clipcli.disk.paths import is_nowhere
    from clipcli.models.bundles import bundle_folder, check_preparable, open_bundle
    from clipcli.models.weights import fetch_model

    check_preparable(spec)
    folder = bundle_folder(spec, precision)
    if is_nowhere(folder):
        reason = "there is no folder to keep it in: set CLIPCLI_CACHE_DIR (or HOME) to one"
        raise ModelError(f"{spec.name} cannot be prepared: {reason}")
    if folder in (spec.folder, spec.bundle):
        _tell_ready(open_bundle(folder))
        return
    console.step(f"{spec.name}: finding its files")
    weights = fetch_model(spec, offline=request.offline)

    # torch takes seconds to import; whatever can be refused has been.
    from clipcli.engines.torch.export import Preparation, prepare

    _tell_ready(prepare(Preparation(spec, weights, precision, console.step)))


def _tell_ready(bundle: Bundle) -> None:
    name = f"{bundle.manifest.model} ({bundle.manifest.precision})"
    click.echo(printable(f"{name} is ready: {bundle.size / 1e6:,.0f} MB in {bundle.folder}"))
