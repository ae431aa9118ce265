"""A weights file -> its tensors, by open_clip's names; what keeps them from fitting a model."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file

from clipcli.errors import ModelError

StateDict = Mapping[str, torch.Tensor]

OPENAI_SETTINGS = frozenset({"input_resolution", "context_length", "vocab_size"})
"""OpenAI's own state dicts hold these beside the weights."""

# The buffers that are weights; the others (masks, tables of positions) each model makes itself.
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")

_SHOWN_DIFFERENCES = 5
_PARALLEL_PREFIX = "module."
_TRANSFORMERS_KEY = "vision_model.embeddings.class_embedding"

# Names in transformers' modeling_clip.py -> open_clip's, for what is the same in both.
_ENDS = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm": "visual.ln_pre",  # their spelling
    "vision_model.post_layernorm": "visual.ln_post",
    "vision_model.encoder.layers": "visual.transformer.resblocks",
    "text_model.embeddings.token_embedding": "token_embedding",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm": "ln_final",
    "text_model.encoder.layers": "transformer.resblocks",
}
_PARTS = {
    ".layer_norm1.": ".ln_1.",
    ".layer_norm2.": ".ln_2.",
    ".mlp.fc1.": ".mlp.c_fc.",
    ".mlp.fc2.": ".mlp.c_proj.",
    ".self_attn.out_proj.": ".attn.out_proj.",
}
_PROJECTIONS = {
    "visual_projection.weight": "visual.proj",
    "text_projection.weight": "text_projection",
}
_QUERY = re.compile(r"(.+)\.self_attn\.q_proj\.(weight|bias)")


def read_checkpoint(file: Path) -> dict[str, torch.Tensor]:
    """Read a state dict as open_clip has it, also where transformers wrote it.

    Raises:
        ModelError: the file is damaged, or holds something else.
    """
    state = read_state_dict(file)
    return from_transformers(state) if _TRANSFORMERS_KEY in state else state


def read_state_dict(file: Path) -> dict[str, torch.Tensor]:
    """Read a state dict: safetensors by its suffix, else a pickle of tensors, which runs nothing.

    open_clip's conventions are followed: a training checkpoint's `state_dict` is taken out, and
    the prefix that parallel training gives each name is taken off.

    Raises:
        ModelError: the file is damaged, or holds something else.
    """
    state = _read_safetensors(file) if file.suffix == ".safetensors" else _read_pickle(file)
    if state and all(key.startswith(_PARALLEL_PREFIX) for key in state):
        state = {key.removeprefix(_PARALLEL_PREFIX): value for key, value in state.items()}
    return state


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
        raise ModelError(f"{file} is not a whole TorchScript archive ({_line(error)})") from error
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


def from_transformers(state: StateDict) -> dict[str, torch.Tensor]:
    """Names and shapes of a `CLIPModel` of transformers as open_clip has them.

    What is not known there keeps its name, so that the comparison with the model can name it.
    """
    rest = dict(state)
    found = {ours: rest.pop(theirs).T for theirs, ours in _PROJECTIONS.items() if theirs in rest}
    for query in [match for key in state if (match := _QUERY.fullmatch(key))]:
        layer, kind = query.groups()
        names = [f"{layer}.self_attn.{part}_proj.{kind}" for part in "qkv"]
        if all(name in rest for name in names):
            # open_clip has one product for the three.
            fused = torch.cat([rest.pop(name) for name in names])
            found[f"{_renamed(layer)}.attn.in_proj_{kind}"] = fused
    return {**found, **{_renamed(key): value for key, value in rest.items()}}


def _renamed(key: str) -> str:
    for theirs, ours in _ENDS.items():
        if key == theirs or key.startswith(f"{theirs}."):
            key = ours + key.removeprefix(theirs)
            break
    for theirs, ours in _PARTS.items():
        key = key.replace(theirs, ours)
    return key


def _read_safetensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(file)
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(f"{file} is not a whole safetensors file ({error})") from error


def _read_pickle(file: Path) -> dict[str, torch.Tensor]:
    """A pickled state dict, by torch's own reader of tensors and nothing else."""
    try:
        # Opened here: where it fails, torch leaves a file open that it opened itself.
        with file.open("rb") as content, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of forms that it then reads, or refuses
            state = torch.load(content, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL (\S+)", str(error))
        what = f"asks for {name[1]}" if name else "is something else"
        reason = "a state dict holds tensors only: it is refused, and nothing of it was run"
        raise ModelError(f"{file} {what}, and {reason}") from error
    except Exception as error:
        raise ModelError(f"{file} is not a whole state dict ({_line(error)})") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not _is_state_dict(state):
        raise ModelError(f"{file} holds no state dict, which is names with a plain tensor each")
    return dict(state)


def _is_state_dict(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, dict) and all(
        isinstance(key, str) and _is_plain(tensor) for key, tensor in value.items()
    )


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


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
