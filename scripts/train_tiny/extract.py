"""Pictures -> features of the locked backbone, each view once: training then needs no pixels."""

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from scripts.train_tiny import backbone
from scripts.train_tiny.arguments import parser
from scripts.train_tiny.pictures import Picture, pictures, table
from scripts.train_tiny.views import VIEWS, views


def main() -> None:
    """Runs the script."""
    options = parser(__doc__, "data", "work", "wheels")
    options.add_argument("sets", nargs="*", metavar="SET", help="only these sets")
    given = options.parse_args()
    session = open_session(given.wheels, given.work)
    rows = table()
    for name in given.sets or dict.fromkeys(row.set for row in rows):
        extract(
            name,
            pictures(given.data, [row for row in rows if row.set == name]),
            given.work,
            session,
        )


def open_session(wheels: Path, work: Path) -> onnxruntime.InferenceSession:
    """The backbone in ONNX Runtime, exported where it is not yet."""
    file = work / "backbone.onnx"
    if not file.exists():
        backbone.export(wheels, file)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def extract(
    name: str, found: list[Picture], work: Path, session: onnxruntime.InferenceSession
) -> None:
    """Writes `features/NAME.npz`: `sha256` (n,) and `features` (n, views, 1280), float16.

    What the file has already is not done again.
    """
    file = work / "features" / f"{name}.npz"
    done = load(file)
    todo = [picture for picture in found if picture.sha256 not in done]
    with ThreadPoolExecutor(1) as readers:
        for picture, pixels in zip(todo, reading(readers, todo), strict=True):
            if pixels is None:
                print(f"{picture.file}: not readable, left out", flush=True)
                continue
            (features,) = session.run(None, {"pixels": pixels})
            done[picture.sha256] = features.astype(np.float16)
            if len(done) % 500 == 0:
                save(file, done)
    save(file, done)
    print(f"{name}: {len(done)} pictures", flush=True)


def reading(
    readers: ThreadPoolExecutor, todo: list[Picture]
) -> Iterator[NDArray[np.float32] | None]:
    """Pixels of the pictures in order, a hundred pictures ahead at most."""
    for first in range(0, len(todo), 100):
        yield from readers.map(read, todo[first : first + 100])


def read(picture: Picture) -> NDArray[np.float32] | None:
    """Pixels (views, 3, 240, 240); nothing for a file that is no picture."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(picture.file) as opened:
            return backbone.to_pixels(views(opened, int(picture.sha256[:8], 16)))
    except (OSError, SyntaxError):
        return None


def load(file: Path) -> dict[str, NDArray[np.float16]]:
    """Features (views, 1280) by SHA-256; none where there is no file."""
    if not file.exists():
        return {}
    with np.load(file) as saved:
        return dict(zip(saved["sha256"].tolist(), saved["features"], strict=True))


def save(file: Path, done: dict[str, NDArray[np.float16]]) -> None:
    """Writes features by SHA-256; the file is always whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".new.npz")
    features = (
        np.stack(list(done.values()))
        if done
        else np.zeros((0, len(VIEWS), backbone.FEATURES), np.float16)
    )
    np.savez(beside, sha256=np.array(list(done), dtype="U64"), features=features)
    os.replace(beside, file)


if __name__ == "__main__":
    main()
