"""A model's files on disk: its weights and its tokenizer's, downloaded where they are not."""

from __future__ import annotations

import os
import shlex
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from clipcli.errors import ModelError
from clipcli.models.hub.cache import MissingFileError
from clipcli.models.hub.files import hub_file
from clipcli.models.names import SAFE_NAMES
from clipcli.models.specs import HubWeights, ModelSpec
from clipcli.models.unavailable import told_as_asked

_PICKLES = (".pt", ".pth", ".bin", ".ckpt")
_HARMLESS_WEIGHTS = 100_000_000  # 400 MB, which any machine for this has

# Of the kinds of tokenizers that published text towers have, other than `tokenizer.json`.
_FOREIGN_TOKENIZER_FILES = (
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "tokenizer.json"),
    *("spiece.model", "sentencepiece.bpe.model", "tokenizer.model"),
)


def weights_file(spec: ModelSpec, *, offline: bool) -> Path:
    """The model's weights file, downloaded unless it is there already or `offline` is set.

    It is a safetensors file, or, where the request allows one, a pickled state dict.

    Raises:
        ModelError: it cannot be had, or is of a format that is not read.
    """
    if isinstance(spec.weights, HubWeights):
        return _hub_weights(spec.weights, offline=offline, allow_pickle=spec.allow_pickle)
    if not os.path.isfile(spec.weights):
        raise ModelError(f"{spec.weights}: there is no such weights file{_why_not(spec.weights)}")
    check_format(spec.weights, allow_pickle=spec.allow_pickle)
    return spec.weights


def _why_not(weights: Path) -> str:
    if os.path.isfile(f"{weights}.index.json"):
        return ": they are in several files, and clipcli reads one"
    if os.path.isdir(weights):
        return ": it is a folder; a model's folder is the model itself, without --checkpoint"
    if str(weights).startswith("hf-hub:"):
        return ": that is a model of the hub, and goes without --checkpoint"
    return ""


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
    file = _hub_file(weights, offline=offline, allow_pickle=allow_pickle)
    # Whichever name led to it: a pickle, or a program, may also be all that there is.
    check_format(file, allow_pickle=allow_pickle)
    return file


def _hub_file(weights: HubWeights, *, offline: bool, allow_pickle: bool) -> Path:
    repository, revision = weights.repository, weights.revision
    try:
        return hub_file(repository, weights.filename, revision=revision, offline=offline)
    except MissingFileError as error:
        if weights.pickle is None:
            raise
        if not allow_pickle:
            error.add_hint(
                f"If there is only {weights.pickle}: --allow-pickle reads it, and runs nothing"
            )
            raise
    return hub_file(repository, weights.pickle, revision=revision, offline=offline)


def fetch_model(spec: ModelSpec, *, offline: bool) -> Path:
    """See that all of a model's files are here, and return its weights.

    Raises:
        ModelError: they cannot be had, or the weights are too few for the configuration.
    """
    with told_as_asked(spec.request, spec):
        # The smaller downloads first.
        built_config(spec, offline=offline)
        absent = _fetch_tokenizer(spec, offline=offline) if spec.hub_tokenizer else None
        file = weights_file(spec, offline=offline)
        _check_size(spec, file)
        if absent is not None:
            raise absent
    return file


def _check_size(spec: ModelSpec, file: Path) -> None:
    """Refuse a configuration of towers that the weights cannot fill, before they take memory."""
    from clipcli.models.model_fields import least_weights

    size = os.path.getsize(file)
    for tower, count in least_weights(spec.config).items():
        # None takes less than a byte. What is wrong with small ones is said better by comparison.
        if count > max(size, _HARMLESS_WEIGHTS):
            raise ModelError(
                f"{file} does not fit {spec.name}: model_cfg.{tower} describes at least {count:,}"
                f" weights, and the file has {size:,} bytes"
            )


def built_config(spec: ModelSpec, *, offline: bool) -> dict[str, Any]:
    """The `model_cfg` that open_clip builds, with all that it names on this machine.

    Raises:
        ModelError: what it names cannot be had.
    """
    from clipcli.models.remote_names import names_settled

    return names_settled(spec.config, spec.folder, partial(hub_file, offline=offline))


