"""`clipcli cache`: what is kept of texts' embeddings, and clearing it."""

from __future__ import annotations

import click

from clipcli.cli.console import Console
from clipcli.cli.options.shared import console_options
from clipcli.errors import ClipcliError
from clipcli.printable import printable


@click.command()
@click.option("--clear", is_flag=True, help="Delete all kept embeddings.")
@console_options
@click.pass_obj
def cache(console: Console, /, clear: bool) -> None:
    """Show or clear the cache of text embeddings.

    A label that was encoded once is not encoded again for the same model.

    \b
    clipcli cache
    clipcli cache --clear
    """  # noqa: D301  click wants the character \b itself
    from clipcli.disk.paths import text_cache_file
    from clipcli.heads.text_cache import TextCache

    with console.warnings():
        texts = TextCache(text_cache_file())
        if clear:
            try:
                texts.clear()
            except OSError as error:
                reason = f"cannot delete {texts.file} ({error.strerror})"
                raise ClipcliError(f"{reason}: do it by hand, or set CLIPCLI_CACHE_DIR") from error
        told = f"{texts.file}: {texts.count()} embeddings, {texts.size() / 1e6:,.1f} MB"
        click.echo(printable(told))
