"""Pictures beside the results on a terminal: whether there are any, and where they come from."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipcli.cli.arguments.classify import ClassifyArguments
    from clipcli.outputs.terminal.previews import Previews
    from clipcli.runs.options import PipelineOptions


def open_previews(arguments: ClassifyArguments) -> Previews | None:
    """The pictures of a run, if they are asked for and results go to a terminal with colours."""
    is_shown = arguments.file.output is None and arguments.color.wanted
    is_human = arguments.format_name(on_terminal=True) == "human"
    if not (arguments.formats.preview and is_shown and is_human):
        return None
    # Not before: without `--preview` no terminal is asked anything, and nothing is imported.
    from clipcli.outputs.terminal.previews import Previews
    from clipcli.outputs.terminal.screens import find_screen

    screen = find_screen(sys.stdout)
    return None if screen is None else Previews(screen)


def with_previews(options: PipelineOptions, previews: Previews | None) -> PipelineOptions:
    """The options of a pipeline that gives a terminal its thumbnails, a report still its own."""
    if previews is None:
        return options
    others = options.thumbnails

    def take(index: int, jpeg: bytes) -> None:
        previews.add(index, jpeg)
        if others is not None:
            others(index, jpeg)

    return replace(options, thumbnails=take)
