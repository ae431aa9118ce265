"""`clipcli cache`: what is kept of texts' and pictures' embeddings, and clearing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clipcli.cli.console import Console
from clipcli.cli.options.shared import console_options
from clipcli.errors import ClipcliError
from clipcli.printable import printable

if TYPE_CHECKING:
    from clipcli.heads.text_cache import TextCache


@click.command()
@click.option("--clear", is_flag=True, help="Delete all kept embeddings.")
@console_options
@click.pass_obj
def cache(console: Console, /, clear: bool) -> None:
    """Show or clear the caches of embeddings.

    A label that was encoded once is not encoded again for the same model, nor is a picture in a
    folder that `clipcli search -r` has looked through.

    \b
    clipcli cache
    clipcli cache --clear
    """  # noqa: D301  click wants the character \b itself
    from clipcli.disk.paths import picture_cache_file, text_cache_file
    from clipcli.heads.text_cache import TextCache

    with console.warnings():
        texts, pictures = TextCache(text_cache_file()), TextCache(picture_cache_file(), "picture")
        # Most never search a folder.
        kept = [texts, *([pictures] if pictures.file.exists() else [])]
        for one in kept:
            if clear:
                _clear(one)
            told = f"{one.file}: {one.count()} embeddings, {one.size() / 1e6:,.1f} MB"
            click.echo(printable(told))


def _clear(kept: TextCache) -> None:
    try:
        kept.clear()
    except OSError as error:
        reason = f"cannot delete {kept.file} ({error.strerror})"
        raise ClipcliError(f"{reason}: do it by hand, or set CLIPCLI_CACHE_DIR") from error
