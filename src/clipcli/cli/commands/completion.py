"""`clipcli completion`: the script with which a shell completes clipcli's command line."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

COMPLETE_VARIABLE = "_CLIPCLI_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  clipcli completion bash >> ~/.bashrc
    zsh:   clipcli completion zsh >> ~/.zshrc
    fish:  clipcli completion fish > ~/.config/fish/completions/clipcli.fish
    """  # noqa: D301  click wants the character \b itself
    kind = get_completion_class(shell)
    assert kind is not None
    root = ctx.find_root().command
    click.echo(kind(root, {}, "clipcli", COMPLETE_VARIABLE).source())
