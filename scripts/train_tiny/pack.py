"""Pack Tiny ImageNet and CIFAR-10 into arrays of 64 by 64 pixels, for training and validation."""

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from scripts.train_tiny import arguments, datasets
from scripts.train_tiny.folders import DataFolder, WorkFolder
from scripts.train_tiny.pictures import SIDE, Pictures, read_small

WORKERS = 2
FILES_A_TASK = 500


def pack(labelled: Iterable[tuple[Path, int]]) -> Pictures:
    """Read pictures in parallel and lay them out in one array, in their own order.

    Args:
        labelled: Picture files and their labels.
    """
    paths, labels = zip(*labelled, strict=True)
    # Filled row by row: stacking a list would hold the 1.8 GB of the training pictures twice.
    images = np.empty((len(paths), SIDE, SIDE, 3), np.uint8)
    with ProcessPoolExecutor(WORKERS) as executor:
        for row, image in enumerate(executor.map(read_small, paths, chunksize=FILES_A_TASK)):
            images[row] = image
    return Pictures(images, np.array(labels))


def main() -> None:
    """Run the script."""
    options = arguments.packing(__doc__).parse_args()
    data, work = DataFolder(options.data), WorkFolder(options.work)
    work.create()
    for name, labelled in (
        ("base", datasets.base_training(data)),
        ("validation", datasets.base_validation(data)),
    ):
        pictures = pack(labelled)
        pictures.save(work.root, name)
        print(f"{name}: {len(pictures)} pictures")


if __name__ == "__main__":
    main()
