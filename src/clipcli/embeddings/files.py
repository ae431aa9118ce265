"""Embeddings of images in files: embedded once, scored as often as there are questions."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from clipcli.disk.outputs import is_stream
from clipcli.embeddings.base import (
    EmbeddingsFile,
    EmbeddingsWriter,
)
from clipcli.embeddings.description import Description
from clipcli.errors import UsageError

EXTENSIONS = (".npz", ".parquet")


def create_embeddings(path: Path, description: Description) -> EmbeddingsWriter:
    """Begin a file of embeddings, in the format that its extension names; a stream's is .npz.

    Raises:
        UsageError: there is no such format, or its library is not installed.
        OSError: the folder cannot be written to.
    """
    if target_extension(path) == ".parquet":
        from clipcli.embeddings.parquet import ParquetWriter

        return ParquetWriter(path, description)

    from clipcli.embeddings.npz import NpzWriter

    return NpzWriter(path, description)


def open_embeddings(path: Path) -> EmbeddingsFile:
    """Open a file of embeddings, in the format that its extension names.

    Raises:
        UsageError: there is no such format, its library is not installed, or the file is not
            usable.
    """
    if _extension(path) == ".parquet":
        from clipcli.embeddings.parquet import ParquetFile

        return ParquetFile(path)

    from clipcli.embeddings.npz import NpzFile

    return NpzFile(path)


def check_target(path: Path) -> None:
    """See, before hours of work, that a file's name will do.

    Raises:
        UsageError: as `create_embeddings`, or it is a folder's name.
    """
    target_extension(path)
    # Found out now: renaming a file over a folder fails only at the end of the run.
    if path.is_dir():
        raise UsageError(f"{path}: is a folder: name a file")


def target_extension(path: Path) -> str:
    """The format of a file that is to be written.

    Raises:
        UsageError: as `create_embeddings`.
    """
    # /dev/stdout and bash's >(…) have no extension.
    return ".npz" if is_stream(path) and path.suffix not in EXTENSIONS else _extension(path)


def _extension(path: Path) -> str:
    extension = path.suffix.lower()
    if extension not in EXTENSIONS:
        raise UsageError(f"{path}: embeddings are in files named .npz or .parquet")
    # Found, not imported: that takes tenths of a second.
    if extension == ".parquet" and find_spec("pyarrow") is None:
        way_out = "install the extra 'parquet' (pip install 'clipcli[parquet]'), or use .npz"
        raise UsageError(f"{path}: .parquet needs the package pyarrow: {way_out}")
    return extension
