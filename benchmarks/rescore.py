"""What scoring a file of embeddings costs: a million rows against a hundred labels.

    python -m benchmarks.rescore [--rows 1000000] [--width 512] [--labels 100] [--work FOLDER]

Rows and labels are random and of length 1. Times are of one process, once through all rows for each
line: whole (as `clipcli classify --embeddings FILE.npz -o FILE.tsv` does it), then stage by stage:
read (rows and names, checksums compared), product (cosines), pick (softmax, the best label), write
(TSV into a file). Memory is the most that the process holds of its own, mapped files apart. At the
end a sample of the rows is scored in the plain way, each cosine by itself in double precision, and
compared.
"""

from __future__ import annotations

import argparse
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command does

import numpy as np

from clipcli.arrays import Float32
from clipcli.embeddings.base import EmbeddingsFile
from clipcli.embeddings.description import Description
from clipcli.embeddings.files import create_embeddings, open_embeddings
from clipcli.embeddings.rows import Block
from clipcli.heads.results import ScoreOptions
from clipcli.heads.zero_shot import ZeroShotHead, normalise, softmax
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.images.sources import ImageRef
from clipcli.outputs.blocks import write_results
from clipcli.outputs.writers import OutputOptions, TsvWriter
from clipcli.runs.options import PipelineOptions
from clipcli.runs.rescore import EMBEDDINGS_AT_ONCE, rescore

CONFIG = PreprocessConfig((224, 224), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
BEST = ScoreOptions(top_k=1)
Value = TypeVar("Value")
STAGES = ("read", "product", "pick", "write")
SAMPLE = 2000


def made_rows(count: int, width: int, labels: Float32) -> Iterator[Float32]:
    """Random unit rows, a thousand at a time, each leaning to one of the labels."""
    rng = np.random.default_rng(1)
    for start in range(0, count, 1000):
        size = min(1000, count - start)
        noise = rng.standard_normal((size, width), np.float32) / width**0.5
        yield normalise(noise + 0.2 * labels[rng.integers(len(labels), size=size)])


def made_file(path: Path, count: int, labels: Float32) -> EmbeddingsFile:
    """A file of so many rows."""
    width = labels.shape[1]
    with create_embeddings(path, Description("tiny", "0" * 32, width, "random")) as writer:
        start = 0
        for rows in made_rows(count, width, labels):
            places = range(start, start + len(rows))
            writer.write([ImageRef(i, f"photos/{i:08}.jpg", b"") for i in places], rows)
            start += len(rows)
        writer.finish()
    return open_embeddings(path)


class Clock:
    """Seconds of each stage, of the wall and of the processors."""

    def __init__(self) -> None:
        self.spent: dict[str, tuple[float, float]] = {}

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Add what is done within to a stage."""
        wall, processor = time.perf_counter(), time.process_time()
        yield
        before = self.spent.get(stage, (0.0, 0.0))
        now = time.perf_counter() - wall, time.process_time() - processor
        self.spent[stage] = (before[0] + now[0], before[1] + now[1])

    def each(self, stage: str, values: Iterable[Value]) -> Iterator[Value]:
        """The same values; the time that each takes to come is the stage's."""
        rest = iter(values)
        while True:
            with self.timing(stage):
                value = next(rest, None)
            if value is None:
                return
            yield value


@contextmanager
def most_memory() -> Iterator[list[int]]:
    """The most memory of its own that the process holds within, in bytes, by looking often."""
    most, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            status = Path("/proc/self/status").read_text(encoding="ascii")
            found = re.search(r"RssAnon:\s+(\d+) kB", status)
            most[0] = max(most[0], 1024 * int(found[1]) if found else 0)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()


def whole(file: EmbeddingsFile, head: ZeroShotHead, target: Path, how: OutputOptions) -> None:
    """All stages, as the command runs them."""
    with target.open("w", encoding="utf-8") as stream:
        writer = TsvWriter(stream, how)
        for block in rescore(file, head, CONFIG, PipelineOptions(scores=BEST)):
            write_results(writer, block)


def in_stages(
    file: EmbeddingsFile, head: ZeroShotHead, target: Path, how: OutputOptions, clock: Clock
) -> None:
    """The same, one stage after the other."""
    with target.open("w", encoding="utf-8") as stream:
        writer = TsvWriter(stream, how)
        for block in clock.each("read", file.blocks(EMBEDDINGS_AT_ONCE)):
            with clock.timing("product"):
                cosines = head.similarities(rows_of(block))
            with clock.timing("pick"):
                scored = head.pick(block.refs, cosines, cosines, BEST)
            with clock.timing("write"):
                write_results(writer, scored)


def rows_of(block: Block) -> Float32:
    """The rows of a block of a file, which has no failures."""
    assert block.embeddings is not None
    return block.embeddings


def furthest_off(file: EmbeddingsFile, head: ZeroShotHead) -> tuple[int, float]:
    """How many labels of a sample differ from plain double precision's, and how far it is off."""
    wrong, furthest, step = 0, 0.0, max(1, len(file) // SAMPLE // EMBEDDINGS_AT_ONCE)
    for number, block in enumerate(file.blocks(EMBEDDINGS_AT_ONCE)):
        if number % step:
            continue
        rows, texts = rows_of(block).astype(np.float64), head.embeddings.astype(np.float64)
        cosines = np.einsum("nd,ld->nl", rows, texts)
        shares = softmax(head.logit_scale * cosines + head.logit_bias)
        scored = head.score(block.refs, rows_of(block), BEST)
        best = cosines.argmax(axis=1)[:, None]
        wrong += int(np.count_nonzero(scored.places != best))
        off = np.abs(scored.probabilities - np.take_along_axis(shares, best, axis=1))
        furthest = max(furthest, float(off.max()))
    return wrong, furthest


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--work", type=Path, help="where the file of rows is made for a while")
    given = parser.parse_args()
    noise = np.random.default_rng(0).standard_normal((given.labels, given.width), np.float32)
    labels = normalise(noise)
    names = tuple(f"label {place}" for place in range(given.labels))
    head = ZeroShotHead(names, labels, 100.0, 0.0, "softmax")
    how = OutputOptions(names, "tiny", "0" * 32, given.width)
    clock = Clock()
    with TemporaryDirectory(dir=given.work) as folder:
        file = made_file(Path(folder, "rows.npz"), given.rows, labels)
        with most_memory() as most, clock.timing("whole"):
            whole(file, head, Path(folder, "whole.tsv"), how)
        in_stages(file, head, Path(folder, "stages.tsv"), how, clock)
        assert Path(folder, "whole.tsv").read_bytes() == Path(folder, "stages.tsv").read_bytes()
        wrong, furthest = furthest_off(file, head)
    print(f"{given.rows:,} rows of {given.width}, {given.labels} labels, top 1, TSV")
    print(f"{'':<8}{'seconds':>9}{'processor':>11}")
    for stage in ("whole", *STAGES):
        wall, processor = clock.spent[stage]
        print(f"{stage:<8}{wall:>9.2f}{processor:>11.2f}")
    print(f"memory of its own, at most: {most[0] / 1e6:.0f} MB")
    print(
        f"other labels than plain double precision's: {wrong}; probabilities off by {furthest:.1e}"
    )


if __name__ == "__main__":
    main()
