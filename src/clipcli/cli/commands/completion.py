"""`clipcli completion`: the script with which a shell completes clipcli's command line."""

from __future__ import annotations

import click

from clipcli.cli.shells import COMPLETE_VARIABLE, SHELLS


@click.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  clipcli completion bash >> ~/.bashrc
    zsh:   clipcli completion zsh >> ~/.zshrc
    fish:  clipcli completion fish > ~/.config/fish/completions/clipcli.fish
    """  # noqa: D301  click wants the character \b itself
    root = ctx.find_root().command
    click.echo(SHELLS[shell](root, {}, "clipcli", COMPLETE_VARIABLE).source())
