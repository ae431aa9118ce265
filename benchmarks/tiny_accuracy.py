"""How often the bundled model picks a photo's true label out of ten.

    python benchmarks/tiny_accuracy.py FOLDER [--seeds 50] [--model tiny]

FOLDER holds photos and a `labels.tsv` with a header and the columns `file` and `label`. Each
photo is classified among its own label and nine others, drawn with a fixed seed.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from clipcli import Classifier, Prediction

TEMPLATE = "a photo of a {}."
CHOICES = 10


def read_labels(folder: Path) -> dict[Path, str]:
    """Photo -> true label."""
    with (folder / "labels.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return {folder / row["file"]: row["label"] for row in rows}


def similarities(
    model: str, photos: Sequence[Path], names: Sequence[str]
) -> dict[Path, dict[str, float]]:
    """Photo -> label -> cosine, for every photo and label."""
    results = Classifier(model).classify(photos, names, templates=[TEMPLATE])
    return {
        photo: {score.label: score.similarity for score in result.scores}
        for photo, result in zip(photos, results, strict=True)
        if isinstance(result, Prediction)
    }


def count_right(
    truth: dict[Path, str], fits: dict[Path, dict[str, float]], names: Sequence[str], seed: int
) -> int:
    """Photos whose true label fits best among itself and the nine drawn beside it."""
    draw = random.Random(seed)
    right = 0
    for photo, label in sorted(truth.items()):
        others = draw.sample([name for name in names if name != label], CHOICES - 1)
        # The best of some labels is the one with the largest cosine: softmax keeps the order.
        right += max([label, *others], key=fits[photo].__getitem__) == label
    return right


def main() -> None:
    """Print the figures for one folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=50, help="draws; the first is seed 0")
    parser.add_argument("--model", default="tiny")
    options = parser.parse_args()

    truth = read_labels(options.folder)
    # Sorted, so that the draw does not depend on the order of the file.
    names = sorted(set(truth.values()))
    fits = similarities(options.model, sorted(truth), names)
    right = [count_right(truth, fits, names, seed) for seed in range(options.seeds)]
    print(
        f"{right[0]} of {len(truth)} right ({right[0] / len(truth):.1%}), {CHOICES} labels, seed 0"
    )
    print(f"{options.seeds} seeds: mean {mean(right):.1f}, {min(right)} to {max(right)}")


if __name__ == "__main__":
    main()
