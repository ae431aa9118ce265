"""Options of LoRA, in `clipcli adapt`."""

from __future__ import annotations

from dataclasses import fields

import click

from clipcli.adaptation.lora_options import STEPS_WITHOUT_CUDA, TARGETS, TOWERS, LoraOptions
from clipcli.adaptation.options import MOST_FOLDS
from clipcli.cli.options.groups import group, option
from clipcli.errors import UsageError


@group("Adapter")
class MergeFlag:
    """An adapter that becomes a model."""

    merge: str | None = option(
        "--merge",
        metavar="NAME",
        help="Adapt nothing: write the model with the LoRA of the adapter NAME in its weights to"
        " the folder DATA, for `clipcli pull`.",
    )


@group("LoRA (--method lora)")
class LoraFlags:
    """What LoRA trains, and how."""

    rank: int | None = option(
        "--rank",
        type=click.IntRange(1, 4096),
        metavar="N",
        help="Of the change of each weight matrix.  [default: 2]",
    )
    alpha: float | None = option(
        "--alpha",
        type=click.FloatRange(0, 1e6, min_open=True),
        metavar="A",
        help="Changes are multiplied with A / √rank.  [default: 1]",
    )
    targets: str | None = option(
        "--targets",
        metavar="LIST",
        help=f"Which of an attention's weights change, of {','.join(TARGETS)}; a tower without"
        " attention changes in all its layers.  [default: q,k,v]",
    )
    layers: str | None = option(
        "--layers", type=click.Choice(TOWERS), help="Of which towers.  [default: both]"
    )
    last: int | None = option(
        "--last",
        type=click.IntRange(1, 1000),
        metavar="N",
        help="Only the last N blocks of each tower, which takes less time.  [default: all]",
    )
    steps: int | None = option(
        "--steps",
        type=click.IntRange(1, 10**7),
        metavar="N",
        help="Of a training, of 32 pictures each.  [default: 500 for each picture of a class with"
        f" CUDA, else {STEPS_WITHOUT_CUDA}]",
    )
    learning_rate: float | None = option(
        "--learning-rate",
        type=click.FloatRange(0, 1, min_open=True),
        metavar="R",
        help="Of the first step; with few steps, ten times as much learns more.  [default: 2e-4]",
    )
    head: bool = option(
        "--head", is_flag=True, help="Fit a probe on what LoRA has made of the model."
    )
    folds: int | None = option(
        "--folds",
        type=click.IntRange(2, MOST_FOLDS),
        metavar="K",
        help="Hold out each picture once, in K trainings, in place of a fifth once.",
    )
    yes: bool = option(
        "--yes", is_flag=True, help="Do not ask before a training of more than ten minutes."
    )

    def check_method(self, method: str) -> None:
        """See that they are not given for another method.

        Raises:
            UsageError: one of them is.
        """
        given = [one.name for one in fields(self) if getattr(self, one.name)]
        if given and method != "lora":
            option = given[0].replace("_", "-")
            raise UsageError(f"--{option} goes with --method lora")

    def options(self) -> LoraOptions:
        """What LoRA trains, and how.

        Raises:
            UsageError: something that cannot be trained so.
        """
        asked = {
            name: value
            for name in ("rank", "alpha", "layers", "last", "steps", "learning_rate")
            if (value := getattr(self, name)) is not None
        }
        if self.targets is not None:
            asked["targets"] = tuple(part.strip() for part in self.targets.split(","))
        return LoraOptions(**asked)
