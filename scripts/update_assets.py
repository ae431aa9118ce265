"""Write the label presets, template sets, pretrained tags and figures that open_clip's lists hold.

Run it when a new open_clip is admitted: ``python scripts/update_assets.py``. The tests compare
the files with the installed open_clip and fail when they differ.

The figures of the models come from two tables in open_clip's repository, which its wheel leaves
out: ``--results docs/openclip_results.csv --profile docs/model_profile.csv`` compiles them anew.
``--answers`` writes down what the bundled model answers today, after it was trained anew.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.pretrained import get_pretrained_cfg

from clipcli import Prediction
from clipcli.models.catalogue import QUICK_GELU_SUFFIX, architecture_config, architectures

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
        if architecture.endswith(QUICK_GELU_SUFFIX):
            continue
        config = get_pretrained_cfg(architecture, tag)
        entry = {field: config[field] for field in TAG_FIELDS if config.get(field)}
        entry["mean"], entry["std"] = list(config["mean"]), list(config["std"])
        tags.setdefault(architecture, {})[tag] = entry
    return tags


def count_parameters(architecture: str) -> float:
    """Millions of parameters, counted on torch's device without memory."""
    with torch.device("meta"):
        model = open_clip.create_model(
            architecture, load_weights=False, pretrained_text=False, device="meta"
        )
    count: int = sum(parameter.numel() for parameter in model.parameters())
    return round(count / 1e6, 2)


def imagenet_top1(results: Path) -> dict[str, dict[str, float]]:
    """Architecture -> tag -> percent, out of open_clip's table of results.

    Weights that were trained with QuickGELU were measured with and without it; what counts is
    the row of the architecture that has it.
    """
    found: dict[str, dict[str, float]] = {}
    tags = pretrained_tags()
    for row in sorted(_rows(results), key=lambda row: row["name"].endswith(QUICK_GELU_SUFFIX)):
        architecture = row["name"].removesuffix(QUICK_GELU_SUFFIX)
        is_twin = architecture != row["name"]
        tag = tags.get(architecture, {}).get(row["pretrained"])
        if tag is None or (is_twin and not tag.get("quick_gelu")):
            continue
        percent = round(100 * float(row["ImageNet 1k"]), 2)
        found.setdefault(architecture, {})[row["pretrained"]] = percent
    return found


def figures(results: Path, profile: Path) -> dict[str, dict[str, Any]]:
    """Architecture -> its parameters in millions, and the published accuracies of its tags.

    Args:
        results: open_clip's docs/openclip_results.csv.
        profile: its docs/model_profile.csv, for text towers that are not open_clip's own.
    """
    published = {row["model"]: float(row["mparams"]) for row in _rows(profile)}
    accuracies = imagenet_top1(results)
    found = {}
    for architecture in sorted(architectures()):
        if architecture.endswith(QUICK_GELU_SUFFIX):
            continue
        # Building these takes the package transformers, and a download.
        is_foreign = "hf_model_name" in architecture_config(architecture)["text_cfg"]
        count = published[architecture] if is_foreign else count_parameters(architecture)
        accuracy = accuracies.get(architecture, {})
        found[architecture] = {"parameters": count, "imagenet_top1": accuracy}
    return found


def answers() -> list[dict[str, Any]]:
    """The known answers, the bundled model's as the reference engine gives them now."""
    from clipcli import Classifier
    from clipcli.doctor.known_answers import CHECK_PHOTOS

    records: list[dict[str, Any]] = json.loads((ASSETS / "known_answers.json").read_text("utf-8"))
    tiny = Classifier("tiny", device="cpu", engine="torch")
    for record in records:
        if record["model"] != "tiny":
            continue  # published, by others
        photo = CHECK_PHOTOS / record["image"]
        (found,) = tiny.classify(photo, record["labels"], templates=[record["template"]])
        assert isinstance(found, Prediction)
        record["best"] = [score.label for score in found.scores]
        record["probabilities"] = [round(score.probability, 6) for score in found.scores]
    return records


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, help="open_clip's docs/openclip_results.csv")
    parser.add_argument("--profile", type=Path, help="open_clip's docs/model_profile.csv")
    parser.add_argument("--answers", action="store_true", help="the bundled model's, as of now")
    chosen = parser.parse_args(arguments)
    if (chosen.results is None) != (chosen.profile is None):
        parser.error("--results and --profile go together")
    return chosen


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the files that are open_clip's, and those that were asked for."""
    chosen = _arguments(arguments)
    lists = {
        "labels/imagenet.txt": imagenet_labels(),
        "templates/openai80.txt": template_texts(open_clip.OPENAI_IMAGENET_TEMPLATES),
        "templates/openai7.txt": template_texts(open_clip.SIMPLE_IMAGENET_TEMPLATES),
    }
    for name, lines in lists.items():
        (ASSETS / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    _write_json("pretrained.json", pretrained_tags())
    if chosen.results is not None:
        # open_clip warns through the root logger that the weights it was not asked for are random.
        logging.disable(logging.WARNING)
        _write_json("figures.json", figures(chosen.results, chosen.profile))
    if chosen.answers:
        _write_json("known_answers.json", answers())


def _write_json(name: str, content: object) -> None:
    (ASSETS / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
