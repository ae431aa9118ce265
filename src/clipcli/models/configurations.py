"""A model's own files -> its configuration and preprocessing, in open_clip's terms."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipcli.errors import ModelError

CONFIG_FILE = "open_clip_config.json"
MANIFEST_FILE = "manifest.json"

# The same model's files as the transformers library calls them, the preferred name first.
TRANSFORMERS_CONFIG_FILE = "config.json"
TRANSFORMERS_WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")
PREPROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
VOCABULARY_FILES = ("tokenizer.json", "vocab.json")


@dataclass(frozen=True)
class Configuration:
    """What a model's files say of it.

    Attributes:
        model: open_clip's `model_cfg`, with its `quick_gelu`.
        preprocess: open_clip's `preprocess_cfg`, where it differs from open_clip's defaults.
    """

    model: Mapping[str, Any]
    preprocess: Mapping[str, Any]


def read_open_clip(file: Path) -> Configuration:
    """Read an `open_clip_config.json`.

    Raises:
        ModelError: it is not one; the message says why.
    """
    content = _read_json(file)
    fault = _config_fault(content)
    if fault:
        raise ModelError(f"{file} is not an open_clip configuration: {fault}")
    model = {"quick_gelu": False, **content["model_cfg"]}
    return Configuration(model, content.get("preprocess_cfg") or {})


def read_transformers(file: Path, preprocessor: Path | None) -> Configuration:
    """Read the `config.json` of a CLIP model that the transformers library wrote.

    Args:
        file: the `config.json`.
        preprocessor: `preprocessor_config.json` or `processor_config.json`, where there is one;
            without it images are prepared as transformers does for models of the kind.

    Raises:
        ModelError: one of them is not what its name says, or asks for what open_clip has not.
    """
    # Not at the top: most models are not transformers', and a start is spared three milliseconds.
    from clipcli.models import transformers_folder

    content = _read_json(file)
    try:
        model = transformers_folder.model_config(content)
    except ValueError as error:
        raise ModelError(f"{file} cannot be used: {error}") from error
    if preprocessor is None:
        return Configuration(model, transformers_folder.usual_pixels(content["model_type"]))
    try:
        size, kind = model["vision_cfg"]["image_size"], content["model_type"]
        pixels = transformers_folder.preprocess_config(_read_json(preprocessor), size, kind)
    except ValueError as error:
        raise ModelError(f"{preprocessor} cannot be used: {error}") from error
    # What both formats can say wrongly is judged once.
    fault = _preprocess_fault(pixels)
    if fault:
        raise ModelError(f"{preprocessor} cannot be used: it has {fault}")
    return Configuration(model, pixels)


def read_manifest(file: Path) -> tuple[str, Configuration]:
    """A prepared model's name and configuration; the rest is its bundle's matter.

    Raises:
        ModelError: it is not the manifest of a prepared model.
    """
    content = _read_json(file)
    fields = content if isinstance(content, dict) else {}
    model, pixels = fields.get("config"), fields.get("preprocess")
    fault = _config_fault({"model_cfg": model, "preprocess_cfg": pixels})
    if fault or not isinstance(fields.get("model"), str):
        raise ModelError(f"{file} is not the manifest of a prepared model: pull it again")
    return fields["model"], Configuration(dict(model or {}), dict(pixels or {}))


def _read_json(file: Path) -> Any:  # noqa: ANN401
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file} is not readable as JSON ({error})") from error


def _config_fault(content: Any) -> str | None:  # noqa: ANN401
    """What keeps a JSON value from being an open_clip configuration, or None."""
    config = content.get("model_cfg") if isinstance(content, dict) else None
    if not isinstance(config, dict):
        return "it has no model_cfg"
    for name, kind in (("embed_dim", int), ("vision_cfg", dict), ("text_cfg", dict)):
        if not isinstance(config.get(name), kind):
            return f"its model_cfg has no {name}, or one of a wrong type"
    if not isinstance(config["text_cfg"].get("tokenizer_kwargs"), dict | None):
        return "its text_cfg has tokenizer_kwargs of a wrong type"
    preprocess = content.get("preprocess_cfg") or {}
    if not isinstance(preprocess, dict):
        return "its preprocess_cfg is of a wrong type"
    fault = _preprocess_fault(preprocess)
    return fault and f"its preprocess_cfg has {fault}"


def _preprocess_fault(preprocess: Mapping[str, Any]) -> str | None:
    for name, is_right in _PREPROCESS_FIELDS.items():
        if preprocess.get(name) is not None and not is_right(preprocess[name]):
            return f"an unknown {name}: {preprocess[name]!r}"
    return None


def _is_rgb(value: object) -> bool:
    numbers = value if isinstance(value, list) else [value] * 3  # one for all channels
    return len(numbers) == 3 and all(isinstance(number, int | float) for number in numbers)


_PREPROCESS_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "mean": _is_rgb,
    "std": _is_rgb,
    "interpolation": lambda value: value in ("bicubic", "bilinear", "random"),
    "resize_mode": lambda value: value in ("shortest", "longest", "squash"),
    "fill_color": lambda value: isinstance(value, int),
}
