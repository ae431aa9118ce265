"""What many images cost: memory over a long run, and the rate beside the engine's own.

    python -m benchmarks.many [--photos FOLDER] [--work FOLDER] [--rounds 5] [--images 128]
                              [--long 10000]

Memory: the installed command over 500 and over 10,000 files (photos linked many times) with
`tiny`, and over a mix in which 75 % of the files fail, each kind of failure as often; the peak of
each process. Rate: a seeded random ViT-B/32 of full size, prepared; its engine
on ready pixels and the whole way from JPEG files, in turn, with photos of several sizes. Ratios
are taken within each round, so that they hold while the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from statistics import median
from struct import pack
from tempfile import TemporaryDirectory
from zlib import compressobj, crc32

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
SHORT = 500
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


def failures(folder: Path, photos: list[Path]) -> list[Path]:
    """A file for each way to fail; some of them do not exist, or are no file."""
    folder.mkdir()
    whole = photos[0].read_bytes()
    with Image.open(photos[0]) as image:
        image.save(folder / "photo.png")
        image.save(folder / "photo.webp")
    png, webp = ((folder / f"photo.{kind}").read_bytes() for kind in ("png", "webp"))
    contents = {
        "cut.jpg": whole[: len(whole) * 95 // 100],
        "cut.png": png[: len(png) * 95 // 100],
        "cut.webp": webp[: len(webp) * 95 // 100],
        "noise.jpg": whole[:200] + np.random.default_rng(0).bytes(1_000_000),
        "page.jpg": b"<!doctype html><html>" + bytes(5_000_000),
        "bytes.jpg": bytes(20_000_000),
        "empty.jpg": b"",
        "thin.png": thin_png(199_999_999),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "folder.jpg").mkdir()
    return [folder / name for name in (*contents, "folder.jpg", "missing.jpg")]


def thin_png(height: int) -> bytes:
    """A white PNG one pixel wide, whole: a third of a megabyte."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return pack(">I", len(body)) + kind + body + pack(">I", crc32(kind + body))

    header = pack(">IIBBBBB", 1, height, 1, 0, 0, 0, 0)  # 1 bit a pixel: two bytes a row
    packer, rows = compressobj(9), b"\0\xff" * 1_000_000
    pixels = b"".join(packer.compress(rows) for _ in range(height // 1_000_000))
    pixels += packer.compress(rows[: 2 * (height % 1_000_000)]) + packer.flush()
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def mixed(good: list[Path], bad: list[Path]) -> list[Path]:
    """Files of which three in four fail."""
    ways = cycle(bad)
    return [one for file in 3 * good for one in (file, next(ways), next(ways), next(ways))]


def peak_memory(refs: list[ImageRef], folder: Path) -> tuple[int, float]:
    """Kilobytes that one run of the command took at most, and its wall seconds."""
    names = folder / "names.txt"
    names.write_text("".join(str(ref.source) + "\n" for ref in refs))
    command = [str(Path(sys.executable).with_name("clipcli")), "--model", "tiny", "--jsonl"]
    labels = [word for label in LABELS.names for word in ("-l", label)]
    report = folder / "report.txt"
    # A process of its own between: its only child is the run, so the peak of children is the run's.
    watcher = (
        "import resource, subprocess, sys, time; start = time.perf_counter();"
        "run = subprocess.run(sys.argv[2:], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL);"
        "assert run.returncode in (0, 3), run.returncode; lines = run.stdout.count(b'\\n');"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss;"
        "open(sys.argv[1], 'w').write(f'{lines} {peak} {time.perf_counter() - start}')"
    )
    arguments = [*command, *labels, "--files-from", str(names)]
    subprocess.run([sys.executable, "-c", watcher, str(report), *arguments], check=True)
    lines, peak, seconds = report.read_text().split()
    assert int(lines) == len(refs), "one record an input"
    return int(peak), float(seconds)


def print_memory(source: Path, folder: Path, long: int) -> None:
    """The memory of a short and of a long run, of photos and of a mix that mostly fails."""
    distinct = jpegs(source, folder / "distinct", (500, 375), 200)
    mix = mixed(distinct, failures(folder / "failures", distinct))
    print("| images | peak memory | images/s, start included | of the short run's memory |")
    print("|---|---|---|---|")
    short = 0
    for name, targets, count in (
        ("photos", distinct, SHORT),
        ("photos", distinct, long),
        ("75 % failures", mix, SHORT),
        ("75 % failures", mix, long),
    ):
        refs = links(targets, folder / f"links-{len(targets)}-{count}", count)
        peak, seconds = peak_memory(refs, folder)
        short = short or peak
        rate, share = count / seconds, peak / short
        row = f"| {count:,} {name} | {peak / 1000:.0f} MB | {rate:.0f} | {share:.3f} |"
        print(row, flush=True)
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
    parser.add_argument("--long", type=int, default=10_000, help="images in the long run")
    parser.add_argument("--only", choices=("memory", "rate"))
    options = parser.parse_args()

    with TemporaryDirectory() as name:
        os.environ.setdefault("CLIPCLI_CACHE_DIR", str(options.work / "cache"))
        folder, source = Path(name), options.photos.resolve()
        if options.only != "rate":
            print_memory(source, folder, options.long)
        if options.only != "memory":
            print_rates(source, folder, options)


if __name__ == "__main__":
    main()
