"""How well texts find pictures: precision of the first hits for each class's name.

    python -m benchmarks.search_precision FOLDER [--model tiny] [--each 10] [-t 'a photo of a {}.']

FOLDER has a folder of pictures for each class, named like it. The first pictures of each class are
embedded, then each class's name is searched for: the share of right ones among the first 1 and 5,
or, where each class has one picture, the share of names whose picture is among them. The same is
computed in plain NumPy, with a full sort, and has to agree.
"""

from __future__ import annotations

import argparse
from itertools import groupby
from pathlib import Path

import numpy as np

from clipcli import Classifier
from clipcli.embeddings.rows import Block
from clipcli.embeddings.search import SearchOptions, search
from clipcli.images.sources import ImageRef

FIRST = (1, 5)


def pictures(folder: Path, each: int) -> list[tuple[str, Path]]:
    """Class and file of the first pictures of each class; files that lie bare are a class each."""
    found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".png"))
    named = [(file.stem if file.parent == folder else file.parent.name, file) for file in found]
    groups = [list(group)[:each] for _, group in groupby(named, key=lambda pair: pair[0])]
    return [pair for group in groups for pair in group]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--each", type=int, default=10)
    parser.add_argument("-t", "--template", default="a photo of a {}.")
    given = parser.parse_args()
    pairs = pictures(given.folder, given.each)
    classes = sorted({name for name, _ in pairs})
    classifier = Classifier(given.model)
    rows = classifier.encode_images([file for _, file in pairs])
    words = [name.replace("_", " ") for name in classes]
    texts = classifier.encode_texts(words, templates=given.template)
    refs = [ImageRef(place, name, b"") for place, (name, _) in enumerate(pairs)]
    right = np.zeros((len(classes), max(FIRST)))
    by_hand = np.zeros_like(right)
    cosines = texts.astype(np.float64) @ rows.astype(np.float64).T
    for place, name in enumerate(classes):
        options = SearchOptions(max(FIRST))
        hits = search([("", iter([Block(refs, rows)]))], texts[place : place + 1], options)
        right[place] = [hit.name == name for hit in hits]
        order = np.argsort(-cosines[place], kind="stable")[: max(FIRST)]
        by_hand[place] = [pairs[image][0] == name for image in order]
    is_single = len(pairs) == len(classes)
    print(f"{len(pairs):,} pictures of {len(classes)} classes, {given.model}, {given.template}")
    for count in FIRST:
        figures = [
            found[:, :count].any(axis=1).mean() if is_single else found[:, :count].mean()
            for found in (right, by_hand)
        ]
        what = "found among the first" if is_single else "precision at"
        print(f"{what} {count}: {figures[0]:.4f} (NumPy by hand: {figures[1]:.4f})")


if __name__ == "__main__":
    main()
