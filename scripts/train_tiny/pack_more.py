"""Pack Caltech-101, clothing-dataset-small and a cats-and-dogs set, each picture in two views."""

import json
import sys
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.train_tiny import arguments, datasets
from scripts.train_tiny.folders import DataFolder, WorkFolder
from scripts.train_tiny.more_concepts import names_of
from scripts.train_tiny.pictures import Pictures, read_views


def pack(named: list[tuple[Path, str]], names: list[str]) -> Pictures:
    """Read each picture's two views, one after the other; pass over files that cannot be read.

    Args:
        named: Picture files and the names of what they show.
        names: Every name once; a picture's label is its name's place.
    """
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for path, name in named:
        try:
            views = read_views(path)
        # Pillow raises the latter two for some broken files.
        except (OSError, SyntaxError, ValueError) as error:
            print(f"passed over {path}: {error}", file=sys.stderr)
            continue
        images += views
        labels += [names.index(name)] * len(views)
    return Pictures(np.stack(images), np.array(labels))


def main() -> None:
    """Run the script."""
    options = arguments.packing(__doc__).parse_args()
    data, work = DataFolder(options.data), WorkFolder(options.work)
    work.create()
    named = list(
        chain(datasets.caltech101(data), datasets.clothing(data), datasets.cats_and_dogs(data))
    )
    names = sorted({name for _, name in named})
    pictures = pack(named, names)
    pictures.save(work.root, "more")
    work.more_classes.write_text(json.dumps([names_of(name) for name in names]))
    print(f"more: {len(pictures)} views, {len(names)} classes")


if __name__ == "__main__":
    main()
