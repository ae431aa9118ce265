"""Ten thousand files moved by `clipcli`, killed again and again, and all of them found and undone.

    python -m benchmarks.sorting [--count 10000] [--kills 20] [--work FOLDER] [--to FOLDER]

Scores come from a file of random embeddings, so that nearly all of the time is the sorting's. Each
run is killed with SIGKILL at a random moment; `--to` on another disk has every file copied.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from clipcli.embeddings.description import Description
from clipcli.embeddings.files import create_embeddings, open_embeddings
from clipcli.images.sources import ImageRef

PHOTO = Path(__file__).parents[1] / "examples" / "photos" / "rocket.jpg"
LABELS = ("cat", "dog", "rocket", "cup of coffee")
ODD = ("two\nlines.jpg", "x" * 251 + ".jpg", "same.jpg", "Same.jpg")


def main() -> None:
    """Make the files, move and kill, count, undo, and count again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--to", type=Path)
    given = parser.parse_args()
    given.work.mkdir(parents=True)
    to: Path = given.to or given.work / "sorted"
    files = make_files(given.work / "in", given.count)
    stored = embed(given.work, files)
    before = hashes(given.work / "in")

    command = [sys.executable, "-m", "clipcli", "--embeddings", str(stored), "--move-to", str(to)]
    command += [word for label in LABELS for word in ("-l", label)]
    seconds = once(command, None)
    print(f"whole run: {seconds:.1f} s, {given.count / seconds:,.0f} files/s")
    check(before, hashes(to), "moved")
    print(f"undone in {undo(to):.1f} s")
    check(before, hashes(given.work / "in"), "undone")

    # Most of a run is its start: kills come after it.
    start = min(once([*command, "--dry-run", "--top-k", "1"], None), seconds)
    killed = 0
    while killed < given.kills:
        moment = random.uniform(0.2 * start, 0.2 * start + seconds / 4)
        if once(command, moment) >= moment:
            killed += 1
        inodes = {path.stat().st_ino for path in pictures(given.work / "in", to)}
        assert to.stat().st_dev != given.work.stat().st_dev or len(inodes) == given.count
        if not any((given.work / "in").rglob("*.jpg")):
            print(f"all moved after {killed} kills: undone and begun again")
            undo(to)
    once(command, None)
    check(before, hashes(to), f"moved in spite of {killed} kills")
    assert not any(pictures(given.work / "in"))
    print(f"{len([*to.glob('journal-*')])} journals; undone in {undo(to):.1f} s")
    check(before, hashes(given.work / "in"), "undone")
    assert not any(pictures(to))


def make_files(folder: Path, count: int) -> list[Path]:
    """Small files, some with names that are hard, in folders of a hundred."""
    data = PHOTO.read_bytes()[:2000]
    files = []
    for number in range(count):
        odd = ODD[number % 400] if number % 400 < len(ODD) else f"{number}.jpg"
        path = folder / f"{number // 100}" / odd
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data + str(number).encode())
        files.append(path)
    return files


def embed(work: Path, files: list[Path]) -> Path:
    """A file of random embeddings of the bundled model, named as the files are."""
    first = work / "one.npz"
    command = [sys.executable, "-m", "clipcli", "embed", str(PHOTO), "--model", "tiny"]
    subprocess.run([*command, "-o", str(first)], check=True)
    description: Description = open_embeddings(first).description
    rows = np.random.default_rng(0).normal(size=(len(files), description.embed_dim))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    stored = work / "all.npz"
    with create_embeddings(stored, description) as writer:
        refs = [ImageRef(place, str(path), b"") for place, path in enumerate(files)]
        writer.write(refs, rows.astype(np.float32))
        writer.finish()
    return stored


def once(command: list[str], moment: float | None) -> float:
    """Run a command, killed at a moment; the seconds that it took."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return time.perf_counter() - start


def undo(to: Path) -> float:
    """Undo all runs into a folder, and forget their journals."""
    start = time.perf_counter()
    journals = sorted(to.glob("journal-*"), key=lambda file: int(file.stem[8:]), reverse=True)
    for journal in journals:
        subprocess.run([sys.executable, "-m", "clipcli", "undo", str(journal), "-q"], check=True)
        journal.unlink()
    return time.perf_counter() - start


def pictures(*folders: Path) -> list[Path]:
    """Every picture below some folders."""
    return [path for folder in folders for path in folder.rglob("*.jpg")]


def hashes(folder: Path) -> list[tuple[str, int]]:
    """What there is in a folder, whatever it is called: contents and times."""
    found = []
    for path in pictures(folder):
        status = os.stat(path)
        found.append((hashlib.sha256(path.read_bytes()).hexdigest(), status.st_mtime_ns))
    return sorted(found)


def check(before: list[tuple[str, int]], after: list[tuple[str, int]], what: str) -> None:
    """See that all is there, once and whole."""
    assert before == after, f"{len(before)} files before, {len(after)} {what}"
    print(f"{len(after):,} files {what}, each once and whole")


if __name__ == "__main__":
    main()
