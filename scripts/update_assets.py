"""Write the label presets, template sets and pretrained tags that open_clip's own lists hold.

Run it when a new open_clip is admitted: ``python scripts/update_assets.py``. The tests compare
the files with the installed open_clip and fail when they differ.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import open_clip
from open_clip.pretrained import get_pretrained_cfg

ASSETS = Path(__file__).parents[1] / "src" / "clipcli" / "assets"

# open_clip names two pairs of ImageNet classes alike. WordNet's own first words for the second
# of each (n04008634 and n04355933) tell them apart.
DISTINCT_CLASSNAMES = {744: "projectile", 836: "sunglass"}

TAG_FIELDS = ("hf_hub", "quick_gelu", "mean", "std", "interpolation", "resize_mode")


def imagenet_labels() -> list[str]:
    """The 1,000 ImageNet class names, made distinct."""
    names = list(open_clip.IMAGENET_CLASSNAMES)
    for position, name in DISTINCT_CLASSNAMES.items():
        names[position] = name
    return names


def template_texts(templates: Iterable[Callable[[str], str]]) -> list[str]:
    """open_clip's template functions as texts with `{}` for the label."""
    return [template("{}") for template in templates]


def pretrained_tags() -> dict[str, dict[str, dict[str, Any]]]:
    """Architecture -> tag -> where its weights are and how they were trained.

    The `-quickgelu` twins are left out: they hold the tags of their architecture for which
    `quick_gelu` is true.
    """
    tags: dict[str, dict[str, dict[str, Any]]] = {}
    for architecture, tag in open_clip.list_pretrained():
        if architecture.endswith("-quickgelu"):
            continue
        config = get_pretrained_cfg(architecture, tag)
        entry = {field: config[field] for field in TAG_FIELDS if config.get(field)}
        entry["mean"], entry["std"] = list(config["mean"]), list(config["std"])
        tags.setdefault(architecture, {})[tag] = entry
    return tags


def main() -> None:
    """Write all the files."""
    lists = {
        "labels/imagenet.txt": imagenet_labels(),
        "templates/openai80.txt": template_texts(open_clip.OPENAI_IMAGENET_TEMPLATES),
        "templates/openai7.txt": template_texts(open_clip.SIMPLE_IMAGENET_TEMPLATES),
    }
    for name, lines in lists.items():
        (ASSETS / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    tags = json.dumps(pretrained_tags(), indent=1)
    (ASSETS / "pretrained.json").write_text(tags + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
