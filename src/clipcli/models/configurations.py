"""A model's own files -> its configuration and preprocessing, in open_clip's terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipcli.errors import ModelError
from clipcli.models.fields import read_json

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
        ModelError: it is not one; the message names the field that is wrong.
    """
    content = _read_json(file)
    try:
        return _configuration(content, "model_cfg", "preprocess_cfg")
    except ValueError as error:
        raise ModelError(f"{file} is not an open_clip configuration: {error}") from error


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
    from clipcli.models import model_fields, transformers_folder

    content = _read_json(file)
    try:
        model = transformers_folder.model_config(content)
        model_fields.check_model(model)
    except ValueError as error:
        raise ModelError(f"{file} cannot be used: {error}") from error
    if preprocessor is None:
        return Configuration(model, transformers_folder.usual_pixels(content["model_type"]))
    try:
        size, kind = model["vision_cfg"]["image_size"], content["model_type"]
        pixels = transformers_folder.preprocess_config(_read_json(preprocessor), size, kind)
        # What both formats can say wrongly is judged once.
        model_fields.check_preprocess(pixels)
    except ValueError as error:
        raise ModelError(f"{preprocessor} cannot be used: {error}") from error
    return Configuration(model, pixels)


def read_manifest(file: Path) -> tuple[str, Configuration]:
    """A prepared model's name and configuration; the rest is its bundle's matter.

    Raises:
        ModelError: it is not the manifest of a prepared model.
    """
    content = _read_json(file)
    try:
        found = _configuration(content, "config", "preprocess")
        if not isinstance(content.get("model"), str):
            raise ValueError("it has no model")
    except ValueError as error:
        reason = f"{error}; pull it again"
        raise ModelError(f"{file} is not the manifest of a prepared model: {reason}") from error
    return content["model"], found


def _read_json(file: Path) -> Any:  # noqa: ANN401
    try:
        return read_json(file)
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} is not readable as JSON ({error})") from error


def _configuration(content: Any, model_name: str, pixels_name: str) -> Configuration:  # noqa: ANN401
    """What a JSON value says of a model.

    Args:
        content: of the file.
        model_name: of the field with open_clip's `model_cfg`.
        pixels_name: of the field with its `preprocess_cfg`.

    Raises:
        ValueError: it says it wrongly, or not at all.
    """
    # Not at the top: `--help` reads no configuration.
    from clipcli.models.model_fields import check_model, check_preprocess

    if not isinstance(content, dict) or not isinstance(content.get(model_name), dict):
        raise ValueError(f"it has no {model_name}")
    pixels = content.get(pixels_name)
    check_model(content[model_name])
    check_preprocess(pixels)
    return Configuration({"quick_gelu": False, **content[model_name]}, pixels or {})
