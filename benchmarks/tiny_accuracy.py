"""How often a model names a picture right, among ten labels and among all, and how sure it is.

    python benchmarks/tiny_accuracy.py FOLDER [--draws 50] [--model tiny]

FOLDER holds pictures and a `labels.tsv` of their names and labels, or a folder of pictures for
each class, as `clipcli eval` reads them. Each picture is classified among its own label and nine
others, drawn with fixed seeds, and among the labels of all. Intervals are of 95 %, a bootstrap over
the pictures; the ECE is the expected calibration error.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipcli.arrays import Float32, Float64
from clipcli.engines.base import Engine, EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.errors import UsageError
from clipcli.evaluation.calibration import expected_calibration_error, reliability_curve
from clipcli.evaluation.encoding import encode_images
from clipcli.evaluation.intervals import Interval, drawn_means, interval
from clipcli.heads.labels import LabelSet
from clipcli.heads.zero_shot import ZeroShotHead, build_head
from clipcli.images.dataset import Dataset, read_dataset
from clipcli.models.names import BUNDLED_MODEL, resolve_model
from clipcli.models.specs import ModelRequest
from clipcli.runs.options import PipelineOptions

Int64 = NDArray[np.int64]

TEMPLATE = "a photo of a {}."
CHOICES = 10


@dataclass(frozen=True, eq=False)
class Pictures:
    """n pictures that could be read, in the order of their names.

    Attributes:
        labels: L of them, sorted, so that no draw depends on the order of a file.
        truth: each picture's place among the labels, shape (n,).
        embeddings: unit rows of shape (n, embed_dim).
    """

    labels: tuple[str, ...]
    truth: Int64
    embeddings: Float32


@dataclass(frozen=True)
class Accuracy:
    """The figures of one question, over all draws of its labels.

    Attributes:
        labels: how many there are to choose from.
        right: right answers in each draw of labels.
        mean: the share of right answers, in 0..1.
        interval: where it lies, with other pictures of the kind.
        calibration_error: over the answers of all draws, in 0..1.
    """

    labels: int
    right: tuple[int, ...]
    mean: float
    interval: Interval
    calibration_error: float

    def row(self) -> str:
        """A line of the table."""
        span = f"{self.interval.low:.4f} to {self.interval.high:.4f}"
        return f"{self.labels:>6,}  {self.mean:>8.4f}  {span}  {self.calibration_error:.4f}"


def read_folder(folder: Path) -> Dataset:
    """The pictures of a folder with a `labels.tsv`, else with a folder for each class."""
    table = folder / "labels.tsv"
    return read_dataset(str(table if table.is_file() else folder))


def read_pictures(data: Dataset, engine: Engine) -> Pictures:
    """Embed a data set; pictures that cannot be read are told on standard error and left out.

    Raises:
        UsageError: none can be read.
    """
    data = data.subset(sorted(range(len(data.refs)), key=lambda place: data.refs[place].name))
    encoded = encode_images(data.refs, engine, PipelineOptions())
    for place, error in sorted(encoded.failures.items()):
        print(f"{data.refs[place].name}: {error}: left out", file=sys.stderr)
    kept = [place for place in range(len(data.refs)) if place not in encoded.failures]
    if not kept:
        raise UsageError("no picture can be read")
    data = data.subset(kept)
    places = {label: place for place, label in enumerate(data.classes)}
    truth = np.array([places[label] for label in data.labels])
    return Pictures(data.classes, truth, encoded.embeddings[kept])


def drawn_labels(truth: Int64, labels: int, choices: int, seed: int) -> Int64:
    """Each picture's own label and others drawn beside it, shape (n, choices): places of labels."""
    draw = random.Random(seed)
    others = np.array([draw.sample(range(labels - 1), choices - 1) for _ in truth])
    # Places are drawn among the labels without the picture's own.
    return np.column_stack([truth, others + (others >= truth[:, None])])


def measure(head: ZeroShotHead, cosines: Float64, draws: Sequence[Int64]) -> Accuracy:
    """Answer one question in several draws.

    Args:
        head: the labels.
        cosines: of all pictures with all labels, shape (n, L).
        draws: the labels to choose from, the true one first, shape (n, k) each.
    """
    offered = [np.take_along_axis(cosines, places, axis=1) for places in draws]
    # By the cosine: far from the best, probabilities round to equal zeros.
    correct = np.stack([values.argmax(axis=1) == 0 for values in offered])
    confidence = np.concatenate([head.probabilities(values).max(axis=1) for values in offered])
    curve = reliability_curve(confidence, correct.ravel())
    # A draw of labels is no new picture: the bootstrap goes over each picture's own mean.
    means = drawn_means(correct.mean(axis=0)[:, None])[:, 0]
    return Accuracy(
        labels=draws[0].shape[1],
        right=tuple(correct.sum(axis=1).tolist()),
        mean=float(correct.mean()),
        interval=interval(means),
        calibration_error=expected_calibration_error(curve),
    )


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draws", type=int, default=50, help="of nine labels; the first is seed 0")
    parser.add_argument("--model", default=BUNDLED_MODEL)
    parser.add_argument("--template", default=TEMPLATE)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures for one folder."""
    options = _arguments(arguments)
    engine = load_engine(resolve_model(ModelRequest(options.model)), EngineOptions())
    pictures = read_pictures(read_folder(options.folder), engine)
    head = build_head(engine, LabelSet(pictures.labels, (options.template,)))
    cosines, count = head.similarities(pictures.embeddings), len(pictures.labels)
    choices = min(CHOICES, count)
    ten = measure(
        head,
        cosines,
        [drawn_labels(pictures.truth, count, choices, seed) for seed in range(options.draws)],
    )
    every = measure(head, cosines, [drawn_labels(pictures.truth, count, count, seed=0)])

    images = len(pictures.truth)
    print(f"{options.model}, prompts {options.template}: {images:,} images, {count:,} labels")
    print("labels  accuracy  95 % interval         ECE")
    print(ten.row(), every.row(), sep="\n")
    print(
        f"of {choices} labels, {options.draws} draws: {ten.right[0]} right in the first,"
        f" {min(ten.right)} to {max(ten.right)} in all"
    )


if __name__ == "__main__":
    main()
