"""What `--fast-decode` saves on 12-megapixel photos, and how often it changes the best label.

    python -m benchmarks.fast_decode FOLDER [--work FOLDER] [--rounds 3] [--photos N]

FOLDER holds JPEG photos; smaller ones are enlarged to 12 megapixels, with a camera's noise, since
an enlarged photo alone would be smoother than any camera's. Labels are those of FOLDER's
`labels.tsv` (as `clipcli eval` reads it), else CIFAR-100's. Models: `tiny` and, with `--work`, a
seeded random ViT-B/32 of full size. Both ways run in turn in one thread; times are medians.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.text_matrix import prepared_model
from benchmarks.tiny_accuracy import TEMPLATE, read_folder
from clipcli.engines.base import Engine, EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.heads.labels import LabelSet, collect_labels
from clipcli.heads.zero_shot import build_head
from clipcli.images.decoding import decode
from clipcli.images.options import ImageOptions
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest

Float32 = NDArray[np.float32]

PIXELS = 12_000_000
# Of a value of 255; what a phone's sensor leaves by daylight.
NOISE = 3.0
QUALITY = 90
BATCH = 32
WAYS = {"whole": ImageOptions(), "fast": ImageOptions(fast_decode=True)}


@dataclass(frozen=True)
class Comparison:
    """One model's inputs of every photo, both ways, and the seconds they took."""

    name: str
    engine: Engine
    pixels: dict[str, list[Float32]] = field(default_factory=lambda: {way: [] for way in WAYS})
    seconds: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in WAYS})

    def add(self, data: bytes, rounds: int) -> None:
        """Decode a photo both ways in turn."""
        for turn in range(rounds):
            for way, options in WAYS.items():
                start = perf_counter()
                pixels = decode(data, self.engine.info.preprocess, options)
                self.seconds[way].append(perf_counter() - start)
                if turn == 0:
                    self.pixels[way].append(pixels)

    def row(self, labels: LabelSet) -> str:
        """A row of the table."""
        whole, fast = (median(self.seconds[way]) * 1000 for way in WAYS)
        std = np.asarray(self.engine.info.preprocess.std, np.float32)[:, None, None] * 255
        moved = np.mean([np.abs(a - b) * std for a, b in zip(*self.pixels.values(), strict=True)])
        embedded = {way: _embeddings(self.engine, pixels) for way, pixels in self.pixels.items()}
        cosines = (embedded["whole"] * embedded["fast"]).sum(axis=1)
        head = build_head(self.engine, labels)
        best = [head.similarities(rows).argmax(axis=1) for rows in embedded.values()]
        changed = int((best[0] != best[1]).sum())
        return (
            f"| {self.name} | {whole:.0f} | {fast:.0f} | {whole / fast:.1f} | {moved:.2f} | "
            f"{cosines.min():.4f} | {changed} of {len(cosines)} |"
        )


def _embeddings(engine: Engine, pixels: list[Float32]) -> Float32:
    batches = (pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH))
    return np.concatenate([engine.encode_images(np.stack(batch)) for batch in batches])


def large_photos(folder: Path, count: int | None) -> Iterator[bytes]:
    """JPEG files of 12 megapixels and more."""
    random = np.random.default_rng(0)
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    for file in files[:count]:
        with Image.open(file) as image:
            factor = (PIXELS / (image.width * image.height)) ** 0.5
            if factor <= 1:
                yield file.read_bytes()
                continue
            size = round(image.width * factor), round(image.height * factor)
            enlarged = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        noise = random.standard_normal((size[1], size[0], 1), np.float32) * NOISE
        noisy = (np.asarray(enlarged) + noise).round().clip(0, 255).astype(np.uint8)
        encoded = io.BytesIO()
        Image.fromarray(noisy).save(encoded, "JPEG", quality=QUALITY)
        yield encoded.getvalue()


def main() -> None:
    """Decode all photos, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, help="where the random ViT-B/32 is, or will be")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=int, help="so many of them at most")
    options = parser.parse_args()

    engine = EngineOptions(engine="onnx")
    models = [Comparison("tiny", load_engine(resolve_model(ModelRequest("tiny")), engine))]
    if options.work is not None:
        spec = prepared_model(options.work, "fp32")
        models.append(Comparison("ViT-B/32, random weights", load_engine(spec, engine)))
    has_labels = (options.folder / "labels.tsv").is_file()
    names = read_folder(options.folder).classes if has_labels else ()
    labels = LabelSet(tuple(names or collect_labels((), ("cifar100",))), (TEMPLATE,))

    for data in large_photos(options.folder, options.photos):
        for model in models:
            model.add(data, options.rounds)
    print("| model | whole, ms | fast, ms | times faster | values moved by, of 255 | ", end="")
    print(f"smallest cosine | best of {len(labels.names)} labels changed |")
    print("|---|---|---|---|---|---|---|")
    for model in models:
        print(model.row(labels))


if __name__ == "__main__":
    main()
