"""The page that a run makes beside its results, and where its pictures come from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from clipcli.arrays import Float32
    from clipcli.images.preprocessing import PreprocessConfig
    from clipcli.images.sources import ImageRef
    from clipcli.outputs.report.writer import Report
    from clipcli.runs.options import PipelineOptions

Rows = tuple[list["ImageRef"], "Float32"]


def open_report(
    file: str, title: str, labels: Sequence[str], settings: Mapping[str, Any]
) -> Report:
    """Begin the report of a run.

    Args:
        file: as the command line names it.
        title: of the page.
        labels: in the user's order.
        settings: what the run is made with.

    Raises:
        UsageError: nothing can be written there.
    """
    from clipcli.outputs.report.writer import Report

    # The format is that of other results: the page has its own.
    made = {name: value for name, value in settings.items() if name != "format"}
    return Report(Path(file), title, labels, made)


def with_pictures(options: PipelineOptions, report: Report | None) -> PipelineOptions:
    """The options of a pipeline that gives the report its thumbnails, if there is a report."""
    return options if report is None else replace(options, thumbnails=report.add_thumbnail)


def with_files_pictures(
    blocks: Iterable[Rows], config: PreprocessConfig, options: PipelineOptions
) -> Iterator[Rows]:
    """Blocks of embeddings, each passed on when its images' thumbnails are made.

    An image whose name is no longer that of a file has none.

    Args:
        blocks: images and their embeddings, as a file of embeddings gives them.
        config: of the model.
        options: how images are read, and who takes their thumbnails.
    """
    from clipcli.runs.lookahead import LookAhead

    # In order, whatever the run's is: a block is whole before its results are.
    with LookAhead(config, replace(options, ordered=True)) as ahead:
        for refs, rows in blocks:
            for ref in refs:
                # Whoever made the embeddings may have named a pipe, for which reading would wait,
                # or what no file can be called, for which Path.is_file raises.
                if os.path.isfile(ref.name):
                    ahead.submit(replace(ref, source=Path(ref.name)))
            ahead.take(len(refs))
            yield refs, rows
