"""A model's files on disk: its weights and its tokenizer's, downloaded where they are not."""

from __future__ import annotations

import os
import shlex
import zipfile
from contextlib import suppress
from functools import partial
from pathlib import Path

from clipcli.errors import ModelError
from clipcli.models.hub.cache import MissingFileError
from clipcli.models.hub.files import hub_file
from clipcli.models.names import SAFE_NAMES
from clipcli.models.specs import HubWeights, ModelSpec

_PICKLES = (".pt", ".pth", ".bin", ".ckpt")


def weights_file(spec: ModelSpec, *, offline: bool) -> Path:
    """The model's weights file, downloaded unless it is there already or `offline` is set.

    It is a safetensors file, or, where the request allows one, a pickled state dict.

    Raises:
        ModelError: it cannot be had, or is of a format that is not read.
    """
    if isinstance(spec.weights, HubWeights):
        return _hub_weights(spec.weights, offline=offline, allow_pickle=spec.allow_pickle)
    if not os.path.isfile(spec.weights):
        is_split = os.path.isfile(f"{spec.weights}.index.json")
        hint = ": they are in several files, and clipcli reads one" if is_split else ""
        raise ModelError(f"{spec.weights}: there is no such weights file{hint}")
    check_format(spec.weights, allow_pickle=spec.allow_pickle)
    return spec.weights


def check_format(file: Path, *, allow_pickle: bool) -> None:
    """Refuse a weights file that is not read; nothing in it is opened.

    Raises:
        ModelError: it is a TorchScript archive, a pickle that was not allowed, or neither of
            these and no safetensors file.
    """
    if file.suffix == ".safetensors":
        return
    only = f"{file}: clipcli reads only .safetensors"
    convert = f"'{convert_command(file)}'"
    if file.suffix not in _PICKLES:
        known = ", ".join(_PICKLES)
        raise ModelError(f"{only}, and with --allow-pickle state dicts in {known}")
    if is_torchscript(file):
        raise ModelError(
            f"{only}, and this is a TorchScript archive, a program: {convert} reads it"
        )
    if not allow_pickle:
        raise ModelError(
            f"{only}: other formats can run code. Make one with {convert}, or add --allow-pickle,"
            " which reads tensors and runs nothing"
        )


def is_torchscript(file: Path) -> bool:
    """Whether a file is a program that `torch.jit.save` wrote; it is not run."""
    # torch itself tells it from a saved state dict, which is a ZIP file, too, by this name.
    # Only the list of names is read: to open an archive with torch is to run it.
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.rpartition("/")[2] == "constants.pkl" for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def convert_command(file: Path) -> str:
    """What makes safetensors of a file, to be pasted into a terminal."""
    # In a model's folder under the name by which it is found there.
    target = file.with_name(SAFE_NAMES.get(file.name, f"{file.stem}.safetensors"))
    return shlex.join(["clipcli", "convert", str(file), str(target)])


def _hub_weights(weights: HubWeights, *, offline: bool, allow_pickle: bool) -> Path:
    repository, revision = weights.repository, weights.revision
    try:
        return hub_file(repository, weights.filename, revision=revision, offline=offline)
    except MissingFileError as error:
        if weights.pickle is None:
            raise
        if not allow_pickle:
            hint = f"If there is only {weights.pickle}: --allow-pickle reads it, and runs nothing"
            raise MissingFileError(f"{error}. {hint}") from error
    return hub_file(repository, weights.pickle, revision=revision, offline=offline)


def fetch_model(spec: ModelSpec, *, offline: bool) -> Path:
    """See that all of a model's files are here, and return its weights.

    Raises:
        ModelError: the weights cannot be had.
    """
    if spec.hub_tokenizer:
        # The smaller download first. What is wrong with the files the engine says, or transformers
        # knows what to do instead.
        with suppress(MissingFileError, OSError, ValueError):
            tokenizer_folder(spec, offline=offline)
    return weights_file(spec, offline=offline)


def tokenizer_folder(spec: ModelSpec, *, offline: bool) -> Path:
    """The folder with the files of a model's hub tokenizer, downloaded unless they are there.

    Raises:
        ModelError: they cannot be had.
        OSError: its settings cannot be read.
        ValueError: its settings are not what their name says.
    """
    if spec.folder is not None:
        return spec.folder

    from clipcli.models.tokenizers.hub import (
        SETTINGS_FILE,
        SPECIAL_TOKENS_FILE,
        TOKENIZER_FILE,
        names_special_tokens,
    )

    assert spec.hub_tokenizer is not None
    fetch = partial(
        hub_file, spec.hub_tokenizer, revision=_tokenizer_revision(spec), offline=offline
    )
    file = fetch(TOKENIZER_FILE)
    fetch(SETTINGS_FILE)
    if not names_special_tokens(file.parent):
        with suppress(MissingFileError):  # not every repository has one
            fetch(SPECIAL_TOKENS_FILE)
    return file.parent


def _tokenizer_revision(spec: ModelSpec) -> str | None:
    """The weights' own, where both are in one repository; a revision means nothing in another."""
    weights = spec.weights
    if isinstance(weights, HubWeights) and weights.repository == spec.hub_tokenizer:
        return weights.revision
    return None
