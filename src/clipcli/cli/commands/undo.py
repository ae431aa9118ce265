"""`clipcli undo`: put back what a run has sorted."""

from __future__ import annotations

import os
from pathlib import Path

import click

from clipcli.cli.console import Console
from clipcli.cli.exit_codes import ExitCode
from clipcli.cli.options.shared import console_options


@click.command()
@click.argument("journal", metavar="JOURNAL", type=click.Path(dir_okay=False))
@console_options
@click.pass_obj
def undo(console: Console, /, journal: str) -> int:
    """Put back what `clipcli classify` has moved, copied or linked.

    JOURNAL is what the run wrote into its folder. Files that were moved go back to their old
    places, copies and links are removed, and so are the folders that the run made and that are
    empty. Nothing is ever replaced: what has changed since stays, and is told. Keywords stay, too.

    \b
    clipcli undo sorted/journal-1.jsonl
    """  # noqa: D301  click wants the character \b itself
    from clipcli.disk.journal import Journal, read_journal
    from clipcli.disk.undoing import undo as undone

    with console.warnings():
        # Before it is held, which would make one that is not there.
        if read_journal(Path(journal)).end == "undone":
            console.hint(f"{journal} is undone already")
            return ExitCode.ALL_DONE
        held = Journal(Path(os.path.realpath(journal)))
        try:
            result = undone(held, console.problem)
        finally:
            held.close()
    told = f"{result.count:,} file{'' if result.count == 1 else 's'} undone"
    console.hint(f"{told}, {result.left:,} left" if result.left else told)
    if not result.left:
        return ExitCode.ALL_DONE
    return ExitCode.SOME_FAILED if result.count else ExitCode.NONE_SUCCEEDED
