"""The data sets on disk: which picture file shows what, in a fixed order."""

from collections.abc import Iterator
from pathlib import Path

from scripts.train_tiny.concepts import CIFAR10
from scripts.train_tiny.folders import DataFolder
from scripts.train_tiny.more_concepts import CALTECH101, CLOTHING

CALTECH101_LIMIT = 200
CLOTHING_LIMIT = 250


def base_training(data: DataFolder) -> Iterator[tuple[Path, int]]:
    """Yield the training pictures of Tiny ImageNet, then of CIFAR-10, with their labels.

    Labels count on through both sets: 0 to 199 in the order of `wnids.txt`, then ten more.
    """
    wnids = data.wnids()
    for label, wnid in enumerate(wnids):
        folder = data.tiny_imagenet / "train" / wnid
        if (folder / "images").is_dir():
            folder = folder / "images"
        for path in sorted(folder.glob("*.JPEG")):
            yield path, label
    yield from _cifar10(data.cifar10 / "train", len(wnids))


def base_validation(data: DataFolder) -> Iterator[tuple[Path, int]]:
    """Yield the held-out pictures of Tiny ImageNet, then of CIFAR-10, labelled like training's."""
    wnids = data.wnids()
    folder = data.tiny_imagenet / "val"
    for line in (folder / "val_annotations.txt").read_text().splitlines():
        name, wnid = line.split("\t")[:2]
        yield folder / "images" / name, wnids.index(wnid)
    yield from _cifar10(data.cifar10 / "test", len(wnids))


def caltech101(data: DataFolder) -> Iterator[tuple[Path, str]]:
    """Yield the first 200 pictures of each Caltech-101 category but the background's."""
    for category in _folders(data.caltech101):
        if category.name.startswith("BACKGROUND"):
            continue
        name = CALTECH101.get(category.name, category.name.replace("_", " "))
        for path in sorted(category.iterdir())[:CALTECH101_LIMIT]:
            yield path, name


def clothing(data: DataFolder) -> Iterator[tuple[Path, str]]:
    """Yield the first 250 pictures of each garment, with its name."""
    for garment in _folders(data.clothing):
        name = CLOTHING.get(garment.name, garment.name)
        for path in sorted(garment.iterdir())[:CLOTHING_LIMIT]:
            yield path, name


def cats_and_dogs(data: DataFolder) -> Iterator[tuple[Path, str]]:
    """Yield pictures of cats, then of dogs."""
    for name in ("cat", "dog"):
        for path in sorted((data.cats_dogs / f"{name}s").iterdir()):
            yield path, name


def _cifar10(folder: Path, first_label: int) -> Iterator[tuple[Path, int]]:
    for label, name in enumerate(CIFAR10, start=first_label):
        for path in sorted((folder / name).iterdir()):
            yield path, label


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir())
