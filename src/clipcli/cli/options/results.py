"""Options that say what becomes of results: what is shown, where it goes, when a run ends."""

from __future__ import annotations

import click

from clipcli.cli.options.shared import grouped

run_options = grouped(
    click.option(
        "--unordered",
        is_flag=True,
        help="Give results as they are ready, not in input order: no image waits for a slow one.",
    ),
    click.option("--fail-fast", is_flag=True, help="End at the first image that fails."),
    click.option(
        "--max-errors",
        type=click.IntRange(min=1),
        metavar="N",
        help="End when N images have failed.",
    ),
    click.option(
        "--summary",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        help="At the end, write counts, rate, settings and versions to FILE, as JSON.",
    ),
)

output_options = grouped(
    click.option(
        "-k",
        "--top-k",
        type=click.IntRange(min=1),
        metavar="N",
        help="Labels to show for each image.  [default: 5; in TSV 1; with -v all]",
    ),
    click.option(
        "--min-probability",
        type=click.FloatRange(0, 1),
        metavar="P",
        default=0.0,
        help="Answer `unknown` where the best label has less than P.",
    ),
    click.option(
        "--expect",
        metavar="LABEL",
        help="Exit with 6 unless this label (or `unknown`) is every image's answer.",
    ),
    click.option(
        "--format",
        "output_format",
        type=click.Choice(["human", "tsv", "csv", "json", "jsonl"]),
        envvar="CLIPCLI_FORMAT",
        show_envvar=True,
        help="[default: human on a terminal, tsv elsewhere]",
    ),
    click.option("--json", "as_json", is_flag=True, help="Short for --format json."),
    click.option("--jsonl", "as_jsonl", is_flag=True, help="Short for --format jsonl."),
    click.option("--no-color", is_flag=True, help="No colours on a terminal (as with NO_COLOR)."),
    click.option(
        "--preview", is_flag=True, help="Show each image beside its bars, on a terminal in colours."
    ),
)

file_options = grouped(
    click.option(
        "-o",
        "--output",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        help="Write to FILE.part, renamed to FILE when the run is whole. .jsonl, .json, .csv and"
        " .tsv choose the format.",
    ),
    click.option(
        "--resume",
        is_flag=True,
        help="Go on where the run that wrote FILE.part (of -o FILE, JSONL) was cut.",
    ),
    click.option(
        "--retry-failed",
        is_flag=True,
        help="Try the failed images of -o FILE (JSONL) once more, and keep the other results.",
    ),
)

report_option = click.option(
    "--report",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Also write a page (.html) with all images and their scores, for any browser.",
)
