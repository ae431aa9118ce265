"""Files that are there whole or not at all: written beside their place, synced, renamed."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path


class NewFile:
    """The new content of a file, which takes its place when it is whole.

    As a context it is published at the end of the block, and discarded after an error.

    Args:
        target: the file; one that is there stays until then.
        path: where the content is written, on the same disk; by default beside the target, under
            a name of this process's own.

    Example:
        >>> with NewFile(Path("answers.csv")) as file:
        ...     file.write_text("cat,0.9")
    """

    def __init__(self, target: Path, path: Path | None = None) -> None:
        self.path = path or target.with_name(f".{target.name}.{os.getpid()}.new")
        self._target = target

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        if kind is not None:
            self.discard()
            return
        try:
            self.publish()
        except BaseException:
            self.discard()
            raise

    def publish(self) -> None:
        """Put the content in the target's place.

        Raises:
            OSError: the disk takes no more, or the target cannot be replaced.
        """
        with self.path.open("rb+") as file:
            # Else a power cut could leave the new name with the content still on its way.
            os.fsync(file.fileno())
        self.path.replace(self._target)

    def discard(self) -> None:
        """Remove what has not been published."""
        with suppress(OSError):
            self.path.unlink()


def part_file(target: Path) -> Path:
    """FILE.part, where the content of a FILE that takes long to make is seen to grow."""
    return target.with_name(f"{target.name}.part")


def write_text(file: Path, text: str) -> None:
    """Write a small file so that whoever reads it meanwhile finds the old content or the new one.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    # Not tempfile: its files are closed to everyone but their owner, and stay so when renamed.
    with NewFile(file) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


def write_json(file: Path, value: object) -> None:
    """Write a JSON file that a user named, as `write_text` does.

    A link stays one, and what it leads to is written. A device or a pipe (`/dev/null`,
    `/dev/stderr`) stays what it is, too, and is written to.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    # Before the file is touched: what is no JSON must not cost the old content.
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    if file.exists() and not file.is_file():
        file.write_text(text, encoding="utf-8")
    else:
        write_text(file.resolve(), text)
