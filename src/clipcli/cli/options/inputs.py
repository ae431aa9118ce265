"""Options that say which images there are, and how they are read."""

from __future__ import annotations

import click

from clipcli.cli.arguments.run import DEFAULT_DECODE_SECONDS
from clipcli.cli.options.shared import grouped

naming_options = grouped(
    click.argument("images", nargs=-1, type=click.Path(), metavar="IMAGE..."),
    click.option(
        "-r", "--recursive", is_flag=True, help="Search folders, and folders in them, for images."
    ),
    click.option(
        "--files-from",
        metavar="FILE",
        type=click.Path(allow_dash=True),
        help="Read image names from FILE (- for standard input), one a line.",
    ),
    click.option(
        "-0",
        "--null",
        "null_separated",
        is_flag=True,
        help="In the list, names end with NUL, as `find -print0` writes them.",
    ),
    click.option(
        "--shard",
        metavar="I/N",
        help="Take only the I-th of N equal parts of the images, from 1/N to N/N.",
    ),
)

reading_options = grouped(
    click.option(
        "--allow-format",
        "extra_formats",
        multiple=True,
        type=click.Choice(["tiff", "avif", "jpeg2000"]),
        help="Also open images of this format.",
    ),
    click.option(
        "--max-bytes",
        type=click.IntRange(min=1),
        metavar="N",
        help="Refuse larger files.  [default: 268,435,456; from the network 50,000,000]",
    ),
    click.option(
        "--max-pixels",
        type=click.IntRange(min=1),
        metavar="N",
        help="Refuse larger images.  [default: 200,000,000]",
    ),
    click.option(
        "--preprocess",
        type=click.Choice(["plain", "reference"]),
        default="plain",
        show_default=True,
        help="plain: upright, on white, 16 bits scaled. reference: exactly open_clip's transform.",
    ),
    click.option(
        "--fast-decode",
        is_flag=True,
        help="Decode large JPEG photos at a fraction of their size; numbers change a little.",
    ),
    click.option(
        "--isolate",
        is_flag=True,
        help="Decode in processes of their own: one that hangs or dies costs one image.",
    ),
    click.option(
        "--decode-timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help=f"With --isolate, for each image.  [default: {DEFAULT_DECODE_SECONDS:g}]",
    ),
    click.option(
        "--allow-host",
        "allowed_hosts",
        metavar="HOST[:PORT]",
        multiple=True,
        help="Fetch from this host even if its address is private (localhost, 10.0.0.7).",
    ),
    click.option(
        "--fetch-concurrency",
        type=click.IntRange(min=1),
        metavar="N",
        help="Downloads at once.  [default: 16]",
    ),
    click.option(
        "--fetch-per-host",
        type=click.IntRange(min=1),
        metavar="N",
        help="Downloads at once from one host.  [default: 4]",
    ),
    click.option(
        "--proxy",
        metavar="URL",
        help="Fetch through this proxy, http(s)://[NAME:PASSWORD@]HOST[:PORT]; it then decides"
        " what addresses a host name leads to.",
    ),
)

input_options = grouped(naming_options, reading_options)

embeddings_option = click.option(
    "--embeddings",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Score the images of a file that `clipcli embed` made, in place of IMAGEs.",
)
