"""A model with a LoRA in its weights, as a folder that open_clip and `clipcli pull` read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import safetensors

from clipcli.disk.folders import remove_abandoned, temporary_folder
from clipcli.engines.torch.conversion import cannot_write, write_state
from clipcli.engines.torch.openclip import OpenClipEngine
from clipcli.errors import UsageError
from clipcli.models.bundles import check_preparable
from clipcli.models.catalogue import DEFAULT_WEIGHTS_FILE
from clipcli.models.configurations import CONFIG_FILE
from clipcli.models.specs import ModelSpec
from clipcli.models.tokenizers.hub import (
    SETTINGS_FILE,
    SPECIAL_TOKENS_FILE,
    TOKENIZER_FILE,
    HubTokenizer,
)


def write_merged(engine: OpenClipEngine, spec: ModelSpec, folder: Path) -> int:
    """Write an engine's weights as a model of its own, whole or not at all.

    Args:
        engine: in fp32, with the LoRA in its weights: see `OpenClipEngine.adapted`.
        spec: of the model without it, whose configuration it has.
        folder: which is made; an empty one may be there.

    Returns:
        Bytes of the weights.

    Raises:
        UsageError: there is something in the folder already, or the engine rounds.
        ModelError: the text tower is not one of open_clip's own, or the folder cannot be written.
    """
    check_preparable(spec)
    if not engine.is_exact:
        raise UsageError("a model is merged in fp32: leave out --precision")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already: name a folder that is not, or is empty")
    temporary = temporary_folder(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder.parent)
        temporary.mkdir()
        size = _write(engine, spec, temporary)
        # An empty folder is replaced; one that has been filled since is not.
        temporary.rename(folder)
    except (OSError, safetensors.SafetensorError) as error:
        raise cannot_write(folder, "folder", error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return size


def _write(engine: OpenClipEngine, spec: ModelSpec, folder: Path) -> int:
    config = {"model_cfg": dict(spec.config), "preprocess_cfg": dict(spec.preprocess)}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if isinstance(engine.tokenizer, HubTokenizer):
        for name in (TOKENIZER_FILE, SETTINGS_FILE, SPECIAL_TOKENS_FILE):
            source = engine.tokenizer.file.with_name(name)
            if source.is_file():
                shutil.copyfile(source, folder / name)
    weights = folder / DEFAULT_WEIGHTS_FILE
    weights.touch()
    write_state(engine.state(), weights)
    return weights.stat().st_size
