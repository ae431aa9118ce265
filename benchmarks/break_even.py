"""For how many images torch on a GPU makes up for its start: `FEW_IMAGES` in engines/choice.py.

    python -m benchmarks.break_even [--work FOLDER] [--rounds 5] [--images 1024] [--device cuda]

Times whole processes in turn, with one photo and with many, prepared and in torch; what one more
image costs is the difference, and the break-even is where both take as long. Without a GPU it says
so, and what the README's figures give; `--device cpu` tries it out all the same.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from statistics import median

from benchmarks.random_model import random_checkpoint
from benchmarks.start import LABELS, PHOTO, Contender, clipcli, prepare
from clipcli.engines.choice import FEW_IMAGES
from clipcli.engines.hardware import cuda_available, cuda_trouble

PREPARED = "prepared"


def contenders(work: Path, checkpoint: Path, device: str, images: int) -> dict[str, Contender]:
    """A command for one photo and one for many, by engine and number."""
    cache = {"CLIPCLI_CACHE_DIR": str(work / "cache")}
    labels = [part for label in LABELS for part in ("-l", label)]
    model = ["--model", "ViT-B-32", "--checkpoint", str(checkpoint), "--quick-gelu"]
    engines = {PREPARED: ["--engine", "onnx"], "torch": ["--engine", "torch", "--device", device]}
    found = {}
    for count in (1, images):
        names = work / f"{count}-photos.txt"
        names.write_text(f"{PHOTO}\n" * count)
        for name, engine in engines.items():
            command = clipcli("--files-from", str(names), *labels, *model, *engine, "--quiet")
            found[f"{name}, {count}"] = Contender(command, cache)
    return found


def break_even(seconds: dict[str, float], images: int) -> float | None:
    """The number of images for which both take as long; None where torch never catches up.

    Args:
        seconds: of each contender.
        images: how many the larger runs had.
    """
    one = {name: seconds[f"{name}, 1"] for name in (PREPARED, "torch")}
    each = {name: (seconds[f"{name}, {images}"] - one[name]) / (images - 1) for name in one}
    gain = each[PREPARED] - each["torch"]
    return 1 + (one["torch"] - one[PREPARED]) / gain if gain > 0 else None


def main() -> None:
    """Prepare, run in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("benchmark-work"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not cuda_available():
        print(f"no GPU to be measured here ({cuda_trouble() or 'there is no CUDA device'});")
        print(f"by the README's figures the break-even is {FEW_IMAGES} images")
        return

    options.work.mkdir(parents=True, exist_ok=True)
    checkpoint = random_checkpoint(options.work)
    prepare(options.work, checkpoint)
    found = contenders(options.work, checkpoint, options.device, options.images)
    for contender in found.values():
        contender.run(counted=False)
    for _ in range(options.rounds):
        for contender in found.values():
            contender.run()
    seconds = {name: median(contender.seconds) for name, contender in found.items()}
    print(f"on {options.device} and {os.cpu_count()} processors, medians of {options.rounds} runs:")
    for name, median_seconds in seconds.items():
        print(f"{median_seconds:8.2f} s  {name} image(s)")
    number = break_even(seconds, options.images)
    told = "none: torch does not catch up" if number is None else f"{number:.0f} images"
    print(f"break-even: {told} (FEW_IMAGES is {FEW_IMAGES})")


if __name__ == "__main__":
    main()
