"""Accuracy and calibration of model folders on the pictures held out of training, side by side."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.train_tiny.arguments import parser
from scripts.train_tiny.material import found, test_sets
from scripts.train_tiny.measure import (
    TEMPLATE,
    TestSet,
    accuracy,
    all_labels,
    calibration_error,
    draws,
)
from scripts.train_tiny.model import TinyClip, from_folder
from scripts.train_tiny.pictures import table

Measured = tuple[TestSet, NDArray[np.float64], NDArray[np.float64]]


def main() -> None:
    """Runs the script."""
    options = parser(__doc__, "data", "work")
    options.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="open_clip folder")
    given = options.parse_args()
    tests = test_sets(found(given.data, given.work, table()))
    models = [from_folder(folder) for folder in given.models]
    print("set\tpictures\tlabels" + "\tten\tall\tECE" * len(models))
    for rows in zip(*(measured(model, tests) for model in models), strict=True):
        test = rows[0][0]
        figures = [
            figure
            for row, model in zip(rows, models, strict=True)
            for figure in figures_of(row, model)
        ]
        print(
            "\t".join([test.name, str(len(test.truth)), str(len(test.labels)), *figures]),
            flush=True,
        )


def figures_of(row: Measured, model: TinyClip) -> list[str]:
    """Per cent among ten labels, per cent among all, and calibration error among ten."""
    test, cosines, ten = row
    error = calibration_error(ten, model.logit_scale.exp().item())
    return [f"{100 * accuracy(ten):.1f}", f"{100 * all_labels(test, cosines):.1f}", f"{error:.3f}"]


@torch.no_grad()
def measured(model: TinyClip, tests: list[TestSet]) -> Iterator[Measured]:
    """Each test set, its pictures' cosines with all its labels, and those of draws of ten."""
    for test in tests:
        images = model.encode_features(torch.from_numpy(test.features))
        texts = model.encode_texts([TEMPLATE.format(label) for label in test.labels])
        cosines = (images @ texts.T).double().numpy()
        yield test, cosines, draws(test, cosines)


if __name__ == "__main__":
    main()
