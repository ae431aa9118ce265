"""`clipcli doctor`: what is installed, whether it is whole, and whether it answers rightly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipcli.cli.advice import with_owners
from clipcli.cli.console import Console
from clipcli.cli.exit_codes import ExitCode
from clipcli.cli.options.shared import console_options
from clipcli.printable import printable

if TYPE_CHECKING:
    from clipcli.doctor.findings import Check, Examination, Fact, Section


@click.command(epilog="Exit codes: 0 all that ran agreed, 2 usage, 6 something did not.")
@click.option(
    "--images",
    metavar="FOLDER",
    type=click.Path(file_okay=False, exists=True),
    envvar="CLIPCLI_KNOWN_ANSWERS",
    show_envvar=True,
    help="The images of published answers (CLIP.png, say), for real models that are at hand.",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
@console_options
@click.pass_obj
def doctor(console: Console, /, images: str | None, as_json: bool) -> int:
    """Examine this installation, and exit with 0 only if all that ran agreed.

    Versions, device, engines, decoders and caches are listed, every file of every model at hand
    is compared with its sha256, and the bundled model must give its known answers in each engine.
    Nothing is downloaded.

    \b
    clipcli doctor
    clipcli doctor --json
    """  # noqa: D301  click wants the character \b itself
    from clipcli.doctor.examine import examine

    with console.warnings():
        examination = examine(Path(images) if images else None, console.step)
    if as_json:
        click.echo(json.dumps(examination.to_json(), indent=1))
    else:
        for line in _lines(examination):
            click.echo(printable(line))
    return ExitCode.ALL_DONE if examination.agreed else ExitCode.CHECK_NOT_MET


def _lines(examination: Examination) -> Iterator[str]:
    for section in examination.sections:
        yield section.title
        yield from _aligned(section)
        yield ""
    yield _verdict(examination)


def _aligned(section: Section) -> Iterator[str]:
    if not section.findings:
        yield "  none"
    # Each section by itself: one long name of a model must not push all versions aside.
    width = max((len(finding.name) for finding in section.findings), default=0)
    for finding in section.findings:
        yield f"  {finding.name:<{width}}  {_text(finding)}".rstrip()


def _text(finding: Fact | Check) -> str:
    from clipcli.doctor.findings import Check, Outcome

    if not isinstance(finding, Check):
        return finding.text
    words = {Outcome.OK: "ok", Outcome.FAILED: "FAILED", Outcome.NOT_RUN: "not run"}
    detail = with_owners(finding.detail, ["--images"])
    return f"{words[finding.outcome]:<7}  {detail}"


def _verdict(examination: Examination) -> str:
    from clipcli.doctor.findings import Outcome

    not_run = examination.count(Outcome.NOT_RUN)
    rest = f"; {not_run} not run" if not_run else ""
    if examination.agreed:
        return f"all that ran agreed: {examination.count(Outcome.OK)} ok{rest}"
    failed = examination.failed
    return f"{len(failed)} FAILED: {', '.join(check.name for check in failed)}{rest}"
