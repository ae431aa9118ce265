"""Every family of architectures in every engine and precision, beside open_clip itself.

    python -m benchmarks.sweep [NAME ...]

The table gives, against open_clip's own code in fp32, the largest difference of an image-text
cosine in fp32, and for the rest the least cosine of an embedding and its own in fp32. The first
column is how far open_clip's own fp32 is from its own fp64: its rounding, in the same measure. fp16
is for GPUs; what a processor can do of it takes the same path. Text towers of transformers are
listed where that is installed.
"""

from __future__ import annotations

import argparse
import copy
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import torch
from torch import nn

from benchmarks.families import (
    FAMILIES,
    PROMPTS,
    Family,
    Float32,
    can_build,
    images_of,
    tokens_of,
    write_family,
)
from clipcli.engines.base import EngineOptions, Precision
from clipcli.engines.choice import load_engine
from clipcli.engines.onnx import OnnxEngine
from clipcli.engines.prompts import encode_prompts
from clipcli.engines.torch.export import Preparation, prepare
from clipcli.errors import ClipcliError
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest, ModelSpec

if TYPE_CHECKING:
    from clipcli.engines.base import Engine

MOST_DIFFERENCE = 5e-7
"""Of an image-text cosine in fp32, and open_clip's."""
LEAST_COSINE = 0.998
"""Of an embedding in half precision, and open_clip's in fp32."""


@dataclass(frozen=True)
class Embedded:
    """Unit embeddings of the same images and texts: shapes (n, embed_dim)."""

    images: Float32
    texts: Float32

    def difference(self, other: Embedded) -> float:
        """The largest of an image-text cosine."""
        cosines = self.images @ self.texts.T, other.images @ other.texts.T
        return float(np.abs(cosines[0] - cosines[1]).max())

    def least_cosine(self, other: Embedded) -> float:
        """Of an embedding and its own in the other."""
        images = (self.images * other.images).sum(1)
        return float(min(images.min(), (self.texts * other.texts).sum(1).min()))


def reference_of(
    model: Any,  # noqa: ANN401
    family: Family,
    dtype: torch.dtype = torch.float32,
) -> Embedded:
    """What open_clip's own code makes of the images and the texts."""
    with torch.inference_mode():
        images = _pooled(model.encode_image(torch.from_numpy(images_of(model)).to(dtype)))
        texts = _pooled(model.encode_text(torch.from_numpy(tokens_of(family))))
    return Embedded(images, texts)


def _pooled(features: Any) -> Float32:  # noqa: ANN401
    # Where a tower gives out its tokens, too, the embedding comes first.
    features = features[0] if isinstance(features, tuple) else features
    unit: Float32 = nn.functional.normalize(features, dim=-1).numpy()
    return unit


def embedded_by(engine: Engine, model: nn.Module, family: Family) -> Embedded:
    """What an engine makes of them; its texts cut where it may."""
    if family.foreign is None:
        texts = encode_prompts(engine, list(PROMPTS))
    else:
        texts = engine.encode_tokens(tokens_of(family))
    return Embedded(engine.encode_images(images_of(model)), texts)


def spec_of(folder: Path) -> ModelSpec:
    """The model of a folder that `write_family` wrote."""
    return resolve_model(ModelRequest(str(folder)))


def torch_engine(folder: Path, precision: Precision) -> Engine:
    """The model in torch, on the processor."""
    return load_engine(spec_of(folder), EngineOptions("cpu", precision, engine="torch"))


def onnx_engine(folder: Path, precision: Precision = "fp32") -> Engine:
    """The model prepared, beside its folder, and in ONNX Runtime."""
    spec = spec_of(folder)
    assert isinstance(spec.weights, Path)
    preparation = Preparation(spec, spec.weights, precision, lambda _: None)
    bundle = prepare(preparation, folder.with_name(f"{folder.name}-{precision}"))
    return OnnxEngine(bundle, EngineOptions("cpu", precision))


@contextmanager
def half_on_a_processor() -> Iterator[None]:
    """fp16 is for GPUs; what torch can do of it on a processor is the same path."""
    with (
        mock.patch("clipcli.engines.base.check_precision"),
        mock.patch("clipcli.engines.torch.openclip.check_precision"),
    ):
        yield


_COLUMNS: tuple[tuple[str, Precision], ...] = (
    *(("torch", "fp32"), ("torch", "bf16"), ("torch", "fp16")),
    ("onnx", "fp32"),
)


def _cell(engine: Engine, precision: str, model: nn.Module, family: Family) -> tuple[str, bool]:
    """What is printed of an engine, and whether it is as close as it must be."""
    found, expected = embedded_by(engine, model, family), reference_of(model, family)
    if precision == "fp32":
        difference = found.difference(expected)
        return f"{difference:.1e}", difference <= MOST_DIFFERENCE
    cosine = found.least_cosine(expected)
    return f"{cosine:.5f}", cosine >= LEAST_COSINE


def _row(family: Family, folder: Path) -> tuple[list[str], bool]:
    model = write_family(family, folder)
    exact = reference_of(copy.deepcopy(model).double(), family, torch.float64)
    cells, holds = [f"{reference_of(model, family).difference(exact):.1e}"], True
    for name, precision in _COLUMNS:
        if name == "onnx" and spec_of(folder).needs_transformers:
            cells.append("not prepared")
            continue
        try:
            with half_on_a_processor():
                engine = onnx_engine(folder) if name == "onnx" else torch_engine(folder, precision)
            cell, is_close = _cell(engine, precision, model, family)
        except ClipcliError as error:
            cell, is_close = f"**{error}**", False
        cells.append(cell)
        holds = holds and is_close
    return cells, holds


def main() -> int:
    """Print the table; 1 where a figure is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="families; all where none is named")
    names = parser.parse_args().names
    logging.disable(logging.ERROR)  # open_clip's, of weights that are random on purpose
    warnings.simplefilter("ignore")
    print("| family | open_clip |", *(f"{engine} {precision} |" for engine, precision in _COLUMNS))
    print("|---|---|" + "---|" * len(_COLUMNS))
    all_hold = True
    for family in FAMILIES:
        if (names and family.name not in names) or not can_build(family):
            continue
        with tempfile.TemporaryDirectory(prefix="clipcli-families-") as work:
            cells, holds = _row(family, Path(work, "model"))
        print("|", family.name, "|", " | ".join(cells), "|", flush=True)
        all_hold = all_hold and holds
    return 0 if all_hold else 1


if __name__ == "__main__":
    sys.exit(main())
