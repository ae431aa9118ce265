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
    file: str,
    title: str,
    labels: Sequence[str],
    settings: Mapping[str, Any],
    words: Sequence[str],
) -> Report:
    """Begin the report of a run.

    Args:
        file: as the command line names it.
        title: of the page.
        labels: in the user's order.
        settings: what the run is made with.
        words: of the command line, without the program's name.

    Raises:
        UsageError: nothing can be written there.
    """
    from datetime import datetime

    from clipcli.cli.running.command_line import command_line
    from clipcli.outputs.report.writer import Report

    date = datetime.now().astimezone().isoformat(" ", "seconds")
    # The format is that of other results: the page has its own.
    made = {name: value for name, value in settings.items() if name != "format"}
    called = {"date": date, "command_line": command_line(words)}
    return Report(Path(file), title, labels, {**called, **made})


def with_pictures(options: PipelineOptions, report: Report | None) -> PipelineOptions:
    """The options of a pipeline that gives the report its thumbnails, if there is a report."""
    return options if report is None else replace(options, thumbnails=report)
