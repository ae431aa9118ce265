"""A weights file -> its tensors; what keeps them from fitting a model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file

from clipcli.engines.torch.pickles import first_line, foreign_error, read_pickle
from clipcli.errors import ModelError

StateDict = Mapping[str, torch.Tensor]

OPENAI_SETTINGS = frozenset({"input_resolution", "context_length", "vocab_size"})
"""OpenAI's own state dicts hold these beside the weights."""

USUAL_TABLES = ((), ("state_dict",))
"""Where open_clip looks for the weights: in the file's own table, or in a training script's."""

# The buffers that are weights; the others (masks, tables of positions) each model makes itself.
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")

_SHOWN_DIFFERENCES = 5
_DEEPEST_TABLE = 4


@dataclass(frozen=True)
class WeightSet:
    """Tensors by their names, as a file holds them.

    Attributes:
        path: of the table that they are in, within the file's own; empty for that itself.
        state: the tensors.
    """

    path: tuple[str, ...]
    state: StateDict

    @property
    def name(self) -> str:
        """The path, for people."""
        return ".".join(self.path)


def read_weight_sets(file: Path) -> list[WeightSet]:
    """Every table of tensors in a file: safetensors by its suffix, else a pickle that runs nothing.

    What training wrote beside the weights is passed over; its classes are not imported.

    Raises:
        ModelError: the file is damaged, or holds no tensors.
    """
    if file.suffix == ".safetensors":
        return [WeightSet((), _read_safetensors(file))]
    pickled = read_pickle(file)
    if pickled.content == {}:
        return [WeightSet((), {})]
    found = list(_weight_sets(pickled.content, (), set()))
    if not found and pickled.foreign:
        raise foreign_error(file, pickled.foreign[0])
    if not found:
        raise ModelError(f"{file} holds no state dict, which is names with a plain tensor each")
    return found


def _weight_sets(value: Any, path: tuple[str, ...], seen: set[int]) -> Iterator[WeightSet]:  # noqa: ANN401
    # A table may hold itself, or be held a thousand times.
    if not isinstance(value, dict) or id(value) in seen or len(path) > _DEEPEST_TABLE:
        return
    seen.add(id(value))
    named = {key: part for key, part in value.items() if isinstance(key, str)}
    state = {key: part for key, part in named.items() if _is_plain(part)}
    if state:
        yield WeightSet(path, state)
    for key, part in named.items():
        yield from _weight_sets(part, (*path, key), seen)


def read_torchscript(file: Path) -> dict[str, torch.Tensor]:
    """The weights of a TorchScript archive. Opening one can run what its author put there.

    A module that was scripted says of no buffer that it is not to be saved, so that its state dict
    holds constants, too: they are left out.

    Raises:
        ModelError: it is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch would rather have other formats
            module = torch.jit.load(file, map_location="cpu")  # type: ignore[no-untyped-call]
        state: dict[str, torch.Tensor] = module.state_dict()
    except Exception as error:
        raise ModelError(
            f"{file} is not a whole TorchScript archive ({first_line(error)})"
        ) from error
    kept = {name for name, _ in module.named_parameters(remove_duplicate=False)} | OPENAI_SETTINGS
    return {
        name: value
        for name, value in state.items()
        if name in kept or name.rpartition(".")[2] in _STATISTICS
    }


def difference(wanted: StateDict, found: StateDict) -> str:
    """What keeps a checkpoint from fitting a model, or an empty text.

    Args:
        wanted: the model's state dict.
        found: the checkpoint's.
    """
    pairs = {key: (found[key], wanted[key]) for key in sorted(wanted.keys() & found.keys())}
    shapes = [
        f"{key} {_shape(ours)} instead of {_shape(theirs)}"
        for key, (ours, theirs) in pairs.items()
        if ours.shape != theirs.shape
    ]
    # torch would make floats of a quantised model's whole numbers.
    dtypes = [
        f"{key} {_dtype(ours)} instead of {_dtype(theirs)}"
        for key, (ours, theirs) in pairs.items()
        if ours.is_floating_point() != theirs.is_floating_point()
    ]
    kinds = {
        "missing": sorted(wanted.keys() - found.keys()),
        "unknown": sorted(found.keys() - wanted.keys()),
        "of another shape": shapes,
        "of another kind": dtypes,
    }
    return "; ".join(f"{len(keys)} {kind} ({_some(keys)})" for kind, keys in kinds.items() if keys)


def _read_safetensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(file)
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(f"{file} is not a whole safetensors file ({error})") from error


def _is_plain(value: Any) -> bool:  # noqa: ANN401
    """Whether it is a tensor with a number for each place: not sparse, not only a shape."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and not (value.is_meta or value.is_quantized)
    )


def _some(keys: list[str]) -> str:
    shown, more = keys[:_SHOWN_DIFFERENCES], len(keys) - _SHOWN_DIFFERENCES
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _shape(tensor: torch.Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a scalar"


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
