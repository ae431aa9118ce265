"""A run's thumbnails on disk, in the order in which they come, given in that of the results."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

LARGE_BYTES = 16_000_000
"""Of all large pictures in a page: some hundred photos, behind which it is read as quickly."""


class Pictures:
    """Thumbnails in a file without a name.

    Args:
        folder: where the file is.

    Raises:
        OSError: there can be no file.
    """

    def __init__(self, folder: Path) -> None:
        self._file = TemporaryFile("w+b", dir=folder)  # noqa: SIM115  `close` closes it
        # Threads of a run that was cut may still write while the others' pictures are read.
        self._lock = threading.Lock()
        self._size = 0
        self._large_left = LARGE_BYTES
        self._places: dict[int, tuple[int, int, int]] = {}
        # Start in the file, length of the small one and of the large one, which comes behind it,
        # for each image that is shown.
        self._shown = array("Q")

    @property
    def has_room(self) -> bool:
        """Whether another large picture may be kept."""
        return self._large_left > 0

    def keep(self, index: int, jpeg: bytes, large: bytes) -> None:
        """Add the pictures of the image at a position in the input; from any thread.

        Once a large one finds no room, none after it does: no more need be made.

        Raises:
            OSError: the disk takes no more.
        """
        with self._lock:
            if len(large) > self._large_left:
                large, self._large_left = b"", 0
            self._large_left -= len(large)
            self._file.seek(self._size)
            self._file.write(jpeg + large)
            self._places[index] = self._size, len(jpeg), len(large)
            self._size += len(jpeg) + len(large)

    def show(self, index: int) -> None:
        """Let the pictures of the image at a position, if it has any, be the next in order."""
        self._shown.extend(self._places.pop(index, (0, 0, 0)))

    def shown(self) -> Iterator[bytes]:
        """The small pictures that are shown, in their order; empty where there is none.

        Raises:
            OSError: the disk cannot be read.
        """
        for start, length, _ in self._all():
            yield self._read(start, length)

    def shown_large(self) -> Iterator[tuple[int, bytes]]:
        """The large pictures that there are, each with its place in the order.

        Raises:
            OSError: the disk cannot be read.
        """
        for place, (start, length, large_length) in enumerate(self._all()):
            if large_length:
                yield place, self._read(start + length, large_length)

    def _all(self) -> Iterator[array[int]]:
        return (self._shown[place : place + 3] for place in range(0, len(self._shown), 3))

    def _read(self, start: int, length: int) -> bytes:
        with self._lock:
            self._file.seek(start)
            return self._file.read(length)

    def close(self) -> None:
        """Forget them all."""
        self._file.close()
