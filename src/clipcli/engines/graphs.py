"""A prepared model's graph held against its manifest, before it runs for the first time.

ONNX Runtime itself refuses operations that it does not have, and weights outside the folder.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from clipcli.models.manifests import Manifest

Shape = tuple[int | None, ...]

# They hold graphs of their own, which they run as often as the data says, or for ever.
_CONTROL = ("Loop", "Scan", "If", "SequenceMap", "BeamSearch", "GreedySearch", "Sampling")
# How an operation's name begins in the file: its field's tag and its length. What hides an `If`
# behind another way to write that hides nothing: what it holds is found by its own name.
_TRACES = (*(name.encode() for name in _CONTROL if name != "If"), b'"\x02If')


@dataclass(frozen=True)
class Signature:
    """What a graph takes and gives.

    Attributes:
        field: of the manifest, that a wrong input tells of.
        kind: of the input's numbers, in ONNX Runtime's words.
        taken: the input's shape; None where any number will do.
        given: the output's shape.
    """

    field: str
    kind: str
    taken: Shape
    given: Shape

    @classmethod
    def of_images(cls, manifest: Manifest) -> Signature:
        """Of the image tower: pixels to embeddings."""
        height, width = manifest.preprocess["size"]
        given = (None, manifest.embed_dim)
        return cls("preprocess.size", "tensor(float)", (None, 3, height, width), given)

    @classmethod
    def of_texts(cls, manifest: Manifest) -> Signature:
        """Of the text tower: token ids to embeddings."""
        length = None if manifest.short_context else manifest.context_length
        return cls("context_length", "tensor(int64)", (None, length), (None, manifest.embed_dim))


def check_operations(file: Path) -> None:
    """Refuse a graph that may run for ever.

    Raises:
        OSError: the file cannot be read.
        ValueError: it may.
    """
    with (
        file.open("rb") as opened,
        mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        if all(content.find(trace) < 0 for trace in _TRACES):
            return
    # Weights and names may look the same: only the package that reads graphs can tell, and it takes
    # half as long to import as a start may.
    import onnx

    model = onnx.load(file, load_external_data=False)
    nodes = [*model.graph.node, *(node for body in model.functions for node in body.node)]
    found = sorted({node.op_type for node in _with_inner(nodes)} & set(_CONTROL))
    if found:
        raise ValueError(f"its graph holds {' and '.join(found)}, which may never end")


def _with_inner(nodes: Iterable[Any]) -> Iterator[Any]:
    """Nodes, and those of the graphs that they hold."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _with_inner(graph.node)


def check_signature(inputs: Sequence[Any], outputs: Sequence[Any], wanted: Signature) -> None:
    """Compare what a graph takes and gives with what its manifest says.

    Args:
        inputs: of ONNX Runtime's session.
        outputs: likewise.
        wanted: by the manifest.

    Raises:
        ValueError: they differ; the message names the manifest's field.
    """
    for kind, places in (("inputs", inputs), ("outputs", outputs)):
        if len(places) != 1:
            raise ValueError(f"its graph has {len(places)} {kind}, and must have one")
    (taken,), (given,) = inputs, outputs
    if taken.type != wanted.kind or not _fits(taken.shape, wanted.taken):
        shape = f"{taken.type} of {_words(taken.shape)}"
        wish = f"{wanted.kind} of {_words(wanted.taken)}"
        raise ValueError(f"its graph takes {shape}, and by {wanted.field} it is {wish}")
    if given.type != "tensor(float)" or not _fits(given.shape, wanted.given):
        shape = f"{given.type} of {_words(given.shape)}"
        wish = f"tensor(float) of {_words(wanted.given)}"
        raise ValueError(f"its graph gives {shape}, and by embed_dim it is {wish}")


def _fits(shape: Sequence[int | str | None], wanted: Shape) -> bool:
    """Whether each number is the one that is wanted, or left open by its name."""
    return len(shape) == len(wanted) and all(
        found is None or isinstance(found, str) or found == number
        for found, number in zip(shape, wanted, strict=True)
    )


def _words(shape: Sequence[int | str | None]) -> str:
    return " x ".join(str(number) if isinstance(number, int) else "n" for number in shape)
