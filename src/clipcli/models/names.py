"""A model's name -> what it is (`ModelSpec`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from clipcli.assets import asset
from clipcli.errors import ModelError, UsageError
from clipcli.models import catalogue
from clipcli.models.catalogue import QUICK_GELU_SUFFIX, PretrainedTag
from clipcli.models.configurations import (
    CONFIG_FILE,
    MANIFEST_FILE,
    PREPROCESSOR_FILES,
    TRANSFORMERS_CONFIG_FILE,
    TRANSFORMERS_WEIGHTS_FILES,
    VOCABULARY_FILES,
    Configuration,
    read_manifest,
    read_open_clip,
    read_transformers,
)
from clipcli.models.fields import shown
from clipcli.models.specs import HubWeights, ModelRequest, ModelSpec
from clipcli.models.unavailable import told_as_asked

DEFAULT_TAG = "openai"
BUNDLED_MODEL = "tiny"
HUB_PREFIX = "hf-hub:"

_OPEN_CLIP_FILES = (catalogue.DEFAULT_WEIGHTS_FILE, "open_clip_pytorch_model.bin")
_TRANSFORMERS_FILES = TRANSFORMERS_WEIGHTS_FILES
SAFE_NAMES = {pickle: safe for safe, pickle in (_OPEN_CLIP_FILES, _TRANSFORMERS_FILES)}
"""What a model's pickled weights are called -> what its safetensors file is called."""


def resolve_model(request: ModelRequest) -> ModelSpec:
    """Find out which model a name means.

    Raises:
        ModelError: there is no such model, or its configuration cannot be had.
        UsageError: options that do not go together, or an open question about QuickGELU.
    """
    with told_as_asked(request):
        named = _resolve_name(request)
    spec = replace(
        named,
        request=request,
        allow_pickle=request.allow_pickle,
        allow_remote_names=request.allow_remote_names,
    )
    if request.revision is not None and not isinstance(spec.weights, HubWeights):
        raise UsageError(f"--revision goes with models of the hub, and {request.name} is none")
    if request.checkpoint is None:
        return spec
    if spec.bundle is not None:
        way_out = "give it with the model that this was made from"
        raise UsageError(
            f"--checkpoint does not go with {request.name}, which is prepared: {way_out}"
        )
    name = f"{spec.name} ({request.checkpoint.name})"
    return replace(spec, name=name, weights=request.checkpoint)


def _resolve_name(request: ModelRequest) -> ModelSpec:
    name = request.name
    architecture, _, tag = name.partition(":")
    architecture = architecture.replace("/", "-")
    if name == BUNDLED_MODEL:
        spec = _folder_spec(BUNDLED_MODEL, asset(BUNDLED_MODEL))
    elif name.startswith(HUB_PREFIX):
        spec = _hub_spec(name.removeprefix(HUB_PREFIX), request)
    # Before folders: a script's model must not change because a folder of its name appears.
    elif architecture in catalogue.architectures():
        return _architecture_spec(architecture, tag, request)
    elif names_a_folder(name):
        folder = Path(os.path.realpath(os.path.expanduser(name)))
        spec = _folder_spec(name, folder, allow_remote_names=request.allow_remote_names)
    else:
        raise _unknown_architecture(name, architecture, tag)
    if request.quick_gelu is not None:
        raise UsageError(f"--[no-]quick-gelu does not go with {name}: its configuration says it")
    return spec


def names_a_folder(name: str) -> bool:
    """Whether a model's name is a folder's, where it is none of open_clip's."""
    return name.startswith((".", "/", "~")) or os.path.isdir(name)


def _architecture_spec(architecture: str, tag: str, request: ModelRequest) -> ModelSpec:
    if request.checkpoint is not None:
        return _bare_architecture(architecture, tag, request.checkpoint, request.quick_gelu)
    if request.quick_gelu is not None:
        raise UsageError("--[no-]quick-gelu goes with --checkpoint: a pretrained tag says it")
    weights = _pretrained_tag(architecture, tag or DEFAULT_TAG, given=bool(tag))
    config = catalogue.architecture_config(weights.architecture)
    return ModelSpec(
        name=weights.name,
        config={**config, "quick_gelu": weights.quick_gelu},
        preprocess=weights.preprocess,
        weights=_published_weights(weights, request),
    )


