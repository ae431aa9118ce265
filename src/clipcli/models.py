"""A model's name -> what it is (`ModelSpec`) -> its weights on disk."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from clipcli import catalogue
from clipcli.catalogue import QUICK_GELU_SUFFIX, PretrainedTag
from clipcli.errors import ModelError, UsageError
from clipcli.hub import WAY_OUT, MissingFileError, hub_file

if TYPE_CHECKING:
    from clipcli.tokenizer import CleanMode

DEFAULT_MODEL = "ViT-B/32"
DEFAULT_TAG = "openai"
BUNDLED_MODEL = "tiny"
HUB_PREFIX = "hf-hub:"

CONFIG_FILE = "open_clip_config.json"
MANIFEST_FILE = "manifest.json"
Activation = Literal["softmax", "sigmoid"]


@dataclass(frozen=True)
class ModelRequest:
    """What the user asked for.

    Attributes:
        name: as in the README's table of model names.
        checkpoint: a safetensors file that replaces the weights of a named architecture.
        quick_gelu: which activation the checkpoint was trained with; None where its name tells.
        offline: nothing is downloaded.
    """

    name: str = DEFAULT_MODEL
    checkpoint: Path | None = None
    quick_gelu: bool | None = None
    offline: bool = False


@dataclass(frozen=True)
class HubWeights:
    """A weights file in a repository of the model hub."""

    repository: str
    filename: str


@dataclass(frozen=True)
class ModelSpec:
    """One model, its weights not yet looked for.

    Attributes:
        name: the canonical name, the same however the model was asked for.
        config: open_clip's `model_cfg`, with `quick_gelu` as the weights need it.
        preprocess: open_clip's `preprocess_cfg`, where it differs from open_clip's defaults.
        weights: where the safetensors file is.
        folder: of the model's other files (a tokenizer's), where it has one.
        bundle: the prepared model that was named itself, by its folder.
        pull_command: what prepares it, to be pasted into a terminal.
    """

    name: str
    config: Mapping[str, Any]
    preprocess: Mapping[str, Any]
    weights: Path | HubWeights
    folder: Path | None = None
    bundle: Path | None = None
    # Two ways to ask for one model are one model.
    pull_command: str = field(default="clipcli pull MODEL", compare=False)

    @property
    def activation(self) -> Activation:
        """How scores become probabilities; models with a bias were trained with a sigmoid."""
        return "softmax" if self.config.get("init_logit_bias") is None else "sigmoid"

    @property
    def short_context(self) -> bool:
        """Whether positions after the end of a text change nothing, so that they may be cut off.

        True of text towers with a causal mask that pool at the end-of-text token and append no
        class token (as CoCa's do, behind the padding).
        """
        text = self.config["text_cfg"]
        # `argmax` takes the highest id for the end of the text: so it is in CLIP's vocabulary.
        pooling = ("eos",) if self.hub_tokenizer else ("argmax", "eos")
        return (
            not (text.get("no_causal_mask") or text.get("embed_cls") or text.get("hf_model_name"))
            and text.get("pool_type", "argmax") in pooling
        )

    @property
    def context_length(self) -> int:
        """Of a prompt, in tokens, those for its start and its end included."""
        length: int = self.config["text_cfg"].get("context_length", 77)
        return length

    @property
    def text_cleaning(self) -> CleanMode:
        """What the tokenizer does to a text first."""
        settings = self.config["text_cfg"].get("tokenizer_kwargs") or {}
        cleaning: CleanMode = settings.get("clean", "lower")
        return cleaning

    @property
    def hub_tokenizer(self) -> str | None:
        """The hub's repository with its tokenizer, for models that do not read as CLIP does."""
        return self.config["text_cfg"].get("hf_tokenizer_name") or None

    @property
    def needs_transformers(self) -> bool:
        """Whether its text tower is one of the transformers library."""
        return bool(self.config["text_cfg"].get("hf_model_name"))


def resolve_model(request: ModelRequest) -> ModelSpec:
    """Find out which model a name means.

    Raises:
        ModelError: there is no such model, or its configuration cannot be had.
        UsageError: options that do not go together, or an open question about QuickGELU.
    """
    spec = replace(_resolve_name(request), pull_command=_pull_command(request))
    if request.checkpoint is None:
        return spec
    name = f"{spec.name} ({request.checkpoint.name})"
    return replace(spec, name=name, weights=request.checkpoint)


def _pull_command(request: ModelRequest) -> str:
    words = ["clipcli", "pull", request.name]
    if request.checkpoint is not None:
        words += ["--checkpoint", str(request.checkpoint)]
    if request.quick_gelu is not None:
        words.append("--quick-gelu" if request.quick_gelu else "--no-quick-gelu")
    return shlex.join(words)


def weights_file(spec: ModelSpec, *, offline: bool) -> Path:
    """The model's safetensors file, downloaded unless it is there already or `offline` is set.

    Raises:
        ModelError: it cannot be had, or is of another format.
    """
    if isinstance(spec.weights, HubWeights):
        return hub_file(spec.weights.repository, spec.weights.filename, offline=offline)
    if spec.weights.suffix != ".safetensors":
        reason = "clipcli reads only .safetensors: other formats can run code"
        raise ModelError(f"{spec.weights}: {reason}")
    if not os.path.isfile(spec.weights):
        raise ModelError(f"{spec.weights}: there is no such weights file")
    return spec.weights


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

    from clipcli.hub_tokenizer import (
        SETTINGS_FILE,
        SPECIAL_TOKENS_FILE,
        TOKENIZER_FILE,
        names_special_tokens,
    )

    assert spec.hub_tokenizer is not None
    file = hub_file(spec.hub_tokenizer, TOKENIZER_FILE, offline=offline)
    hub_file(spec.hub_tokenizer, SETTINGS_FILE, offline=offline)
    if not names_special_tokens(file.parent):
        with suppress(MissingFileError):  # not every repository has one
            hub_file(spec.hub_tokenizer, SPECIAL_TOKENS_FILE, offline=offline)
    return file.parent


def _resolve_name(request: ModelRequest) -> ModelSpec:
    name = request.name
    architecture, _, tag = name.partition(":")
    architecture = architecture.replace("/", "-")
    if name == BUNDLED_MODEL:
        spec = _folder_spec(BUNDLED_MODEL, Path(__file__).parent / "assets" / BUNDLED_MODEL)
    elif name.startswith(HUB_PREFIX):
        spec = _hub_spec(name.removeprefix(HUB_PREFIX), offline=request.offline)
    elif architecture in catalogue.architectures():
        return _architecture_spec(architecture, tag, request)
    elif _names_a_folder(name):
        spec = _folder_spec(name, Path(os.path.realpath(os.path.expanduser(name))))
    else:
        raise _unknown_architecture(name, architecture)
    if request.quick_gelu is not None:
        raise UsageError(f"--[no-]quick-gelu does not go with {name}: its configuration says it")
    return spec


def _names_a_folder(name: str) -> bool:
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
        weights=_published_weights(weights),
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
    weights = tags.get(tag.lower().replace("-", "_"))
    if weights is not None:
        return weights
    known = ", ".join(tags) or "none: give weights with --checkpoint FILE.safetensors"
    if not given:
        example = f", for example {architecture}:{next(iter(tags))}" if tags else ""
        raise ModelError(f"{architecture} needs a pretrained tag{example}. Its tags are: {known}")
    hint = _did_you_mean(catalogue.nearest(tag, tags))
    raise ModelError(f"{architecture} has no pretrained tag {tag!r}{hint}. Its tags are: {known}")


def _unknown_architecture(name: str, architecture: str) -> ModelError:
    names = [BUNDLED_MODEL, *catalogue.architectures()]
    hint = _did_you_mean(catalogue.nearest(architecture, names))
    return ModelError(
        f"there is no model {name!r}{hint}. A model is open_clip's ARCHITECTURE or"
        f" ARCHITECTURE:TAG, {HUB_PREFIX}org/name, a local open_clip ./FOLDER, or {BUNDLED_MODEL}"
    )


def _did_you_mean(names: list[str]) -> str:
    return f" (did you mean {' or '.join(names)}?)" if names else ""


def _published_weights(weights: PretrainedTag) -> HubWeights:
    if weights.repository is None or not weights.filename.endswith(".safetensors"):
        raise ModelError(
            f"{weights.name} is published only as a pickle, which can run code when it is opened;"
            f" clipcli reads safetensors. {WAY_OUT}"
        )
    return HubWeights(weights.repository, weights.filename)


def _hub_spec(repository: str, *, offline: bool) -> ModelSpec:
    config, preprocess = _read_config(hub_file(repository, CONFIG_FILE, offline=offline))
    weights = HubWeights(repository, catalogue.DEFAULT_WEIGHTS_FILE)
    return ModelSpec(f"{HUB_PREFIX}{repository}", config, preprocess, weights)


def _folder_spec(name: str, folder: Path) -> ModelSpec:
    """A folder's model, recognised by what the folder holds."""
    weights = folder / catalogue.DEFAULT_WEIGHTS_FILE
    # Here and above os.path, which answers for impossible names, too, where pathlib raises.
    if os.path.isfile(folder / CONFIG_FILE):
        config, preprocess = _read_config(folder / CONFIG_FILE)
        # A folder has as many names as there are ways to it.
        canonical = name if name == BUNDLED_MODEL else str(folder)
        return ModelSpec(canonical, config, preprocess, weights, folder)
    if os.path.isfile(folder / MANIFEST_FILE):
        model, config, preprocess = _read_manifest(folder / MANIFEST_FILE)
        return ModelSpec(model, config, preprocess, weights, bundle=folder)
    is_folder = os.path.isdir(folder)
    reason = f"it holds no {CONFIG_FILE}" if is_folder else "there is no such folder"
    raise ModelError(f"{name} is not an open_clip folder: {reason}")


def _read_manifest(file: Path) -> tuple[str, Mapping[str, Any], Mapping[str, Any]]:
    """Name, `model_cfg` and preprocessing of a prepared model; the rest is its bundle's matter."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return str(content["model"]), dict(content["config"]), dict(content["preprocess"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{file} is not the manifest of a prepared model: pull it again"
        ) from error


def _read_config(file: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The `model_cfg` and `preprocess_cfg` of an `open_clip_config.json`."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file} is not readable as JSON ({error})") from error
    fault = _config_fault(content)
    if fault:
        raise ModelError(f"{file} is not an open_clip configuration: {fault}")
    return {"quick_gelu": False, **content["model_cfg"]}, content.get("preprocess_cfg") or {}


def _config_fault(content: Any) -> str | None:  # noqa: ANN401
    """What keeps a JSON value from being an open_clip configuration, or None."""
    config = content.get("model_cfg") if isinstance(content, dict) else None
    if not isinstance(config, dict):
        return "it has no model_cfg"
    for name, kind in (("embed_dim", int), ("vision_cfg", dict), ("text_cfg", dict)):
        if not isinstance(config.get(name), kind):
            return f"its model_cfg has no {name}, or one of a wrong type"
    preprocess = content.get("preprocess_cfg") or {}
    if not isinstance(preprocess, dict):
        return "its preprocess_cfg is of a wrong type"
    for name, is_right in _PREPROCESS_FIELDS.items():
        if preprocess.get(name) is not None and not is_right(preprocess[name]):
            return f"its preprocess_cfg has an unknown {name}: {preprocess[name]!r}"
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
