"""Options that put pictures where their answers say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipcli.cli.options.groups import group, option
from clipcli.errors import UsageError

if TYPE_CHECKING:
    from clipcli.outputs.sorting import SortOptions

_FOLDER = click.Path(file_okay=False)


@group("Sorting")
class SortingFlags:
    """What becomes of the pictures themselves.

    Raises:
        UsageError: options that do not go together.
    """

    copy_to: str | None = option(
        "--copy-to",
        metavar="DIR",
        type=_FOLDER,
        help="Copy each picture to DIR/ANSWER/NAME; no file is ever replaced, and `clipcli undo`"
        " takes a run back.",
    )
    move_to: str | None = option(
        "--move-to", metavar="DIR", type=_FOLDER, help="The same, and it leaves its old place."
    )
    link_to: str | None = option(
        "--link-to",
        metavar="DIR",
        type=_FOLDER,
        help="Make a symbolic link there, which shows the picture at its old place.",
    )
    unknown_to: str | None = option(
        "--unknown-to",
        metavar="DIR",
        type=_FOLDER,
        help="Those without an answer to DIR/unknown, those that fail to DIR/failed. Without it"
        " they stay.",
    )
    xmp: bool = option(
        "--xmp",
        is_flag=True,
        help="Write the answer, and other shown labels of 0.1 and more, as keywords into"
        " NAME.jpg.xmp beside each picture (into NAME.xmp where that is there).",
    )
    dry_run: bool = option(
        "--dry-run", is_flag=True, help="Tell what would happen to pictures, and touch nothing."
    )

    def __post_init__(self) -> None:
        if len(named := self._named()) > 1:
            raise UsageError(f"{' and '.join(named)} exclude each other: keep one of them")
        for option_name, folder in self.folders().items():
            if not folder:
                raise UsageError(f"{option_name} names no folder")
        if self.unknown_to is not None and not named:
            raise UsageError("--unknown-to goes with --copy-to, --move-to or --link-to")
        if self.dry_run and not self.needs_files:
            raise UsageError("--dry-run goes with --copy-to, --move-to, --link-to or --xmp")

    def _named(self) -> dict[str, str]:
        every = {"--copy-to": self.copy_to, "--move-to": self.move_to, "--link-to": self.link_to}
        return {name: folder for name, folder in every.items() if folder is not None}

    @property
    def named(self) -> tuple[str, str] | None:
        """The option that sorts, and its folder."""
        return next(iter(self._named().items()), None)

    @property
    def needs_files(self) -> bool:
        """Whether anything is done with pictures or beside them."""
        return self.named is not None or self.xmp

    def folders(self) -> dict[str, str]:
        """The folders that are written to, by their options."""
        unknown = {} if self.unknown_to is None else {"--unknown-to": self.unknown_to}
        return self._named() | unknown

    def options(self, at_once: int | None = None) -> SortOptions:
        """Where pictures go; only where an option sorts them.

        Args:
            at_once: files between two moments at which the disk is waited for; None for many.
        """
        from clipcli.disk.placing import How
        from clipcli.outputs.sorting import SortOptions

        assert self.named is not None
        how, folder = self.named
        return SortOptions(
            How(how.removeprefix("--").removesuffix("-to")),
            Path(folder),
            None if self.unknown_to is None else Path(self.unknown_to),
            self.dry_run,
            at_once or SortOptions.at_once,
        )