def _bare_architecture(
    architecture: str, tag: str, checkpoint: Path, quick_gelu: bool | None
) -> ModelSpec:
    """An architecture whose weights come from `--checkpoint`."""
    if tag:
        raise UsageError(f"--checkpoint replaces the weights: write {architecture}, without :{tag}")
    # A checkpoint says nothing of its pixels: those of the architecture's first weights are taken.
    tags = tuple(catalogue.pretrained_tags(architecture).values())
    config = catalogue.architecture_config(architecture)
    return ModelSpec(
        name=architecture.removesuffix(QUICK_GELU_SUFFIX),
        config={**config, "quick_gelu": _checkpoint_gelu(architecture, tags, quick_gelu)},
        preprocess=tags[0].preprocess if tags else {},
        weights=checkpoint,
    )


def _checkpoint_gelu(architecture: str, tags: Sequence[PretrainedTag], asked: bool | None) -> bool:
    """Whether a checkpoint of unknown origin runs with QuickGELU: never a guess."""
    if architecture.endswith(QUICK_GELU_SUFFIX):
        if asked is False:
            raise UsageError(f"--no-quick-gelu contradicts the name {architecture}")
        return True
    kinds = {weights.quick_gelu for weights in tags}
    if asked is None and len(kinds) > 1:
        raise UsageError(
            f"{architecture} has weights trained with QuickGELU and weights trained without:"
            " say which these are with --quick-gelu or --no-quick-gelu"
        )
    return asked if asked is not None else kinds == {True}


def _pretrained_tag(architecture: str, tag: str, *, given: bool) -> PretrainedTag:
    tags = catalogue.pretrained_tags(architecture)
    weights = tags.get(_plain_tag(tag))
    if weights is not None:
        return weights
    known = ", ".join(tags) or "none: give weights with --checkpoint FILE.safetensors"
    if not given:
        example = f", for example {architecture}:{next(iter(tags))}" if tags else ""
        raise ModelError(f"{architecture} needs a pretrained tag{example}. Its tags are: {known}")
    hint = _did_you_mean(catalogue.nearest(tag.rstrip(".\N{HORIZONTAL ELLIPSIS}* "), tags))
    hint = hint and f" ({hint})"
    raise ModelError(
        f"{architecture} has no pretrained tag {shown(tag)}{hint}. Its tags are: {known}"
    )


def _unknown_architecture(name: str, architecture: str, tag: str) -> ModelError:
    from clipcli.models.advice import advice  # only in need

    hint = advice(name)
    if hint is None:
        near = catalogue.nearest(architecture, [BUNDLED_MODEL, *catalogue.architectures()])
        full = [f"{match}:{tag}" if _has_tag(match, tag) else match for match in near]
        hint = _did_you_mean(full)
    return ModelError(
        f"there is no model {shown(name)}{hint and f' ({hint})'}. A model is open_clip's"
        f" ARCHITECTURE or ARCHITECTURE:TAG, {HUB_PREFIX}org/name, a local ./FOLDER, or"
        f" {BUNDLED_MODEL}"
    )


def _has_tag(architecture: str, tag: str) -> bool:
    return _plain_tag(tag) in catalogue.pretrained_tags(architecture)


def _plain_tag(tag: str) -> str:
    """A tag in open_clip's spelling, which it reads in others, too."""
    return tag.lower().replace("-", "_")


def _did_you_mean(names: list[str]) -> str:
    return f"did you mean {' or '.join(names)}?" if names else ""


def _published_weights(weights: PretrainedTag, request: ModelRequest) -> HubWeights:
    if weights.repository is None or not (weights.has_safetensors or request.allow_pickle):
        raise ModelError(
            f"{weights.name} is published only as a pickle, which can run code when it is opened;"
            " clipcli reads safetensors. Add --allow-pickle, which reads tensors and runs nothing,"
            " or give other weights with --checkpoint FILE.safetensors"
        )
    revision = _commit(weights.repository, weights.filename, request)
    return HubWeights(weights.repository, weights.filename, revision)


def _commit(repository: str, filename: str, request: ModelRequest) -> str | None:
    """What a revision means now: a branch may move between one file and the next."""
    if request.revision is None:
        return None
    from clipcli.models.hub.files import hub_commit

    return hub_commit(repository, filename, request.revision, offline=request.offline)


def _hub_spec(repository: str, request: ModelRequest) -> ModelSpec:
    """A repository's model: open_clip's own files win over those of transformers."""
    # The bundled model and prepared ones are spared the import.
    from clipcli.models.hub.cache import MissingFileError, is_repository
    from clipcli.models.hub.files import hub_file

    if not is_repository(repository):
        raise _no_repository(repository)
    revision, offline = _commit(repository, CONFIG_FILE, request), request.offline

    def fetch(*names: str) -> Path | None:
        """The first of some files that the repository has."""
        for filename in names:
            with suppress(MissingFileError):
                return hub_file(repository, filename, revision=revision, offline=offline)
        return None

    name = f"{HUB_PREFIX}{repository}"
    try:
        config = hub_file(repository, CONFIG_FILE, revision=revision, offline=offline)
    except MissingFileError:
        theirs = fetch(TRANSFORMERS_CONFIG_FILE)
        if theirs is None:
            raise
        safe, pickle = _TRANSFORMERS_FILES
        weights = HubWeights(repository, safe, revision, pickle)
        return _transformers_spec(name, theirs, fetch, weights)
    found = read_open_clip(config)
    _check_names(config, found, None, allowed=request.allow_remote_names)
    safe, pickle = _OPEN_CLIP_FILES
    weights = HubWeights(repository, safe, revision, pickle)
    return ModelSpec(name, found.model, found.preprocess, weights)


