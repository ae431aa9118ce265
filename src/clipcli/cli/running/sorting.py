"""What a run does with the pictures themselves, and beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli.outputs.writers import DEFAULT_TOP_K

if TYPE_CHECKING:
    from clipcli.cli.arguments.classify import ClassifyArguments
    from clipcli.heads.results import Result
    from clipcli.outputs.sorting import Folders
    from clipcli.outputs.telling import Teller
    from clipcli.outputs.writers import Writer


def open_sorting(
    arguments: ClassifyArguments, folders: Folders | None, teller: Teller
) -> list[Writer]:
    """The writers that the command line asks for: of sidecars, then, to take these along, a sorter.

    Args:
        arguments: the command line.
        folders: that pictures are sorted into; None where they are not.
        teller: is told what becomes of pictures.
    """
    writers: list[Writer] = []
    if arguments.sorting.xmp:
        from clipcli.outputs.sidecars import SidecarWriter

        shown = arguments.answers.top_k or DEFAULT_TOP_K
        writers.append(SidecarWriter(shown, teller, arguments.sorting.dry_run))
    if folders is not None:
        from clipcli.outputs.sorting import Sorter

        writers.append(Sorter(arguments.sort_options(), folders, teller))
    return writers


def with_paths(blocks: Iterable[Sequence[Result]]) -> Iterator[Sequence[Result]]:
    """Results of a file of embeddings, whose images' names are paths if any are."""
    return ([replace(result, path=Path(result.name)) for result in block] for block in blocks)
