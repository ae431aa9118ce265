"""A run's thumbnails on disk, in the order in which they come, given in that of the results."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile


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
        self._places: dict[int, tuple[int, int]] = {}
        self._shown = array("Q")  # start and length in the file, for each image that is shown

    def keep(self, index: int, jpeg: bytes) -> None:
        """Add the picture of the image at a position in the input; from any thread.

        Raises:
            OSError: the disk takes no more.
        """
        with self._lock:
            self._file.seek(self._size)
            self._file.write(jpeg)
            self._places[index] = self._size, len(jpeg)
            self._size += len(jpeg)

    def show(self, index: int) -> None:
        """Let the picture of the image at a position, if it has one, be the next in order."""
        self._shown.extend(self._places.pop(index, (0, 0)))

    def shown(self) -> Iterator[bytes]:
        """The pictures that are shown, in their order; empty where there is none.

        Raises:
            OSError: the disk cannot be read.
        """
        for place in range(0, len(self._shown), 2):
            start, length = self._shown[place : place + 2]
            with self._lock:
                self._file.seek(start)
                jpeg = self._file.read(length)
            yield jpeg

    def close(self) -> None:
        """Forget them all."""
        self._file.close()