def tokenizer_folder(spec: ModelSpec, *, offline: bool) -> Path:
    """The folder with the files of a model's hub tokenizer, downloaded unless they are there.

    Raises:
        ModelError: they cannot be had.
        OSError: its settings cannot be read.
        ValueError: its settings are not what their name says.
    """
    from clipcli.models.tokenizers.hub import (
        SETTINGS_FILE,
        SPECIAL_TOKENS_FILE,
        TOKENIZER_FILE,
        names_special_tokens,
    )

    if spec.folder is not None and _has_tokenizer(spec, TOKENIZER_FILE):
        return spec.folder
    fetch = _tokenizer_fetch(spec, offline=offline)
    file = fetch(TOKENIZER_FILE)
    fetch(SETTINGS_FILE)
    if not names_special_tokens(file.parent):
        with suppress(MissingFileError):  # not every repository has one
            fetch(SPECIAL_TOKENS_FILE)
    return file.parent


def foreign_tokenizer_folder(spec: ModelSpec, *, offline: bool) -> Path:
    """The folder with all files that transformers can make a hub tokenizer of, where they are.

    Raises:
        ModelError: there are none, or they cannot be had.
    """
    from clipcli.models.remote_names import without_programs

    fetch = _tokenizer_fetch(spec, offline=offline)
    found: list[Path] = []
    absent: MissingFileError | None = None
    for name in _FOREIGN_TOKENIZER_FILES:
        try:
            found.append(fetch(name))
        except MissingFileError as error:
            absent = error if error.absence else absent
            continue
        if name.endswith("config.json"):
            without_programs(found[-1])
    if not found:
        raise absent or ModelError(
            f"{spec.hub_tokenizer} holds none of {', '.join(_FOREIGN_TOKENIZER_FILES)}"
        )
    return found[0].parent


def _fetch_tokenizer(spec: ModelSpec, *, offline: bool) -> MissingFileError | None:
    """Get a tokenizer's files; what keeps one away that may come another time is returned."""
    # What is wrong with the files the engine says, or transformers knows what to do instead.
    with suppress(OSError, ValueError):
        try:
            _download_tokenizer(spec, offline=offline)
        except MissingFileError as error:
            return error if error.absence else None
    return None


def _download_tokenizer(spec: ModelSpec, *, offline: bool) -> None:
    try:
        tokenizer_folder(spec, offline=offline)
    except MissingFileError:
        if find_spec("transformers") is None:
            raise
        foreign_tokenizer_folder(spec, offline=offline)


def _has_tokenizer(spec: ModelSpec, filename: str) -> bool:
    """Whether a local model's tokenizer is where it should be: in its folder.

    Raises:
        ModelError: it is not, and may not be fetched.
    """
    folder = spec.folder
    assert folder is not None
    if os.path.isfile(folder / filename):
        return True
    if spec.hub_tokenizer == filename:  # as for transformers' folders, which name no repository
        raise ModelError(f"{folder} holds no {filename}, and its tokenizer is not CLIP's own")
    if spec.allow_remote_names:
        return False
    raise ModelError(
        f"{folder} holds no {filename}, and its hf_tokenizer_name is {spec.hub_tokenizer}, a"
        " repository of the model hub: put that repository's tokenizer files into the folder, or"
        " add --allow-remote-names, which lets them be fetched"
    )


def _tokenizer_fetch(spec: ModelSpec, *, offline: bool) -> Callable[[str], Path]:
    assert spec.hub_tokenizer is not None
    return partial(
        hub_file, spec.hub_tokenizer, revision=_tokenizer_revision(spec), offline=offline
    )


def _tokenizer_revision(spec: ModelSpec) -> str | None:
    """The weights' own, where both are in one repository; a revision means nothing in another."""
    weights = spec.weights
    if isinstance(weights, HubWeights) and weights.repository == spec.hub_tokenizer:
        return weights.revision
    return None
