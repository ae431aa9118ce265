"""A weights file that can run code -> safetensors, which cannot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file

from clipcli.disk.outputs import OutputFile
from clipcli.engines.torch.checkpoints import (
    OPENAI_SETTINGS,
    USUAL_TABLES,
    StateDict,
    read_torchscript,
    read_weight_sets,
)
from clipcli.errors import DISK_FULL, ModelError
from clipcli.models.weights import is_torchscript


@dataclass(frozen=True)
class Converted:
    """What was written.

    Attributes:
        tensors: how many.
        size: of the file, in bytes.
        is_openais: whether the source is one of OpenAI's own, which all were trained with
            QuickGELU.
    """

    tensors: int
    size: int
    is_openais: bool


def convert(source: Path, target: Path) -> Converted:
    """Write a state dict as safetensors, its numbers as float32; whole or not at all.

    Its names stay, so that whoever could use the source can use the target.

    Args:
        source: a pickled state dict, of which only tensors are read, or a TorchScript archive,
            which can run its author's code: ask the user first.
        target: the safetensors file; one that is there is replaced.

    Raises:
        ModelError: the source cannot be read, or the target not be written.
    """
    found = read_torchscript(source) if is_torchscript(source) else _weights(source)
    state = {key: value for key, value in found.items() if key not in OPENAI_SETTINGS}
    if not state:
        raise ModelError(f"{source} holds no tensors")
    try:
        with OutputFile(target) as file:
            write_state(state, file)
            size = file.stat().st_size
        return Converted(len(state), size, found.keys() >= OPENAI_SETTINGS)
    except (OSError, safetensors.SafetensorError) as error:
        # Not the whole of it: that would name the file beside the target.
        raise cannot_write(target, "file", error) from error


def cannot_write(target: Path, kind: str, error: Exception) -> ModelError:
    """The error of weights that cannot be written.

    Args:
        target: what the user named.
        kind: `file` or `folder`.
        error: of the system, or of safetensors.
    """
    reason = getattr(error, "strerror", None) or error
    is_full = getattr(error, "errno", None) in DISK_FULL or "No space" in str(error)
    way_out = f": make room there, or name a {kind} on another disk" if is_full else ""
    return ModelError(f"{target} cannot be written ({reason}){way_out}")


def _weights(source: Path) -> StateDict:
    """The weights among all that training may have left in a pickle: the largest table, or none.

    Which model they are for is not known here: an average beside them might be meant as well.
    """
    tables = read_weight_sets(source)
    usual = [table for table in tables if table.path in USUAL_TABLES]
    most = max(len(table.state) for table in tables)
    large = [table for table in usual or tables if 2 * len(table.state) >= most]
    if len(large) != 1:
        names = ", ".join(table.name for table in large)
        raise ModelError(f"{source} holds more than one set of weights ({names}): save one alone")
    return large[0].state


def write_state(state: StateDict, file: Path) -> None:
    """Write tensors into a file that is there, as safetensors, their numbers as float32.

    Raises:
        OSError: it cannot be written.
        SafetensorError: neither can it.
    """
    # safetensors lets only its owner read what it writes; a new file's own mode is the user's wish.
    mode = file.stat().st_mode
    save_file({key: _plain(value) for key, value in state.items()}, file)
    file.chmod(mode)


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    # OpenAI's archives are in half precision, which the processor's arithmetic widens anyhow.
    tensor = tensor.detach().float() if tensor.is_floating_point() else tensor
    # A copy: safetensors writes no tensors that share their memory.
    return tensor.clone(memory_format=torch.contiguous_format)
