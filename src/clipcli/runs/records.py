"""The results of an earlier run, read back from JSON Lines beside the input they came from."""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from clipcli.errors import UsageError
from clipcli.images.sources import ImageRef


@dataclass(frozen=True)
class Line:
    """One result of an earlier run.

    Attributes:
        text: the line with its newline, byte for byte.
        record: what it says.
        index: position in the input order.
        name: the input as the user gave it.
    """

    text: bytes
    record: dict[str, Any]
    index: int
    name: str

    @property
    def failed(self) -> bool:
        """Whether the image had no prediction."""
        return bool(self.record["status"] == "error")


@dataclass(frozen=True)
class EarlierResults:
    """A file of results that an earlier run left.

    Attributes:
        file: JSON Lines; its last line may be torn.
        way_out: how to go on without it, for messages.
        size: bytes that are the results; what follows has been written and not been made sure of.
            None for all.
    """

    file: Path
    way_out: str
    size: int | None = None

    def walk(
        self, refs: Iterator[ImageRef], batch_size: int
    ) -> Iterator[tuple[Line | None, ImageRef]]:
        """Go through file and input side by side; never more than a block is held.

        Args:
            refs: the input from its start; the results must be those of its first images.
            batch_size: images in a block, as in the earlier run.

        Yields:
            Every image, with its result where that stands. A block that the file holds in part
            does not, unless the input ends with it: its images ran in other company, or will.

        Raises:
            UsageError: input and results do not belong together, or a line is no result.
        """
        pairs = self._pairs(refs)
        while len(block := list(islice(pairs, batch_size))) == batch_size:
            yield from block
        # The last block of all is as long as its images are many, now as in the earlier run.
        following = next(refs, None)
        if following is None:
            yield from block
            return
        for _, ref in block:
            yield None, ref
        yield None, following
        for ref in refs:
            yield None, ref

    def _pairs(self, refs: Iterator[ImageRef]) -> Iterator[tuple[Line, ImageRef]]:
        with self.file.open("rb") as stream:
            for number, line in enumerate(self._lines(stream), 1):
                ref = next(refs, None)
                # By index, too: a name may come more than once, and a shard's places differ.
                if ref is None or (ref.index, ref.name) != (line.index, line.name):
                    raise UsageError(self._mismatch(number, line, ref))
                yield line, ref

    def _lines(self, stream: IO[bytes]) -> Iterator[Line]:
        """The results; the last line is passed over if it is none: a kill or a crash tore it."""
        unreadable = 0
        left = math.inf if self.size is None else self.size
        for number, text in enumerate(stream, 1):
            if (left := left - len(text)) < 0:
                return
            # Whether it was the last is known only when another comes.
            if unreadable:
                raise UsageError(
                    f"line {unreadable} of {self.file} is no result: keep only the lines before"
                    f" it, or {self.way_out}"
                )
            line = parse_line(text)
            if line is None:
                unreadable = number
            else:
                yield line

    def _mismatch(self, number: int, line: Line, ref: ImageRef | None) -> str:
        there, here = repr(line.name), "at its end"
        if ref is not None:
            here = repr(ref.name)
            if here == there:
                there, here = f"image {line.index}, {there}", f"image {ref.index}, {here}"
        return (
            f"line {number} of {self.file} is {there}, but the input there is {here}: give the"
            f" input of the earlier run, or {self.way_out}"
        )


def parse_line(text: bytes) -> Line | None:
    """A line of results; None where it is not whole or no result."""
    # A write that was cut leaves no line end, even where what is there happens to be JSON.
    if not text.endswith(b"\n"):
        return None
    try:
        record = json.loads(text)
        # What is read of it later must be there, and be what it is taken for.
        match record:
            case {"status": "ok", "index": int(index), "input": str(name), "answer": str() | None}:
                pass
            case {"status": "error", "index": int(index), "input": str(name)}:
                if not isinstance(record["error"]["code"], str):
                    return None
            case _:
                return None
        if "input_b64" in record:
            name = os.fsdecode(base64.b64decode(record["input_b64"], validate=True))
        return Line(text, record, index, name)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