def _no_repository(name: str) -> ModelError:
    from clipcli.models.advice import advice  # only in need

    hint = advice(f"{HUB_PREFIX}{name}")
    usage = f"use {HUB_PREFIX}org/name"
    return ModelError(f"{shown(name)} is not a repository's name: {hint or usage}")


def _transformers_spec(
    name: str, config: Path, find: Callable[..., Path | None], weights: Path | HubWeights
) -> ModelSpec:
    """A model as transformers writes it, wherever its other files are found."""
    found = read_transformers(config, find(*PREPROCESSOR_FILES))
    text = found.model["text_cfg"]
    if "hf_tokenizer_name" in text:
        repository = weights.repository if isinstance(weights, HubWeights) else None
        # In a folder it is found beside the weights, whatever its name.
        own = {"hf_tokenizer_name": repository or text["hf_tokenizer_name"]}
        model = {**found.model, "text_cfg": {**text, **own}}
        return ModelSpec(name, model, found.preprocess, weights)
    vocabulary = find(*VOCABULARY_FILES)
    return ModelSpec(name, found.model, found.preprocess, weights, vocabulary=vocabulary)


def _check_names(file: Path, found: Configuration, folder: Path | None, *, allowed: bool) -> None:
    """See that a configuration names nothing that must not be looked for."""
    # Not at the top: `--help` reads no configuration.
    from clipcli.models.remote_names import check_names

    try:
        check_names(found.model, folder, allowed=allowed)
    except ValueError as error:
        raise ModelError(f"{file} cannot be used: {error}") from error


def _folder_spec(name: str, folder: Path, *, allow_remote_names: bool = False) -> ModelSpec:
    """A folder's model, recognised by what the folder holds."""
    # A folder has as many names as there are ways to it.
    canonical = name if name == BUNDLED_MODEL else str(folder)
    # In this order: the bundled model's folder holds a manifest, too, and many a folder of
    # open_clip's a config.json, for other tools.
    if (file := _find(folder, CONFIG_FILE)) is not None:
        found = read_open_clip(file)
        _check_names(file, found, folder, allowed=allow_remote_names)
        weights = _folder_weights(folder, _OPEN_CLIP_FILES)
        return ModelSpec(canonical, found.model, found.preprocess, weights, folder)
    if (file := _find(folder, MANIFEST_FILE)) is not None:
        model, found = read_manifest(file)
        _check_names(file, found, folder, allowed=allow_remote_names)
        weights = folder / catalogue.DEFAULT_WEIGHTS_FILE
        return ModelSpec(model, found.model, found.preprocess, weights, folder, bundle=folder)
    if (file := _find(folder, TRANSFORMERS_CONFIG_FILE)) is not None:
        weights = _folder_weights(folder, _TRANSFORMERS_FILES)
        spec = _transformers_spec(canonical, file, partial(_find, folder), weights)
        return replace(spec, folder=folder)
    raise _no_folder(name, folder)


def _no_folder(name: str, folder: Path) -> ModelError:
    from clipcli.models.advice import advice, folder_advice  # only in need

    if os.path.isdir(folder):
        reason = f"it holds neither {CONFIG_FILE} nor {TRANSFORMERS_CONFIG_FILE}"
        hint = folder_advice(folder)
    else:
        reason = "it is a file" if os.path.isfile(folder) else "there is no such folder"
        is_bundled = os.path.basename(name) == BUNDLED_MODEL
        hint = f"did you mean {BUNDLED_MODEL}?" if is_bundled else advice(name)
    return ModelError(f"{name} is not a model's folder: {reason}{f' ({hint})' if hint else ''}")


def _folder_weights(folder: Path, names: tuple[str, ...]) -> Path:
    # Where there is only a pickle, it is for `weights_file` to say what that means.
    return _find(folder, *names) or folder / names[0]


def _find(folder: Path, *names: str) -> Path | None:
    """The first of some files that a folder has."""
    # Here and above os.path, which answers for impossible names, too, where pathlib raises.
    return next((folder / name for name in names if os.path.isfile(folder / name)), None)
