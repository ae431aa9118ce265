"""`clipcli cache`: what is kept of texts' embeddings, and clearing it."""

from __future__ import annotations

import click

from clipcli.cli.options import console_options


@click.command()
@click.option("--clear", is_flag=True, help="Delete all kept embeddings.")
@console_options
def cache(clear: bool) -> None:
    """Show or clear the cache of text embeddings.

    A label that was encoded once is not encoded again for the same model.

    \b
    clipcli cache
    clipcli cache --clear
    """  # noqa: D301  click wants the character \b itself
    from clipcli.cache import TextCache
    from clipcli.paths import text_cache_file

    texts = TextCache(text_cache_file())
    if clear:
        texts.clear()
    size = sum(file.stat().st_size for file in texts.files() if file.exists())
    click.echo(f"{texts.file}: {texts.count()} embeddings, {size / 1e6:,.1f} MB")
