"""Checksums of results: of each finished block beside FILE.part, of the whole beside FILE.

::

    32 11210 1c291ca3     the first 32 lines are 11,210 bytes, and this is their CRC-32
    64 22398 0b9e3f50     the first 64 lines, those before included

What is written and nowhere summed up is the work of a block that was cut: it is done again.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from clipcli.disk.atomic import GuardedFile, NewFile, open_own, writable
from clipcli.errors import UsageError

_READ_AT_ONCE = 1 << 16
_LINE = re.compile(rb"(\d{1,18}) (\d{1,18}) ([0-9a-f]{8})\n")


class Sum(NamedTuple):
    """The checksum of a file's beginning.

    Attributes:
        lines: of it.
        size: of it, in bytes.
        crc: its CRC-32.
    """

    lines: int = 0
    size: int = 0
    crc: int = 0

    def with_more(self, data: bytes) -> Sum:
        """The checksum with what follows."""
        return Sum(self.lines + data.count(b"\n"), self.size + len(data), crc32(data, self.crc))

    def __str__(self) -> str:
        return f"{self.lines} {self.size} {self.crc:08x}\n"


class SummedFile(GuardedFile):
    """A file that is appended to, and the checksum of all that it then holds.

    Args:
        file: under a name of clipcli's own.
        before: of what it holds already.
        kept: what becomes of the results where the disk takes no more, for that error.
    """

    def __init__(self, file: Path, before: Sum, kept: str) -> None:
        super().__init__(file, "ab", file, kept)
        self.sum = before

    def write(self, data: Any, /) -> int:  # noqa: ANN401  whatever has bytes
        """Append bytes, as many as the disk takes."""
        count = super().write(data)
        self.sum = self.sum.with_more(bytes(memoryview(data)[:count]))
        return count


@dataclass(frozen=True)
class Checksums:
    """The checksums of FILE.part, a line a block.

    Attributes:
        file: that they are in.
    """

    file: Path

    def add(self, one: Sum) -> None:
        """Note one more block, which has been written.

        Raises:
            OSError: it cannot be noted.
        """
        with open_own(self.file, "ab") as stream:
            stream.write(str(one).encode())

    def forget(self) -> None:
        """Remove all: what they speak of is no more there.

        Raises:
            UsageError: they cannot be removed.
        """
        with writable(self.file):
            self.file.unlink(missing_ok=True)

    def renew(self, part: Path, block: int) -> Sum:
        """Note anew what a file holds, which has been looked through.

        Args:
            part: the file, of whole lines.
            block: lines in a block.

        Returns:
            The checksum of the whole.
        """
        done = Sum()
        with (
            part.open("rb") as stream,
            NewFile(self.file) as beside,
            open_own(beside, "w", encoding="ascii", newline="\n") as sums,
        ):
            for line in stream:
                done = done.with_more(line)
                if done.lines % block == 0:
                    sums.write(str(done))
        if done.lines < block:
            self.forget()
        return done

    def verified(self, part: Path) -> int | None:
        """How many bytes of a file are as they were written; None where nothing was noted.

        Raises:
            UsageError: a block is not; the message names its lines, without a way out.
        """
        if not self.file.is_file():
            return None
        done = Sum()
        with part.open("rb") as stream:
            for noted in self._noted():
                found = _read_on(stream, done, noted.size)
                if found.size < noted.size:
                    break  # cut short: a crash, or somebody who wanted it so
                if found.crc != noted.crc:
                    raise UsageError(
                        f"lines {done.lines + 1:,} to {noted.lines:,} of {part} are not as they"
                        f" were written (their checksum in {self.file.name} is another): keep only"
                        " the lines before them"
                    )
                done = noted
        return done.size

    def _noted(self) -> Iterator[Sum]:
        """The checksums; a torn last line is passed over."""
        done = Sum()
        with self.file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if not line.endswith(b"\n"):
                    return
                match = _LINE.fullmatch(line)
                one = Sum(int(match[1]), int(match[2]), int(match[3], 16)) if match else done
                if one.size <= done.size or one.lines <= done.lines:
                    raise UsageError(
                        f"line {number} of {self.file} is no checksum: delete that file to take"
                        " the results as they are"
                    )
                yield one
                done = one


def whole(file: Path) -> Sum:
    """The checksum of a whole file.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        return _read_on(stream, Sum(), None)


def _read_on(stream: io.BufferedIOBase | io.BufferedReader, done: Sum, end: int | None) -> Sum:
    """The checksum with what a stream holds further on, up to a place, or to its end."""
    while end is None or done.size < end:
        wanted = _READ_AT_ONCE if end is None else min(_READ_AT_ONCE, end - done.size)
        data = stream.read(wanted)
        if not data:
            break
        done = done.with_more(data)
    return done
