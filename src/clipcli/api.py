"""The public `Classifier`: clipcli's rooms for notebooks and programs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from clipcli.arrays import Float32, Float64
from clipcli.engines.base import EngineOptions, Precision
from clipcli.engines.choice import for_training, load_engine
from clipcli.errors import InputError, ModelError, UsageError
from clipcli.heads.cosines import Cosines
from clipcli.heads.given import given_labels, given_number, given_text, given_texts
from clipcli.heads.results import Result, ScoreOptions
from clipcli.heads.zero_shot import ZeroShotHead, build_head, text_embeddings
from clipcli.images.given import given_images
from clipcli.models.names import names_a_folder, resolve_model
from clipcli.models.specs import DEFAULT_MODEL, ModelRequest
from clipcli.process import ProcessLock
from clipcli.runs.options import PipelineOptions
from clipcli.runs.pipeline import classify, encode

if TYPE_CHECKING:
    from os import PathLike
    from typing import IO, Protocol

    from numpy.typing import NDArray
    from PIL.Image import Image

    from clipcli.engines.base import Engine, ModelInfo
    from clipcli.heads.adapted import AdaptedHead
    from clipcli.heads.labels import LabelSet
    from clipcli.models.specs import ModelSpec

    class Array(Protocol):
        """What NumPy can read: its arrays, torch's tensors."""

        def __array__(self) -> NDArray[Any]: ...

    ImageLike = str | PathLike[str] | bytes | IO[bytes] | Image | Array


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
        adapter: what `clipcli adapt` made, by its name or its folder; it brings its labels.
        threads: processor threads of the model; None for as many as the process may use.

    It may be used by several threads at once. A copy of it is itself. Pickled, it is what was asked
    for, and the model is opened anew where it is unpickled and first used.

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

    def __init__(  # noqa: PLR0913  each is an option by itself, as on the command line
        self,
        model: str | ModelRequest = DEFAULT_MODEL,
        *,
        checkpoint: str | Path | None = None,
        device: str = "auto",
        precision: Precision = "fp32",
        engine: str = "auto",
        adapter: str | Path | None = None,
        threads: int | None = None,
    ) -> None:
        if not isinstance(model, ModelRequest):
            model = ModelRequest(given_text("the model", model))
        if checkpoint is not None:
            model = replace(model, checkpoint=Path(checkpoint))
        with in_python():
            # A torch.device says its name as a text.
            options = EngineOptions(str(device), precision, threads, engine)
        name = None if adapter is None else _adapter_name(adapter)
        self.__setstate__({"request": model, "options": options, "info": None, "adapter": name})
        # Opened now, and not at the first image: a program should know at once.
        _ = self._engine
        if name is not None:
            # So is whether the adapter is there, and of this model.
            _ = self._adapted

    def __getstate__(self) -> dict[str, Any]:
        """What was asked for, and which model that was; whoever unpickles it opens it anew."""
        info = self._opened.info if self._opened else self._known
        request = _from_anywhere(self._request)
        state = {"request": request, "options": self._options, "info": info}
        return {**state, "adapter": self._adapter, "adapted": self._adapted_fingerprint()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Be what was asked for; the model is opened when it is first needed."""
        self._request: ModelRequest = state["request"]
        self._options: EngineOptions = state["options"]
        self._adapter: str | None = state["adapter"]
        self._known_adapted: str | None = state.get("adapted")
        self._known: ModelInfo | None = state["info"]
        self._opened: Engine | None = None
        self._opening = ProcessLock()
        self._heads: dict[LabelSet, ZeroShotHead] = {}

    def __copy__(self) -> Classifier:
        """Itself: there is nothing in it to be changed."""
        return self

    def __deepcopy__(self, _memo: object) -> Classifier:
        """Itself, as in `__copy__`."""
        return self

    @property
    def _engine(self) -> Engine:
        with self._opening, in_python():
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _open(self) -> Engine:
        spec, known = resolve_model(self._request), self._known
        if known is not None:
            spec = replace(spec, name=known.name)
        engine = self._with_lora(spec) or self._load(spec, self._options)
        if known is not None and known.fingerprint != engine.info.fingerprint:
            raise ModelError(
                f"{known.name} is not what it was when its Classifier was pickled: its weights or"
                " its configuration have changed since; make a new Classifier"
            )
        return engine

    def _load(self, spec: ModelSpec, options: EngineOptions) -> Engine:
        return load_engine(spec, options, offline=self._request.offline)

    def _with_lora(self, spec: ModelSpec) -> Engine | None:
        """The model as an adapter has changed it; None where none does."""
        if self._adapter is None:
            return None
        from clipcli.heads.adapted import adapted_engine
        from clipcli.heads.adapters import read_adapter

        adapter = read_adapter(self._adapter)
        if not adapter.lora:
            return None
        options = for_training(self._options, f"the LoRA of {self._adapter}")
        return adapted_engine(self._load(spec, options), adapter)

    @cached_property
    def _adapted(self) -> tuple[AdaptedHead, ModelInfo]:
        """The adapter's head, and the model as its answers' own."""
        from clipcli.heads.adapted import adapted_head
        from clipcli.heads.adapters import read_adapter

        assert self._adapter is not None
        with in_python():
            adapter = read_adapter(self._adapter)
            head = adapted_head(adapter, self._engine.info)
            info = adapter.answering(self._engine.info)
        if self._known_adapted not in (None, info.fingerprint):
            raise ModelError(
                f"the adapter {self._adapter} is not what it was when its Classifier was pickled:"
                " make a new Classifier"
            )
        return head, info

    def _adapted_fingerprint(self) -> str | None:
        is_read = "_adapted" in self.__dict__
        return self._adapted[1].fingerprint if is_read else self._known_adapted

    @property
    def info(self) -> ModelInfo:
        """What was loaded: name, fingerprint (with the adapter's), preprocessing, scale."""
        return self._engine.info if self._adapter is None else self._adapted[1]

    def classify(
        self,
        images: ImageLike | Iterable[ImageLike],
        labels: Iterable[str] | Mapping[str, str | Iterable[str]] | None = None,
        *,
        templates: str | Iterable[str] = (),
        min_probability: float = 0.0,
        min_similarity: float = -1.0,
        options: PipelineOptions | None = None,
    ) -> list[Result]:
        """Score images against labels.

        Args:
            images: one image or several, each a path, a URL, encoded bytes, a binary file, a PIL
                image, a NumPy array of uint8 (height, width[, channels]) or a torch tensor
                (channels first or last; uint8, or floats in 0..1). Paths are literal; folders and
                patterns are the command line's.
            labels: texts to choose between, used as they are unless there are templates. Or a
                dict: label -> the text, or the texts, that stand for it. None with an adapter,
                whose own labels they are.
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
                without `{}`, something that is no image or no text.
        """
        return list(
            self.iter_classify(
                images,
                labels,
                templates=templates,
                min_probability=min_probability,
                min_similarity=min_similarity,
                options=options,
            )
        )

    def iter_classify(
        self,
        images: ImageLike | Iterable[ImageLike],
        labels: Iterable[str] | Mapping[str, str | Iterable[str]] | None = None,
        *,
        templates: str | Iterable[str] = (),
        min_probability: float = 0.0,
        min_similarity: float = -1.0,
        options: PipelineOptions | None = None,
    ) -> Iterator[Result]:
        """Score images one after the other, as `classify`, without a list of them.

        Images are taken from what is given as they are needed, some blocks ahead, and results are
        given block by block: a million images take no more memory than a hundred.

        Raises:
            UsageError: at once, as `classify`; for something that is no image, when it comes.
        """
        head = self._own_head(labels, templates)
        chosen = None if head is not None else given_labels(labels, templates)
        if chosen is not None and len(chosen.names) == 1 and self.info.activation == "softmax":
            (name,) = chosen.names
            message = (
                f"one label alone always has probability 1: write [{name!r}, 'something else']"
            )
            raise UsageError(message)
        if not isinstance(options, PipelineOptions | None):
            kind = type(options).__name__
            raise UsageError(f"options are of type {kind}: give PipelineOptions(batch_size=8, ...)")
        scores = ScoreOptions(
            min_probability=given_number("min_probability", min_probability),
            min_similarity=given_number("min_similarity", min_similarity),
        )
        # The labels and what becomes of them are this call's: of the options only the reading
        # counts.
        options = options or PipelineOptions()
        options = replace(options, scores=scores, whole_blocks=True)
        with in_python():
            if chosen is not None:
                head = self._head(chosen)
            assert head is not None
            refs = given_images(images, options.images.max_bytes)
            return _as_they_come(classify(refs, self._engine, head, options))

    def encode_images(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        options: PipelineOptions | None = None,
    ) -> Float32:
        """The embeddings of images: unit rows, shape (n, embed_dim).

        Args:
            images: as in `classify`.
            options: as in `classify`.

        Raises:
            InputError: an image cannot be read; `code` and `message` say why.
            UsageError: something is no image.
        """
        options = replace(options or PipelineOptions(), whole_blocks=True)
        found = [np.empty((0, self.info.embed_dim), np.float32)]
        with in_python():
            refs = given_images(images, options.images.max_bytes)
            for block in encode(refs, self._engine, options):
                for place, error in sorted(block.failures.items()):
                    raise InputError(error.code, f"{block.refs[place].name}: {error.message}")
                if block.embeddings is not None:
                    found.append(block.embeddings)
        return np.concatenate(found)

    def encode_texts(
        self, texts: str | Iterable[str], *, templates: str | Iterable[str] = ()
    ) -> Float32:
        """The embeddings of texts: unit rows, shape (n, embed_dim).

        Args:
            texts: one or several, used as they are unless there are templates.
            templates: as in `classify`; a text's prompts are averaged.

        Raises:
            UsageError: an empty text, or a template without `{}`.
        """
        given = (texts,) if isinstance(texts, str) else given_texts("texts", texts, "['a cat']")
        if not given:
            return np.empty((0, self.info.embed_dim), np.float32)
        # A text that comes twice has two rows, and is encoded once.
        distinct = given_labels(list(dict.fromkeys(given)), templates)
        with in_python():
            rows = text_embeddings(self._engine, distinct)
        places = {text: place for place, text in enumerate(distinct.names)}
        return rows[[places[text] for text in given]]

    def similarity(
        self,
        images: ImageLike | Iterable[ImageLike] | Float32,
        texts: str | Iterable[str] | Float32,
        *,
        templates: str | Iterable[str] = (),
    ) -> Float64:
        """The cosines of images and texts, shape (images, texts), in -1..1.

        Args:
            images: as in `classify`, or their embeddings, shape (n, embed_dim).
            texts: as in `encode_texts`, or their embeddings, shape (m, embed_dim).
            templates: of texts.

        Raises:
            InputError: an image cannot be read.
            UsageError: something is no image or no text; embeddings of another width.
        """
        rows = images if _are_rows(images) else self.encode_images(images)
        others = texts if _are_rows(texts) else self.encode_texts(texts, templates=templates)
        for given in (rows, others):
            if given.shape[1] != self.info.embed_dim:
                raise UsageError(
                    f"embeddings of width {given.shape[1]}: those of {self.info.name} are of width"
                    f" {self.info.embed_dim}"
                )
        return Cosines(others).of(rows)

    def _own_head(self, labels: object, templates: object) -> ZeroShotHead | None:
        """The adapter's head; None where there is no adapter.

        Raises:
            UsageError: labels are given to an adapter, or none where there is no adapter.
        """
        if self._adapter is None:
            if labels is None:
                raise UsageError("no labels: give the texts to choose between, ['a cat', 'a dog']")
            return None
        if labels is not None or templates:
            raise UsageError("the adapter brings its own labels: leave out labels and templates")
        return self._adapted[0]

    def _head(self, labels: LabelSet) -> ZeroShotHead:
        """The labels' head, encoded at their first use."""
        # In a notebook the same labels are asked for again and again; encoding them is the slow
        # part.
        if labels not in self._heads:
            self._heads[labels] = build_head(self._engine, labels)
        return self._heads[labels]


def _as_they_come(results: Iterator[Result]) -> Iterator[Result]:
    with in_python():
        yield from results


def _are_rows(given: object) -> TypeGuard[Float32]:
    """Whether something is embeddings; an array of floats of two dimensions is no picture."""
    return isinstance(given, np.ndarray) and given.ndim == 2 and given.dtype.kind == "f"


def _adapter_name(adapter: str | Path) -> str:
    """An adapter's name; a folder is one that means the same in another working folder."""
    if isinstance(adapter, Path) or "/" in adapter or os.sep in adapter:
        return os.path.abspath(adapter)
    return given_text("the adapter", adapter)


def _from_anywhere(request: ModelRequest) -> ModelRequest:
    """A request that means the same in another working folder."""
    name, checkpoint = request.name, request.checkpoint
    return replace(
        request,
        name=os.path.abspath(name) if names_a_folder(name) else name,
        checkpoint=checkpoint and checkpoint.absolute(),
    )


# Options of the command line, with the values that messages name.
_OPTION = re.compile(
    r"--(?P<name>[a-z][a-z-]*[a-z])"
    r"(?: (?P<value>auto|onnx|torch|fp32|fp16|bf16|int8|cpu|mps|cuda(?::\d+)?|main|tiny"
    r"|\./FOLDER|FILE\.safetensors|N))?"
)
# What is typed in a terminal is the same in Python.
_QUOTED_COMMAND = re.compile(r"""(['"`]clipcli [a-z]+ .*?['"`])""")
_SWITCHES = ("allow-pickle", "quick-gelu", "offline")


@contextmanager
def in_python() -> Iterator[None]:
    """Errors that name options of the command line name arguments."""
    try:
        yield
    except (UsageError, ModelError) as error:
        parts = _QUOTED_COMMAND.split(str(error))
        for place in range(0, len(parts), 2):  # between the commands
            parts[place] = _OPTION.sub(_argument, parts[place].replace("--[no-]", "--"))
        told = type(error)("".join(parts))
        vars(told).update(vars(error))
        raise told from error.__cause__


def _argument(option: re.Match[str]) -> str:
    name, value = option["name"].removeprefix("no-"), option["value"]
    if name in _SWITCHES:
        return f"{name.replace('-', '_')}={name == option['name']}"
    argument = name.replace("-", "_")
    return argument if value is None else f'{argument}="{value}"'
