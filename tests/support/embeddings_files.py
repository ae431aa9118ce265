"""Files of embeddings, small ones, and what is read back of them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipcli.embeddings.base import EmbeddingsFile
from clipcli.embeddings.description import Description
from clipcli.embeddings.files import create_embeddings, open_embeddings
from clipcli.errors import UsageError
from clipcli.images.sources import ImageRef

DESCRIPTION = Description("tiny", "0" * 32, 4, "fake on paper")
NAMES = [
    "cat.jpg",
    "two\nlines",
    "caf\u00e9.png",
    os.fsdecode(b"\xff\xfe.png"),
    "",
    "a\0b",
    "cat.jpg",
]
EXTENSIONS = [".npz", ".parquet"]


def images(names: list[str]) -> list[ImageRef]:
    """With gaps in their order, as failures leave them."""
    return [ImageRef(3 * place + 1, name, b"") for place, name in enumerate(names)]


def unit(count: int, width: int = 4) -> np.ndarray:
    rows = np.random.default_rng(count).normal(size=(count, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write(path: Path, names: list[str], rows: np.ndarray, at_once: int = 100) -> Path:
    refs = images(names)
    with create_embeddings(path, replace(DESCRIPTION, embed_dim=rows.shape[1])) as writer:
        for start in range(0, len(refs), at_once):
            part = slice(start, start + at_once)
            writer.write(refs[part], rows[part])
        writer.finish()
    return path


def read(file: EmbeddingsFile, at_once: int = 100) -> tuple[list[ImageRef], np.ndarray]:
    refs: list[ImageRef] = []
    rows = [np.empty((0, file.description.embed_dim), np.float32)]
    for block in file.blocks(at_once):
        assert len(block.refs) == len(block.embeddings) <= at_once
        refs += block.refs
        rows.append(block.embeddings)
    return refs, np.concatenate(rows)


def refused(path: Path) -> str:
    """The message of a file that cannot be read to its end."""
    with pytest.raises(UsageError) as caught:
        read(open_embeddings(path))
    return str(caught.value)
