"""The command line of `embed`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipcli.cli.arguments.checks import Outputs, check_outputs
from clipcli.cli.arguments.run import RunArguments
from clipcli.cli.options.adapters import AdapterFlag
from clipcli.cli.options.groups import group, option
from clipcli.cli.options.inputs import NamingFlags
from clipcli.cli.options.results import ForceFlag, LimitFlags
from clipcli.cli.options.shared import LabelFlags
from clipcli.disk.outputs import behind_links
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.engines.base import EngineOptions


@group("Output")
class TargetFlag:
    """The file that embeddings are written to."""

    output: str = option(
        "-o",
        "--output",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        # There is no default: embeddings are binary, and a terminal is no place for them.
        required=True,
        help="Write to this file, ending in .npz or .parquet; a run that is cut leaves none.",
    )


@dataclass(frozen=True, kw_only=True)
class EmbedArguments(RunArguments):
    """The command line of `embed`.

    Raises:
        UsageError: no images are named, or a file is there already or cannot be written.
    """

    naming: NamingFlags
    labels: LabelFlags
    target: TargetFlag
    force: ForceFlag
    adapter: AdapterFlag
    limits: LimitFlags

    def __post_init__(self) -> None:
        if not self.embeds_texts:
            self.naming.check_named()
        elif self.naming.names_images:
            raise UsageError("-l and --labels embed texts: name them or images, a file for each")
        named = {"-o": self.target.output, "--summary": self.limits.summary}
        check_outputs(Outputs(named, self.force.replaced(*named)))

    @property
    def embeds_texts(self) -> bool:
        """Whether labels are embedded, in place of images."""
        return bool(self.labels.labels or self.labels.label_files)

    @property
    def file(self) -> Path:
        """Where the embeddings go, behind all links."""
        return behind_links(Path(self.target.output))

    def engine_options(self) -> EngineOptions:
        """Where and how the model runs."""
        return self.engine.options(self.naming.image_count())
