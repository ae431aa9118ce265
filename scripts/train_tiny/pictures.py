"""Pictures as arrays: 64 by 64 pixels, RGB, eight bits a channel."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 64


@dataclass(frozen=True)
class Pictures:
    """Pictures and what they show.

    Attributes:
        images: Shape (n, 64, 64, 3), uint8, RGB.
        labels: Shape (n,), int64: each picture's class.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def save(self, folder: Path, name: str) -> None:
        """Write both arrays into `folder` as NAME_images.npy and NAME_labels.npy."""
        np.save(folder / f"{name}_images.npy", self.images)
        np.save(folder / f"{name}_labels.npy", self.labels)

    @classmethod
    def load(cls, folder: Path, name: str, *, mapped: bool = False) -> Self:
        """Read what `save` wrote.

        Args:
            folder: Where the arrays lie.
            name: The name they were saved under.
            mapped: Leave the images on disk and read the parts that are asked for.
        """
        images = np.load(folder / f"{name}_images.npy", mmap_mode="r" if mapped else None)
        return cls(images, np.load(folder / f"{name}_labels.npy"))


def squashed(image: Image.Image) -> NDArray[np.uint8]:
    """Return the whole image, resized to 64 by 64 whatever its proportions."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def centre_crop(image: Image.Image) -> NDArray[np.uint8]:
    """Return the middle 64 by 64 pixels of the image, its shorter side resized to 64."""
    scale = SIDE / min(image.size)
    width, height = (max(SIDE, round(length * scale)) for length in image.size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    return np.asarray(resized.crop((left, top, left + SIDE, top + SIDE)))


def read_small(path: Path) -> NDArray[np.uint8]:
    """Read a picture of about 64 by 64 pixels, squashed where it is not exactly that."""
    with Image.open(path) as image:
        return squashed(image.convert("RGB"))


def read_views(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read a picture of any size, twice: its centre crop, and squashed.

    Raises:
        OSError: If it cannot be read as an image.
    """
    with Image.open(path) as image:
        # A JPEG may be decoded at a fraction of its size, as long as 128 pixels stay.
        image.draft("RGB", (2 * SIDE, 2 * SIDE))
        colours = image.convert("RGB")
    return centre_crop(colours), squashed(colours)
