"""The page that a run makes beside its results, and where its pictures come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from clipcli.outputs.report.writer import Report
    from clipcli.runs.options import PipelineOptions


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
