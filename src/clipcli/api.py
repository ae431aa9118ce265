"""The public `Classifier`: clipcli's rooms for notebooks and programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli.engines.base import EngineOptions, Precision
from clipcli.engines.choice import load_engine
from clipcli.errors import UsageError
from clipcli.heads.labels import LabelSet, collect_templates
from clipcli.heads.results import Result, ScoreOptions
from clipcli.heads.zero_shot import ZeroShotHead, build_head
from clipcli.images.sources import ImageRef, Url, is_url, public_name
from clipcli.models.names import resolve_model
from clipcli.models.specs import DEFAULT_MODEL, ModelRequest
from clipcli.runs.options import PipelineOptions
from clipcli.runs.pipeline import classify

if TYPE_CHECKING:
    from PIL.Image import Image

    from clipcli.engines.base import ModelInfo

    ImageLike = str | Path | bytes | Image


class Classifier:
    """A CLIP model, loaded once, that answers which of some texts fits an image.

    Args:
        model: a model's name as on the command line: `ViT-B/32`, `ViT-B-32:laion2b_s34b_b79k`,
            `hf-hub:org/name`, `./folder` or the bundled `tiny`. Or a `ModelRequest`, which also
            says its revision, whether it may be a pickle, and whether to stay offline.
        checkpoint: a safetensors file that replaces the weights of a named architecture.
        device: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.
        precision: `fp32`, `fp16`, `bf16`, or `int8` for a model that was prepared so.
        engine: `onnx` (a prepared model on the CPU), `torch`, or `auto`.

    Raises:
        ModelError: the model cannot be had.
        UsageError: the device is not there, or cannot run the precision; options that do not go
            together.

    Example:
        >>> from clipcli import Classifier
        >>> classifier = Classifier("tiny")
        >>> prediction, = classifier.classify("examples/photos/chelsea.png", ["a cat", "a dog"])
        >>> prediction.answer
        'a cat'
    """

    def __init__(
        self,
        model: str | ModelRequest = DEFAULT_MODEL,
        *,
        checkpoint: str | Path | None = None,
        device: str = "auto",
        precision: Precision = "fp32",
        engine: str = "auto",
    ) -> None:
        request = model if isinstance(model, ModelRequest) else ModelRequest(model)
        if checkpoint is not None:
            request = replace(request, checkpoint=Path(checkpoint))
        options = EngineOptions(device, precision, engine=engine)
        self._engine = load_engine(resolve_model(request), options, offline=request.offline)
        self._heads: dict[LabelSet, ZeroShotHead] = {}

    @property
    def info(self) -> ModelInfo:
        """What was loaded: name, fingerprint, preprocessing, scale."""
        return self._engine.info

    def classify(
        self,
        images: ImageLike | Iterable[ImageLike],
        labels: Sequence[str],
        *,
        templates: Sequence[str] = (),
        min_probability: float = 0.0,
        min_similarity: float = -1.0,
        options: PipelineOptions | None = None,
    ) -> list[Result]:
        """Score images against labels.

        Args:
            images: one image or several, each a path, a URL, encoded bytes or a PIL image.
                Paths are literal; folders and patterns are the command line's.
            labels: texts to choose between, used as they are unless there are templates.
            templates: texts with `{}` for the label, or the names of built-in sets
                (`openai7`, `openai80`).
            min_probability: below it a prediction's `answer` is None.
            min_similarity: of the best label's cosine; below it the answer is None, too.
            options: batch size, threads and limits; its `scores` and `whole_blocks` are replaced.

        Returns:
            One `Prediction` or `Failure` for each image, in their order. A bad image raises
            nothing and changes nothing for the others.

        Raises:
            UsageError: empty or repeated labels, one label under softmax, a template
                without `{}`, or something that is no image.
        """
        # A text is a sequence of texts, too: its letters.
        if isinstance(labels, str):
            raise UsageError(f"labels are several texts: write [{labels!r}, ...]")
        templates = [templates] if isinstance(templates, str) else templates
        head = self._head(LabelSet(tuple(labels), collect_templates(templates)))
        # The labels and what becomes of them are this call's: of the options only the reading
        # counts.
        options = options or PipelineOptions()
        scores = ScoreOptions(min_probability=min_probability, min_similarity=min_similarity)
        options = replace(options, scores=scores, whole_blocks=True)
        return list(classify(_refs(images), self._engine, head, options))

    def _head(self, labels: LabelSet) -> ZeroShotHead:
        """The labels' head, encoded at their first use."""
        # In a notebook the same labels are asked for again and again; encoding them is the slow
        # part.
        if labels not in self._heads:
            self._heads[labels] = build_head(self._engine, labels)
        return self._heads[labels]


def _refs(images: ImageLike | Iterable[ImageLike]) -> Iterator[ImageRef]:
    if isinstance(images, bytearray | memoryview):
        # An image's bytes, and not an iterable of numbers.
        images = bytes(images)
    if isinstance(images, str | bytes) or not isinstance(images, Iterable):
        images = [images]
    for index, image in enumerate(images):
        yield _ref(index, image)


def _ref(index: int, image: ImageLike) -> ImageRef:
    match image:
        case str() if is_url(image):
            return ImageRef(index, public_name(image), Url(image))
        case str() | Path():
            return ImageRef(index, str(image), Path(image))
        case bytes():
            return ImageRef(index, f"image {index}", image)
        # Known by what it can do: importing Pillow's class here would cost every start.
        case _ if hasattr(image, "getexif"):
            return ImageRef(index, getattr(image, "filename", "") or f"image {index}", image)
        case _:
            kind = type(image).__name__
            raise UsageError(f"image {index} is of type {kind}: give a path, URL, bytes, PIL image")
