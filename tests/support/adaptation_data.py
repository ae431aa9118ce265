"""Material to adapt to: embeddings that a test can foresee, and pictures that are quickly made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from clipcli.adaptation.folds import alike_groups, stratified_folds
from clipcli.adaptation.material import Material
from clipcli.adaptation.probe import Scale
from clipcli.heads.labels import LabelSet
from clipcli.images.sources import ImageRef

WIDTH = 32


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, in single precision."""
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def made_material(
    counts: list[int],
    *,
    scale: Scale | None = None,
    apart: float = 3.0,
    spread: float = 2.0,
    seed: int = 0,
) -> Material:
    """Pictures around centres that lie beside the labels' texts.

    Args:
        counts: pictures of each class.
        scale: of the model.
        apart: how far the centres are from the texts; at 0 zero-shot is the best there is.
        spread: how far the pictures are from their centres.
        seed: of what is drawn.
    """
    random = np.random.default_rng(seed)
    texts = unit(random.normal(size=(len(counts), WIDTH)))
    centres = texts + apart * unit(random.normal(size=texts.shape))
    truth = np.repeat(np.arange(len(counts)), counts)
    noise = spread * random.normal(size=(len(truth), WIDTH)) / np.sqrt(WIDTH)
    pictures = unit(centres[truth] + noise)
    names = tuple(f"label {place}" for place in range(len(counts)))
    refs = [ImageRef(place, f"{place}.png", Path(f"{place}.png")) for place in range(len(truth))]
    folds = stratified_folds(truth, alike_groups(pictures, truth), seed)
    sha256 = [f"{place:064x}" for place in range(len(truth))]
    return Material(
        LabelSet(names), texts, scale or Scale(20.0), refs, sha256, truth, pictures, folds
    )


def pattern_folders(folder: Path, count: int, *, names: str = "alpha beta gamma") -> Path:
    """Class folders of striped, checked and speckled pictures, which no label says they are."""
    for place, name in enumerate(names.split()):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(_pattern(place, number)).save(folder / name / f"{number}.png")
    return folder


def _pattern(kind: int, number: int) -> np.ndarray:
    random = np.random.default_rng([kind, number])
    rows, columns = np.mgrid[:64, :64] + random.integers(0, 16, 2)[:, None, None]
    size = 8 + int(random.integers(0, 4))
    bright = [rows // size % 2, (rows // size + columns // size) % 2, random.random((64, 64)) > 0.5]
    colours = random.integers(0, 256, (2, 3)).astype(np.uint8)
    return colours[bright[kind].astype(int)]
