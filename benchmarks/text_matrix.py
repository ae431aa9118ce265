"""How fast 1,000 labels become a text matrix, beside open_clip's own function for it.

    python -m benchmarks.text_matrix [--work FOLDER] [--rounds 3] [--prompts 1000]

Builds a seeded random ViT-B/32 of full size, prepares it, and encodes ImageNet's labels in one
template, without a cache, in turn. The table gives medians; ratios are taken within each round,
so that they hold while the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.random_model import ARCHITECTURE, random_checkpoint
from clipcli.engines.base import EngineOptions, Precision
from clipcli.engines.choice import load_engine
from clipcli.heads.labels import LabelSet, collect_labels
from clipcli.heads.zero_shot import build_head
from clipcli.models.bundles import find_bundle
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest, ModelSpec

if TYPE_CHECKING:
    from clipcli.engines.base import Engine

Float32 = NDArray[np.float32]

MODEL = "ViT-B-32"
TEMPLATE = "a photo of a {}."
BASELINE = "open_clip"


def prepared_model(work: Path, *precisions: Precision) -> ModelSpec:
    """The random model, pulled into the caches below a folder where it was not before."""
    os.environ["CLIPCLI_CACHE_DIR"] = str(work / "cache")
    checkpoint = random_checkpoint(work)
    spec = resolve_model(ModelRequest(MODEL, checkpoint, quick_gelu=True))
    for precision in precisions:
        if find_bundle(spec, precision) is None:
            pull = [str(Path(sys.executable).with_name("clipcli")), "pull", MODEL, "--quick-gelu"]
            options = ["--checkpoint", str(checkpoint), "--precision", precision]
            subprocess.run([*pull, *options], check=True)
    return spec


def open_clip_model(work: Path) -> Any:  # noqa: ANN401  open_clip has no types
    """The same weights in open_clip's own class."""
    import open_clip
    from safetensors.torch import load_file

    model = open_clip.create_model(ARCHITECTURE)
    model.load_state_dict(load_file(random_checkpoint(work)))
    return model.eval()


def open_clip_matrix(model: Any, names: tuple[str, ...]) -> Float32:  # noqa: ANN401
    """open_clip's zero-shot head, transposed to a row for each label."""
    import open_clip

    templates = [lambda name: TEMPLATE.replace("{}", name)]
    tokenizer = open_clip.get_tokenizer(ARCHITECTURE)
    matrix: Float32 = (
        open_clip.build_zero_shot_classifier(model, tokenizer, list(names), templates).numpy().T
    )
    return matrix


def seconds_of(job: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = perf_counter()
    job()
    return perf_counter() - start


def in_turn(jobs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Wall times of all jobs, each once a round."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            seconds[name].append(seconds_of(job))
    return seconds


def ratio_to(baseline: list[float], seconds: list[float]) -> float:
    """How many times faster than the baseline, as the median of the rounds' own ratios."""
    return median(slow / fast for slow, fast in zip(baseline, seconds, strict=True))


def main() -> None:
    """Prepare, compare the numbers, run in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("benchmark-work"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=1000, help="fewer for a quick look")
    options = parser.parse_args()

    spec = prepared_model(options.work, "fp32")
    names = tuple(collect_labels((), ("imagenet",)))[: options.prompts]
    labels = LabelSet(names, (TEMPLATE,))
    reference = open_clip_model(options.work)

    def head_of(engine: Engine) -> Callable[[], Float32]:
        return lambda: build_head(engine, labels).embeddings

    jobs: dict[str, Callable[[], Float32]] = {
        "clipcli, onnx": head_of(load_engine(spec, EngineOptions(engine="onnx"))),
        "clipcli, onnx, for one image": head_of(
            load_engine(spec, EngineOptions(engine="onnx", image_count=1))
        ),
        "clipcli, torch": head_of(load_engine(spec, EngineOptions("cpu", engine="torch"))),
        BASELINE: lambda: open_clip_matrix(reference, names),
    }
    matrices = {name: job() for name, job in jobs.items()}  # warm, and for the differences
    seconds = in_turn(jobs, options.rounds)
    print(f"| {len(names)} labels, one template | prompts/s | times {BASELINE}'s | difference |")
    print("|---|---|---|---|")
    for name, matrix in matrices.items():
        rate = len(names) / median(seconds[name])
        ratio = ratio_to(seconds[BASELINE], seconds[name])
        difference = float(np.abs(matrix - matrices[BASELINE]).max())
        print(f"| {name} | {rate:.1f} | {ratio:.2f} | {difference:.1e} |")


if __name__ == "__main__":
    main()
