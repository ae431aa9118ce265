"""How long one answer takes, from the start of the process to its end, beside other tools.

    python -m benchmarks.start [--work FOLDER] [--runs 5]

Builds a seeded random ViT-B/32 of full size, prepares it, and times whole processes in turn: one
photo, three labels. The table gives medians; ratios are taken within each round, so that they
hold while the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.random_model import ARCHITECTURE, random_checkpoint

ROOT = Path(__file__).parents[1]
PEERS = Path(__file__).parent / "peers"
PHOTO = ROOT / "examples" / "photos" / "chelsea.png"
LABELS = ("a photo of a cat", "a photo of a dog", "a photo of a mountain")
BASELINE = "open_clip script"


@dataclass
class Contender:
    """A command, and what its runs took.

    Attributes:
        command: with its arguments.
        environment: beside this process's own.
        fresh: a file that is deleted before each run.
        seconds: wall time of each run.
        megabytes: largest resident memory of each run.
    """

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    fresh: Path | None = None
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    def run(self, *, counted: bool = True) -> None:
        """Run the command once, to its end."""
        if self.fresh is not None:
            self.fresh.unlink(missing_ok=True)
        start = perf_counter()
        process = subprocess.Popen(
            self.command,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{self.command} ended with {process.returncode}")
        if counted:
            self.seconds.append(seconds)
            self.megabytes.append(usage.ru_maxrss / 1024)


def clipcli(*arguments: str) -> list[str]:
    """A command line of the clipcli beside this interpreter."""
    return [str(Path(sys.executable).with_name("clipcli")), *arguments]


def contenders(work: Path, checkpoint: Path) -> dict[str, Contender]:
    """Everything that is compared, by the name in the table."""
    labels = [part for label in LABELS for part in ("-l", label)]
    cache = {"CLIPCLI_CACHE_DIR": str(work / "cache")}
    model = ["--model", "ViT-B-32", "--checkpoint", str(checkpoint), "--quick-gelu"]
    classify = clipcli(str(PHOTO), *labels, *model)
    tiny = clipcli(str(PHOTO), *labels, "--model", "tiny")
    texts = work / "cache" / "texts.sqlite3"
    script = [sys.executable, str(PEERS / "open_clip_script.py"), ARCHITECTURE]
    found = {
        "clipcli, fp32": Contender(classify, cache),
        "clipcli, fp32, new labels": Contender([*classify, "--no-cache"], cache),
        "clipcli, int8": Contender([*classify, "--precision", "int8"], cache),
        "clipcli, tiny": Contender(tiny, cache),
        "clipcli --engine torch": Contender([*classify, "--engine", "torch"], cache),
        BASELINE: Contender([*script, str(checkpoint), str(PHOTO), *LABELS]),
    }
    if importlib.util.find_spec("transformers"):
        folder = work / "transformers"
        make = [sys.executable, str(PEERS / "make_transformers_folder.py"), str(folder)]
        subprocess.run(make, check=True)
        pipeline = [sys.executable, str(PEERS / "transformers_pipeline.py"), str(folder)]
        found["transformers pipeline"] = Contender([*pipeline, str(PHOTO), *LABELS])
    texts.unlink(missing_ok=True)
    return found


def prepare(work: Path, checkpoint: Path) -> None:
    """Pull the model in both precisions."""
    for precision in ("fp32", "int8"):
        command = clipcli("pull", "ViT-B-32", "--checkpoint", str(checkpoint), "--quick-gelu")
        environment = {**os.environ, "CLIPCLI_CACHE_DIR": str(work / "cache")}
        subprocess.run([*command, "--precision", precision], check=True, env=environment)


def print_table(found: dict[str, Contender]) -> None:
    """A Markdown table of medians, and of how many times faster than the baseline each is."""
    baseline = found[BASELINE].seconds
    print(f"| one photo, three labels | wall time | memory | times faster than the {BASELINE} |")
    print("|---|---|---|---|")
    for name, contender in found.items():
        ratio = median(b / a for a, b in zip(contender.seconds, baseline, strict=True))
        seconds, megabytes = median(contender.seconds), median(contender.megabytes)
        print(f"| {name} | {seconds:.2f} s | {megabytes:.0f} MB | {ratio:.1f} |")


def main() -> None:
    """Prepare, run in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("benchmark-work"))
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()

    checkpoint = random_checkpoint(options.work)
    prepare(options.work, checkpoint)
    found = contenders(options.work, checkpoint)
    for contender in found.values():
        contender.run(counted=False)
    for _ in range(options.runs):
        for contender in found.values():
            contender.run()
    print_table(found)


if __name__ == "__main__":
    main()
