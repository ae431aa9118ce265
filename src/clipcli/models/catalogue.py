"""What open_clip has: its architectures and pretrained tags, read without importing it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from clipcli.assets import asset

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

    @property
    def has_safetensors(self) -> bool:
        """Whether they are published in a format that runs no code when it is opened."""
        return self.repository is not None and self.filename.endswith(".safetensors")


@dataclass(frozen=True)
class CatalogueEntry:
    """One line of the catalogue: published weights, or an architecture that has none.

    Attributes:
        name: what clipcli calls it, `architecture:tag` or the architecture alone.
        weights: the format in which they are published; None where none are.
        parameters: of both towers together, in millions; None where nobody has counted them.
        image_size: side of the model's input, in pixels.
        embed_dim: width of the embeddings.
        quick_gelu: whether the weights were trained with QuickGELU.
        needs_transformers: whether the text tower is one of the package transformers.
        imagenet_top1: zero-shot accuracy on ImageNet that open_clip's own results name, in percent.
    """

    name: str
    weights: Literal["safetensors", "pickle"] | None
    parameters: float | None
    image_size: int
    embed_dim: int
    quick_gelu: bool
    needs_transformers: bool
    imagenet_top1: float | None

    @property
    def names(self) -> tuple[str, ...]:
        """All the names that mean it: weights of a QuickGELU twin are also found by its name."""
        architecture, colon, tag = self.name.partition(":")
        twin = architecture + QUICK_GELU_SUFFIX
        is_twins = self.quick_gelu and twin in architectures()
        return (self.name, f"{twin}{colon}{tag}") if is_twins else (self.name,)


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


def available(pattern: str | None = None) -> list[CatalogueEntry]:
    """Every architecture with each of its pretrained tags, by name.

    Args:
        pattern: a part of a name, or a pattern of a whole one (`*`, `?`, `[...]`); letters' case
            does not matter, and `ViT-B/32` is `ViT-B-32`.
    """
    entries = list(_entries())
    if pattern is None:
        return entries
    wanted = pattern.lower().replace("/", "-")
    if not set(wanted) & set("*?["):
        wanted = f"*{wanted}*"
    return [
        entry for entry in entries if any(fnmatchcase(name.lower(), wanted) for name in entry.names)
    ]


def nearest(word: str, names: Iterable[str]) -> list[str]:
    """The names that a misspelt or shortened word may have meant, best first, at most three."""
    # Names differ in case by habit (vit-b-32), and that is no misspelling.
    folded = {name.lower(): name for name in names}
    word = word.lower()
    if word in folded:
        return [folded[word]]
    # Of a tag like laion2b_s34b_b79k people remember the beginning.
    longer = [name for name in folded if word and name.startswith(word)]
    matches = [*longer, *get_close_matches(word, folded, n=3, cutoff=0.6)]
    return [folded[match] for match in dict.fromkeys(matches)][:3]


def _entries() -> Iterator[CatalogueEntry]:
    for architecture in sorted(architectures()):
        base = architecture.removesuffix(QUICK_GELU_SUFFIX)
        if base != architecture and base in architectures():
            continue  # the same towers: its tags are among the other's
        tags = pretrained_tags(architecture)
        for weights in tags.values():
            yield _entry(architecture, weights)
        if not tags:
            yield _entry(architecture, None)


def _entry(architecture: str, weights: PretrainedTag | None) -> CatalogueEntry:
    config = architecture_config(architecture)
    figures = _figures().get(architecture, {})
    quick_gelu = weights.quick_gelu if weights else bool(config.get("quick_gelu"))
    return CatalogueEntry(
        name=weights.name if weights else architecture,
        weights=_format(weights) if weights else None,
        parameters=figures.get("parameters"),
        image_size=config["vision_cfg"]["image_size"],
        embed_dim=config["embed_dim"],
        quick_gelu=quick_gelu,
        needs_transformers=bool(config["text_cfg"].get("hf_model_name")),
        imagenet_top1=figures.get("imagenet_top1", {}).get(weights.tag if weights else None),
    )


def _format(weights: PretrainedTag) -> Literal["safetensors", "pickle"]:
    return "safetensors" if weights.has_safetensors else "pickle"


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
    registry: dict[str, dict[str, dict[str, Any]]] = _read("pretrained.json")
    return registry


@cache
def _figures() -> Mapping[str, Mapping[str, Any]]:
    figures: dict[str, dict[str, Any]] = _read("figures.json")
    return figures


def _read(name: str) -> Any:  # noqa: ANN401
    return json.loads(asset(name).read_text(encoding="utf-8"))
