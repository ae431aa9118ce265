"""How many images a second many images go at, beside open_clip's own model.

    python -m benchmarks.bulk [--work FOLDER] [--rounds 5] [--images 64]

Builds a seeded random ViT-B/32 of full size and prepares it in fp32 and int8. Pixels: random
ones, preprocessed, in batches of 32. Files: the example photos, linked many times, decoded and
classified from end to end. All run in turn; the table gives medians, and ratios that are taken
within each round, so that they hold while the machine's speed drifts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from benchmarks.text_matrix import (
    BASELINE,
    Float32,
    in_turn,
    open_clip_model,
    prepared_model,
    ratio_to,
)
from clipcli.engines.base import EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.engines.onnx import OnnxEngine
from clipcli.heads.labels import LabelSet
from clipcli.heads.results import Prediction
from clipcli.heads.zero_shot import ZeroShotHead, build_head
from clipcli.images.sources import ImageRef
from clipcli.models.bundles import IMAGE_GRAPH, find_bundle
from clipcli.runs.options import PipelineOptions
from clipcli.runs.pipeline import classify

if TYPE_CHECKING:
    from clipcli.engines.base import Engine
    from clipcli.models.specs import ModelSpec

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"
LABELS = LabelSet(("a photo of a cat", "a photo of a dog", "a photo of a mountain"))
BATCH = 32
FP32, INT8 = "clipcli, onnx, fp32", "clipcli, onnx, int8"


class OneAtATime(OnnxEngine):
    """The other way to run int8: each image on all threads, in place of a thread for each."""

    def encode_images(self, pixels: Float32) -> Float32:
        """Embed preprocessed pixels: (n, 3, height, width) to (n, embed_dim), unit rows."""
        rows = range(len(pixels))
        return np.concatenate([self._run(self._image_session, pixels[i : i + 1]) for i in rows])

    @cached_property
    def _image_session(self) -> onnxruntime.InferenceSession:
        return self._open(IMAGE_GRAPH, threads=self._threads)


def engines(spec: ModelSpec) -> dict[str, Engine]:
    """Everything of clipcli that is compared, by the name in the table."""
    int8 = EngineOptions(precision="int8")
    bundle = find_bundle(spec, "int8")
    assert bundle is not None
    return {
        FP32: load_engine(spec, EngineOptions(engine="onnx")),
        "clipcli, torch, fp32": load_engine(spec, EngineOptions("cpu", engine="torch")),
        INT8: load_engine(spec, int8),
        "clipcli, onnx, int8, all threads on one image": OneAtATime(bundle, int8),
    }


def in_batches(encode: Callable[[Float32], object], pixels: Float32) -> Callable[[], None]:
    """A job that encodes all pixels."""

    def job() -> None:
        for start in range(0, len(pixels), BATCH):
            encode(pixels[start : start + BATCH])

    return job


def encode_with_open_clip(model: Any) -> Callable[[Float32], object]:  # noqa: ANN401
    """open_clip's image tower, as its README calls it."""
    import torch

    def encode(pixels: Float32) -> object:
        with torch.inference_mode():
            return model.encode_image(torch.from_numpy(pixels), normalize=True)

    return encode


def link_photos(folder: Path, count: int) -> list[ImageRef]:
    """So many photos of ordinary size, as files of their own names."""
    photos = sorted(path for path in PHOTOS.iterdir() if path.suffix in (".png", ".jpg"))
    refs = []
    for index in range(count):
        photo = photos[index % len(photos)]
        link = folder / f"{index:05}{photo.suffix}"
        link.symlink_to(photo)
        refs.append(ImageRef(index, link.name, link))
    return refs


def through_the_pipeline(
    refs: list[ImageRef], engine: Engine, head: ZeroShotHead
) -> Callable[[], None]:
    """A job that reads, decodes and classifies all photos."""

    def job() -> None:
        for result in classify(refs, engine, head, PipelineOptions(BATCH)):
            assert isinstance(result, Prediction), result

    return job


def print_table(title: str, count: int, seconds: dict[str, list[float]]) -> None:
    """A Markdown table of rates, and of how they compare with open_clip and with fp32."""
    print(f"| {title} | images/s | times {BASELINE}'s | times fp32's |")
    print("|---|---|---|---|")
    for name, times in seconds.items():
        ratios = " | ".join(f"{ratio_to(seconds[base], times):.2f}" for base in (BASELINE, FP32))
        print(f"| {name} | {count / median(times):.1f} | {ratios} |")
    print()


def main() -> None:
    """Prepare, run in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("benchmark-work"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=64, help="in each run")
    options = parser.parse_args()

    spec = prepared_model(options.work, "fp32", "int8")
    random = np.random.default_rng(0)
    pixels = random.standard_normal((options.images, 3, 224, 224)).astype(np.float32)
    encode = encode_with_open_clip(open_clip_model(options.work))
    reference = in_batches(encode, pixels)
    compared = engines(spec)
    jobs = {name: in_batches(engine.encode_images, pixels) for name, engine in compared.items()}
    in_turn({BASELINE: in_batches(encode, pixels[:BATCH]), **jobs}, 1)  # warm
    print_table("pixels", len(pixels), in_turn({BASELINE: reference, **jobs}, options.rounds))

    with TemporaryDirectory() as folder:
        refs = link_photos(Path(folder), options.images)
        jobs = {
            name: through_the_pipeline(refs, engine, build_head(engine, LABELS))
            for name, engine in compared.items()
        }
        # open_clip has no pipeline: its rate on pixels is what there is to reach.
        seconds = in_turn({BASELINE: reference, **jobs}, options.rounds)
    print_table("files, end to end", len(refs), seconds)


if __name__ == "__main__":
    main()
