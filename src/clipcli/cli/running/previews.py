"""Pictures beside the results on a terminal: whether there are any, and where they come from."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipcli.cli.arguments.classify import ClassifyArguments
    from clipcli.cli.arguments.search import SearchArguments
    from clipcli.outputs.terminal.previews import Previews
    from clipcli.runs.options import PipelineOptions, ThumbnailTaker


def open_previews(arguments: ClassifyArguments | SearchArguments) -> Previews | None:
    """The pictures of a run, if they are asked for and results go to a terminal with colours."""
    is_shown = arguments.file.output is None and arguments.color.wanted
    is_human = arguments.format_name(on_terminal=True) == "human"
    return find_previews() if arguments.formats.preview and is_shown and is_human else None


def find_previews() -> Previews | None:
    """Pictures on standard output, where it is a terminal that can show them."""
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
    return replace(options, thumbnails=_Takers(previews, others) if others else previews)


@dataclass(frozen=True)
class _Takers:
    """A terminal and a report, which take the same pictures."""

    previews: Previews
    report: ThumbnailTaker

    @property
    def wants_large(self) -> bool:
        return self.report.wants_large

    def add_thumbnail(self, index: int, jpeg: bytes, large: bytes = b"") -> None:
        self.previews.add_thumbnail(index, jpeg)
        self.report.add_thumbnail(index, jpeg, large)
