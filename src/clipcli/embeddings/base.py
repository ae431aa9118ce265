"""What a file of embeddings holds, whatever its format, and the checks that both formats share."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from clipcli.arrays import Float32
from clipcli.embeddings.description import Description
from clipcli.embeddings.rows import Block
from clipcli.errors import ClipcliError, UsageError, one_line

if TYPE_CHECKING:
    from types import TracebackType

    from clipcli.engines.base import ModelInfo
    from clipcli.images.sources import ImageRef


MAX_NAME_BYTES = 1 << 20
"""Longer ones are in no file system; a hostile file must not fill the memory with them."""

_WAY_OUT = "make it anew with 'clipcli embed'"


class EmbeddingsWriter(Protocol):
    """Writes embeddings to a file that appears when it is finished, or not at all."""

    def write(self, refs: Sequence[ImageRef], rows: Float32) -> None:
        """Add n images and their unit embeddings, shape (n, embed_dim).

        Raises:
            OSError: the disk takes no more.
        """
        ...

    def finish(self) -> None:
        """Put the file in its place; one that was there is replaced.

        Raises:
            OSError: the disk takes no more.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove whatever is not finished."""
        ...


class EmbeddingsFile(Protocol):
    """A file of embeddings, to be read as often as is wanted."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    @property
    def description(self) -> Description:
        """What made it."""
        ...

    def __len__(self) -> int:
        """How many embeddings it holds."""
        ...

    def blocks(self, size: int) -> Iterator[Block]:
        """The images and their embeddings, in the file's order.

        Args:
            size: most rows in a block, which is all that is in memory at a time.

        Yields:
            Images as they were embedded (index and name; their source is empty), none a failure.

        Raises:
            UsageError: the file is damaged.
        """
        ...


def check_model(file: EmbeddingsFile, info: ModelInfo) -> None:
    """See that a model's texts can be compared with a file's images.

    Raises:
        UsageError: the embeddings are another model's.
    """
    made = file.description
    if made.fingerprint == info.fingerprint:
        # Of one fingerprint there is one width: the file's description has been tampered with.
        if made.embed_dim != info.embed_dim:
            raise damaged(file.path, f"its rows are of width {made.embed_dim}, not the model's")
        return
    if made.model == info.name:
        raise UsageError(
            f"{file.path}: was made with other weights or another precision of {made.model}"
            f" (fingerprint {made.fingerprint}, {made.precision}), not with these (fingerprint"
            f" {info.fingerprint}): add --precision {made.precision} or the same --checkpoint, or"
            " embed the images again"
        )
    # A checkpoint's name is no name to ask for: "ViT-B-32 (mine.safetensors)".
    is_plain = " (" not in made.model
    way_out = f"add --model {shlex.quote(made.model)}" if is_plain else "add its --checkpoint"
    raise UsageError(
        f"{file.path}: was made with {made.model} (fingerprint {made.fingerprint}),"
        f" not with {info.name}: {way_out}, or embed the images again"
    )


def check_same_model(file: EmbeddingsFile, other: EmbeddingsFile) -> None:
    """See that two files' images can be compared.

    Raises:
        UsageError: they are different models'.
    """
    made, wanted = file.description, other.description
    if (made.fingerprint, made.embed_dim) != (wanted.fingerprint, wanted.embed_dim):
        raise UsageError(
            f"{file.path}: was made with {made.model} (fingerprint {made.fingerprint}), and"
            f" {other.path} with {wanted.model} (fingerprint {wanted.fingerprint}): search files"
            " of one model"
        )


def damaged(path: Path, reason: str) -> UsageError:
    """The error of a file that cannot be used as it is."""
    return UsageError(f"{path}: not usable as embeddings: {reason}; {_WAY_OUT}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Make a UsageError of whatever a damaged file makes a reader raise.

    Zip, zlib, NumPy and Arrow have dozens of ways to say that a byte is wrong.
    """
    try:
        yield
    except ClipcliError:
        raise
    except OSError as error:
        if error.errno is None:  # not the system's error: so Arrow calls a wrong byte
            raise damaged(path, one_line(error)) from error
        reason = error.strerror or str(error)
        way_out = "name a file that 'clipcli embed' made"
        raise UsageError(f"{path}: cannot be read ({reason}): {way_out}") from error
    except Exception as error:
        raise damaged(path, one_line(error)) from error
