"""What open_clip has: its architectures and pretrained tags, read without importing it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

QUICK_GELU_SUFFIX = "-quickgelu"
DEFAULT_WEIGHTS_FILE = "open_clip_model.safetensors"


@dataclass(frozen=True)
class PretrainedTag:
    """Published weights of one architecture.

    Attributes:
        architecture: open_clip's name, without the `-quickgelu` suffix.
        tag: open_clip's name of the weights.
        repository: `organisation/name` on the model hub, or None where it has none.
        filename: of the weights in the repository.
        quick_gelu: whether they were trained with QuickGELU.
        preprocess: the fields of open_clip's `preprocess_cfg` that they need.
    """

    architecture: str
    tag: str
    repository: str | None
    filename: str
    quick_gelu: bool
    preprocess: Mapping[str, Any]

    @property
    def name(self) -> str:
        """`architecture:tag`."""
        return f"{self.architecture}:{self.tag}"


@cache
def architectures() -> Mapping[str, Path]:
    """Architecture -> the file of its configuration in the installed open_clip."""
    spec = find_spec("open_clip")  # locates a top-level package without running it
    if spec is None or not spec.submodule_search_locations:
        return {}
    folder = Path(spec.submodule_search_locations[0]) / "model_configs"
    return {path.stem: path for path in sorted(folder.glob("*.json"))}


def architecture_config(architecture: str) -> dict[str, Any]:
    """open_clip's `model_cfg` of an architecture that `architectures` names."""
    config: dict[str, Any] = json.loads(architectures()[architecture].read_text(encoding="utf-8"))
    return config


@cache
def pretrained_tags(architecture: str) -> Mapping[str, PretrainedTag]:
    """Tag -> published weights of an architecture; for a `-quickgelu` name those that need it."""
    base = architecture.removesuffix(QUICK_GELU_SUFFIX)
    tags = {
        tag: _pretrained_tag(base, tag, entry) for tag, entry in _registry().get(base, {}).items()
    }
    if architecture != base:
        return {tag: weights for tag, weights in tags.items() if weights.quick_gelu}
    return tags


def nearest(word: str, names: Iterable[str]) -> list[str]:
    """The names that a misspelt word may have meant, best first, at most three."""
    # Names differ in case by habit (vit-b-32), and that is no misspelling.
    folded = {name.lower(): name for name in names}
    return [folded[match] for match in get_close_matches(word.lower(), folded, n=3, cutoff=0.6)]


def _pretrained_tag(architecture: str, tag: str, entry: Mapping[str, Any]) -> PretrainedTag:
    # "organisation/name/file"; without a file, open_clip's own name for it.
    organisation, _, rest = entry.get("hf_hub", "").partition("/")
    name, _, filename = rest.partition("/")
    fields = ("mean", "std", "interpolation", "resize_mode")
    # The tag of roberta-ViT-B-32 leaves out what its architecture's own configuration says.
    quick_gelu = entry.get("quick_gelu") or architecture_config(architecture).get("quick_gelu")
    return PretrainedTag(
        architecture=architecture,
        tag=tag,
        repository=f"{organisation}/{name}" if name else None,
        filename=filename or DEFAULT_WEIGHTS_FILE,
        quick_gelu=bool(quick_gelu),
        preprocess={field: entry[field] for field in fields},
    )


@cache
def _registry() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    text = Path(__file__).with_name("assets") / "pretrained.json"
    registry: dict[str, dict[str, dict[str, Any]]] = json.loads(text.read_text(encoding="utf-8"))
    return registry
