"""What somebody meant whose name of a model is none: told by the name's shape, then by spelling."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePath

from clipcli.models import catalogue
from clipcli.models.configurations import (
    CONFIG_FILE,
    MANIFEST_FILE,
    TRANSFORMERS_CONFIG_FILE,
)
from clipcli.models.specs import DEFAULT_MODEL

_REPOSITORY = r"(?P<name>\w[\w.-]*/\w[\w.-]*)"
_HUB_ADDRESS = re.compile(
    rf"(?:https?:/*)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?:models/)?{_REPOSITORY}"
    r"(?:/(?:tree|blob|resolve)/(?P<revision>[^/?#]+))?.*",
    re.ASCII | re.IGNORECASE,
)
# As timm, open_clip's older versions and other tools spell it, or as it is remembered.
_HUB_NAME = re.compile(
    rf"(?:hf|hub|huggingface|hf[-_ ]?hub)(?:://?/?|/|:\s*){_REPOSITORY}(?:@(?P<revision>[^/]+)|/.*)?",
    re.ASCII | re.IGNORECASE,
)
_BARE_REPOSITORY = re.compile(rf"{_REPOSITORY}(?:@(?P<revision>[^/]+))?", re.ASCII)
_LOCAL_NAME = re.compile(r"(?:local[-_]?dir:|file:(?://)?)(?P<path>.+)", re.IGNORECASE)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://.*", re.IGNORECASE)
_CACHED = re.compile(r"models--(?P<owner>\w[\w.-]*?)--(?P<rest>\w[\w.-]*)/?", re.ASCII)
# Between an architecture and its tag there is a colon; others write these.
_SEPARATOR = re.compile(r"[\s,;:@|/'\"_-]+")

_WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
_OTHER_FILES = {
    ".onnx": "a graph of ONNX is a part of a prepared model: name the folder that `clipcli pull`"
    " made",
    ".gguf": "clipcli reads safetensors, and this is the format of llama.cpp and clip.cpp",
    ".ggml": "clipcli reads safetensors, and this is the format of llama.cpp and clip.cpp",
    ".h5": "clipcli reads safetensors of PyTorch's models, and this is TensorFlow's format",
    ".msgpack": "clipcli reads safetensors of PyTorch's models, and this is Flax's format",
    ".npz": "clipcli reads safetensors of PyTorch's models, and this is an archive of NumPy",
}
_MODEL_FILES = (CONFIG_FILE, MANIFEST_FILE, TRANSFORMERS_CONFIG_FILE)


def advice(name: str) -> str | None:
    """What a name that means no model may have meant, as a part of a sentence; None for no idea."""
    for shape in (_emptiness, _file, _hub, _local, _architecture_and_tag, _bare_repository):
        found = shape(name.strip() if shape is not _emptiness else name)
        if found is not None:
            return found
    return None


def folder_advice(folder: Path) -> str | None:
    """What to do with a folder that is no model's; None where nothing in it tells."""
    try:
        names = sorted(os.listdir(folder))
    except (OSError, ValueError):
        return None
    if not names:
        return "it is empty"
    inner = next(_models_within(folder, names), None)
    if inner is not None:
        return f"did you mean {_as_folder(inner)}?"
    weights = [name for name in names if name.endswith(_WEIGHTS)]
    if weights:
        return _with_checkpoint(str(folder / weights[0]))
    graphs = [name for name in names if name.endswith(".onnx")]
    if graphs:
        return f"its {graphs[0]} belongs to a prepared model, whose {MANIFEST_FILE} is missing"
    return None


def _models_within(folder: Path, names: list[str]) -> Iterator[Path]:
    """The models' folders one step below, or where the hub's cache has them."""
    inner = [folder / name for name in names]
    if "snapshots" in names:
        snapshots = folder / "snapshots"
        inner = sorted(snapshots.iterdir()) if snapshots.is_dir() else []
    for path in inner:
        if any((path / name).is_file() for name in _MODEL_FILES):
            yield path


def _emptiness(name: str) -> str | None:
    if not name.strip():
        return f"it is empty: the default is {DEFAULT_MODEL}"
    if name != name.strip():
        return f"did you mean {name.strip()!r}, without the spaces?"
    return None


def _file(name: str) -> str | None:
    """A file where a model is wanted: told by its suffix, whether it is there or not."""
    if _ADDRESS.fullmatch(name) or (":" in name and _HUB_NAME.fullmatch(name)):
        return None
    path = PurePath(name)
    suffix = path.suffix.lower()
    if path.name in _MODEL_FILES or _is_inside_a_model(path):
        return f"did you mean the folder that it is in, {_as_folder(path.parent)}?"
    if suffix in _WEIGHTS:
        return _with_checkpoint(name)
    return _OTHER_FILES.get(suffix)


def _is_inside_a_model(path: PurePath) -> bool:
    is_file = os.path.isfile(path)
    return is_file and any(os.path.isfile(path.with_name(name)) for name in _MODEL_FILES)


def _with_checkpoint(file: str) -> str:
    return f"weights are given with --checkpoint {file}, and the model is their architecture"


def _hub(name: str) -> str | None:
    match = _HUB_ADDRESS.fullmatch(name) or _HUB_NAME.fullmatch(name)
    if match:
        return _hub_name(match)
    if match := _CACHED.fullmatch(name):
        return f"did you mean hf-hub:{match['owner']}/{match['rest']}?"
    if _ADDRESS.fullmatch(name) and not _LOCAL_NAME.fullmatch(name):
        return "models are fetched from the model hub only, by hf-hub:org/name"
    return None


def _hub_name(match: re.Match[str]) -> str:
    revision = match["revision"] if "revision" in match.re.groupindex else None
    more = f" --revision {revision}" if revision and revision != "main" else ""
    return f"did you mean hf-hub:{match['name']}{more}?"


def _local(name: str) -> str | None:
    match = _LOCAL_NAME.fullmatch(name)
    return f"did you mean {_as_folder(PurePath(match['path']))}?" if match else None


def _architecture_and_tag(name: str) -> str | None:
    """Both are there, the other way round or with another sign between them."""
    name = name.strip("()[] '\"")
    for between in _SEPARATOR.finditer(name):
        parts = name[: between.start()], name[between.end() :]
        for architecture, tag in (parts, parts[::-1]):
            known = _architecture(architecture)
            wanted = tag.lower().replace("-", "_")
            if known and wanted in catalogue.pretrained_tags(known):
                return f"did you mean {known}:{wanted}?"
    return None


def _architecture(name: str) -> str | None:
    folded = {known.lower(): known for known in catalogue.architectures()}
    return folded.get(name.replace("/", "-").lower())


def _bare_repository(name: str) -> str | None:
    match = _BARE_REPOSITORY.fullmatch(name)
    if match is None:
        return None
    # `ViT-B/23` is a misspelt architecture, which its spelling tells better.
    start = name.partition("/")[0].lower()
    if any(known.lower().startswith(start) for known in catalogue.architectures()):
        return None
    return _hub_name(match)


def _as_folder(path: PurePath) -> str:
    """A folder as --model takes one: a bare name would be looked up among the architectures."""
    text = str(path)
    return text if text.startswith((".", "/", "~")) or path.is_absolute() else f"./{text}"
