"""An adapter put on disk, whole or not at all, in nobody's way."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipcli.disk.atomic import cannot_write
from clipcli.disk.folders import remove_abandoned, replace_folder, temporary_folder
from clipcli.errors import UsageError
from clipcli.heads.adapters import DESCRIPTION_FILE, TENSORS_FILE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clipcli.heads.adapter_description import Description


def write_adapter(
    folder: Path, description: Description, tensors: Mapping[str, NDArray[Any]]
) -> None:
    """Put an adapter in its place, whole or not at all; what is there is replaced.

    Args:
        folder: its place; its parent is made where it is not there.
        description: all but what the tensors' file is.
        tensors: by name.

    Raises:
        ClipcliError: the disk takes no more, or the folder cannot be written to.
    """
    from safetensors.numpy import save

    data = save(dict(tensors))
    sha256 = hashlib.sha256(data).hexdigest()
    made = replace(description, tensors_sha256=sha256, tensors_bytes=len(data))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder.parent)
        temporary = temporary_folder(folder)
        temporary.mkdir()
        try:
            _write(temporary / TENSORS_FILE, data)
            _write(temporary / DESCRIPTION_FILE, made.to_json().encode())
            replace_folder(temporary, folder)
        except BaseException:
            _discard(temporary)
            raise
    except OSError as error:
        raise cannot_write(f"-o {folder}", error) from error


def _write(file: Path, data: bytes) -> None:
    with file.open("xb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())


def _discard(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def check_target(name: str, folder: Path, *, may_be_there: bool) -> None:
    """See, before anything is fitted, that an adapter can be written, and what it replaces.

    Raises:
        UsageError: something is there that is no adapter, or an adapter that may not be replaced.
    """
    if not os.path.lexists(folder):
        return
    names = set(os.listdir(folder)) if folder.is_dir() and not folder.is_symlink() else None
    # An empty folder is nobody's loss.
    if names and not (DESCRIPTION_FILE in names and names <= {DESCRIPTION_FILE, TENSORS_FILE}):
        raise UsageError(f"-o {name}: {folder} is a folder of other things: name another")
    if names is None:
        raise UsageError(f"-o {name}: {folder} is there and is no adapter: name another")
    if names and not may_be_there:
        raise UsageError(f"-o {name} exists already ({folder}): --force replaces it")
