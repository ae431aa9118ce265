"""Names of other models within a model's configuration: timm's, transformers', a tokenizer's.

The libraries that open_clip hands them to would look for them in the working folder, on the whole
disk and on the model hub. Here they are settled before: either a name needs no file but the
model's own, or the one file that it stands for is fetched as any other of a model is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clipcli.errors import ModelError
from clipcli.models.fields import check, read_json, shown, whole

_HUB_PREFIX = "hf-hub:"
_CONFIG_FILE = "config.json"
# What is built in; a tag of weights may follow the architecture.
_TIMM_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)?", re.ASCII | re.IGNORECASE)

# As transformers' text towers and timm's transformers name their sizes.
_LAYERS = ("num_hidden_layers", "num_layers", "encoder_layers", "decoder_layers", "depth")
_WIDTHS = ("hidden_size", "d_model", "embed_dim", "intermediate_size", "d_ff", "encoder_ffn_dim")
_MOST = {
    **dict.fromkeys(_LAYERS, 512),
    **dict.fromkeys(_WIDTHS, 1 << 18),
    "vocab_size": 1 << 24,
    "max_position_embeddings": 1 << 20,
}
_WAY_OUT = "--allow-remote-names lets it be fetched, as data only"

Fetch = Callable[[str, str], Path]
"""Repository and file name -> where the file is, fetched from the hub where it is not here."""


def check_names(config: Mapping[str, Any], folder: Path | None, *, allowed: bool) -> None:
    """Refuse a configuration with names that lead out of the model's own files.

    Args:
        config: open_clip's `model_cfg`.
        folder: of a local model, which causes no connection unasked; None for one of the hub, which
            was named.
        allowed: whether `--allow-remote-names` was given.

    Raises:
        ValueError: a name is a path, or would have to be looked for on the hub unasked; the
            message names the field.
    """
    vision, text = config["vision_cfg"], config["text_cfg"]
    _check_timm(vision.get("timm_model_name"), allowed=allowed)
    for name in ("hf_model_name", "hf_tokenizer_name"):
        value = text.get(name)
        if not value or _within(folder, value):
            continue
        field = f"model_cfg.text_cfg.{name} is {shown(value)}"
        if not _is_repository(value):
            raise ValueError(f"{field}: it must be org/name, or a folder in the model's own")
        # A tokenizer's name needs no permission: of a local model its files are in the folder.
        if name == "hf_model_name" and folder is not None and not allowed:
            raise ValueError(f"{field}, a repository of the model hub: {_WAY_OUT}")


def _within(folder: Path | None, name: str) -> Path | None:
    """The folder of that name in a local model's, where it has one."""
    if folder is None or "\0" in name:
        return None
    path = (folder / name).resolve()
    is_inside = path.is_relative_to(folder.resolve()) and os.path.isfile(path / _CONFIG_FILE)
    return path if is_inside else None


def _check_timm(name: str | None, *, allowed: bool) -> None:
    if not name or _TIMM_NAME.fullmatch(name):
        return
    field = f"model_cfg.vision_cfg.timm_model_name is {shown(name)}"
    if not _is_repository(name.removeprefix(_HUB_PREFIX)) or not name.startswith(_HUB_PREFIX):
        raise ValueError(f"{field}: it must be one of timm's own names, as 'resnet50'")
    if not allowed:
        raise ValueError(f"{field}, a repository of the model hub: {_WAY_OUT}")


def _is_repository(name: str) -> bool:
    # Most models name none, and a start is spared the hub's rooms.
    from clipcli.models.hub.cache import is_repository

    return is_repository(name)


def names_settled(config: Mapping[str, Any], folder: Path | None, fetch: Fetch) -> dict[str, Any]:
    """A `model_cfg` in which folders with the files stand for the names that need one.

    Args:
        config: as `check_names` has passed it.
        folder: of a local model.
        fetch: gets a file of the hub.

    Raises:
        ModelError: a file cannot be had, or asks for a program to be run.
    """
    vision, text = dict(config["vision_cfg"]), dict(config["text_cfg"])
    timm_name, text_name = vision.get("timm_model_name") or "", text.get("hf_model_name")
    if timm_name.startswith(_HUB_PREFIX):
        file = fetch(timm_name.removeprefix(_HUB_PREFIX), _CONFIG_FILE)
        vision["timm_model_name"] = f"local-dir:{without_programs(file)}"
    if text_name:
        inner = _within(folder, text_name)
        file = inner / _CONFIG_FILE if inner else fetch(text_name, _CONFIG_FILE)
        text["hf_model_name"] = str(without_programs(file))
    return {**config, "vision_cfg": vision, "text_cfg": text}


def without_programs(file: Path) -> Path:
    """The folder of a `config.json` or the like that a library is to read.

    Raises:
        ModelError: it cannot be read, or asks for a program of its own, or for too large a tower.
    """
    try:
        content = read_json(file)
        if not isinstance(content, dict):
            raise ValueError("it is not a table of settings")
        _check_sizes(content)
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be used: {error}") from error
    return file.parent


def _check_sizes(table: Mapping[str, Any]) -> None:
    """Refuse programs, and numbers that a tower would take all memory, or for ever, to be built."""
    for name, value in table.items():
        if name == "auto_map":
            raise ValueError("it asks for a program of its own (auto_map), and clipcli runs none")
        most = _MOST.get(name)
        if most is not None and isinstance(value, int | float | str):
            check({name: value}, {name: whole(0, most)}, "")
        if isinstance(value, dict):
            _check_sizes(value)
