"""What many images cost: memory over a long run, and the rate beside the engine's own.

    python -m benchmarks.many [--photos FOLDER] [--work FOLDER] [--rounds 5] [--images 128]

Memory: the installed command over 500 and over 10,000 files (photos linked many times) with
`tiny`, the peak of each process. Rate: a seeded random ViT-B/32 of full size, prepared; its engine
on ready pixels and the whole way from JPEG files, in turn, with photos of several sizes. Ratios
are taken within each round, so that they hold while the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from benchmarks.bulk import BATCH, LABELS, in_batches, through_the_pipeline
from benchmarks.text_matrix import in_turn, prepared_model, ratio_to
from clipcli.engines.base import EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.heads.zero_shot import build_head
from clipcli.images.decoding import decode
from clipcli.images.options import ImageOptions
from clipcli.images.sources import ImageRef

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"
SIZES = ((500, 375), (640, 480), (1600, 1200), (4000, 3000))
DISTINCT = 16
ENGINE, FILES = "engine alone", "files, end to end"


def photos(folder: Path) -> Iterator[Image.Image]:
    """The photos in a folder, over and over."""
    files = sorted(file for file in folder.rglob("*") if file.suffix in (".jpg", ".png"))
    while True:
        for file in files:
            with Image.open(file) as image:
                yield image.convert("RGB")


def links(targets: list[Path], folder: Path, count: int) -> list[ImageRef]:
    """So many files of their own names, each a link to one of the targets."""
    folder.mkdir()
    refs = []
    for index in range(count):
        link = folder / f"{index:06}.jpg"
        link.symlink_to(targets[index % len(targets)])
        refs.append(ImageRef(index, link.name, link))
    return refs


def jpegs(source: Path, folder: Path, size: tuple[int, int], count: int) -> list[Path]:
    """So many photos of one size."""
    folder.mkdir()
    files = []
    for index, image in zip(range(count), photos(source), strict=False):
        file = folder / f"{index:03}.jpg"
        image.resize(size, Image.Resampling.BICUBIC).save(file, quality=90)
        files.append(file)
    return files


def peak_memory(refs: list[ImageRef], folder: Path) -> tuple[int, float]:
    """Kilobytes that one run of the command took at most, and its wall seconds."""
    names = folder / f"{len(refs)}.txt"
    names.write_text("".join(f"{folder / f'links-{len(refs)}' / ref.name}\n" for ref in refs))
    command = [str(Path(sys.executable).with_name("clipcli")), "--model", "tiny", "--jsonl"]
    labels = [word for label in LABELS.names for word in ("-l", label)]
    report = folder / "report.txt"
    # A process of its own between: its only child is the run, so the peak of children is the run's.
    watcher = (
        "import resource, subprocess, sys, time; start = time.perf_counter();"
        "subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL, check=True);"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss;"
        "open(sys.argv[1], 'w').write(f'{peak} {time.perf_counter() - start}')"
    )
    arguments = [*command, *labels, "--files-from", str(names)]
    subprocess.run([sys.executable, "-c", watcher, str(report), *arguments], check=True)
    peak, seconds = report.read_text().split()
    return int(peak), float(seconds)


def print_memory(source: Path, folder: Path) -> None:
    """The memory of a short and of a long run."""
    distinct = jpegs(source, folder / "distinct", (500, 375), 200)
    print("| images | peak memory | images/s, start included | of the short run's memory |")
    print("|---|---|---|---|")
    short = 0
    for count in (500, 10_000):
        peak, seconds = peak_memory(links(distinct, folder / f"links-{count}", count), folder)
        short = short or peak
        print(f"| {count} | {peak / 1000:.0f} MB | {count / seconds:.0f} | {peak / short:.3f} |")
    print(flush=True)


def print_rates(source: Path, folder: Path, options: argparse.Namespace) -> None:
    """The rate from files as a share of the engine's own, by the photos' size."""
    spec = prepared_model(options.work, "fp32")
    engine = load_engine(spec, EngineOptions(engine="onnx"))
    head = build_head(engine, LABELS)
    print("| photos | engine alone, images/s | from files, images/s | share |")
    print("|---|---|---|---|")
    for width, height in SIZES:
        name = f"{width}x{height}"
        files = jpegs(source, folder / name, (width, height), DISTINCT)
        refs = links(files, folder / f"links-{name}", options.images)
        ready = [
            decode(file.read_bytes(), engine.info.preprocess, ImageOptions()) for file in files
        ]
        pixels = np.resize(np.stack(ready), (options.images, *ready[0].shape))
        jobs = {
            ENGINE: in_batches(engine.encode_images, pixels),
            FILES: through_the_pipeline(refs, engine, head),
        }
        in_turn({ENGINE: in_batches(engine.encode_images, pixels[:BATCH])}, 1)  # warm
        seconds = in_turn(jobs, options.rounds)
        rates = [options.images / median(seconds[job]) for job in (ENGINE, FILES)]
        share = ratio_to(seconds[ENGINE], seconds[FILES])
        print(f"| {name} | {rates[0]:.1f} | {rates[1]:.1f} | {share:.3f} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--work", type=Path, default=Path("benchmark-work"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=128, help="in each run of the rate")
    parser.add_argument("--only", choices=("memory", "rate"))
    options = parser.parse_args()

    with TemporaryDirectory() as name:
        os.environ.setdefault("CLIPCLI_CACHE_DIR", str(options.work / "cache"))
        folder, source = Path(name), options.photos.resolve()
        if options.only != "rate":
            print_memory(source, folder)
        if options.only != "memory":
            print_rates(source, folder, options)


if __name__ == "__main__":
    main()
