"""The public `Classifier`: clipcli's rooms for notebooks and programs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipcli.engines.base import EngineOptions, Precision
from clipcli.engines.choice import load_engine
from clipcli.errors import ModelError, UsageError
from clipcli.heads.labels import LabelSet, collect_templates
from clipcli.heads.results import Result, ScoreOptions
from clipcli.heads.zero_shot import ZeroShotHead, build_head
from clipcli.images.given import given_images
from clipcli.models.names import names_a_folder, resolve_model
from clipcli.models.specs import DEFAULT_MODEL, ModelRequest
from clipcli.process import ProcessLock
from clipcli.runs.options import PipelineOptions
from clipcli.runs.pipeline import classify

if TYPE_CHECKING:
    from os import PathLike
    from typing import IO, Protocol

    from numpy.typing import NDArray
    from PIL.Image import Image

    from clipcli.engines.base import Engine, ModelInfo
    from clipcli.heads.adapted import AdaptedHead

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

    def __init__(
        self,
        model: str | ModelRequest = DEFAULT_MODEL,
        *,
        checkpoint: str | Path | None = None,
        device: str = "auto",
        precision: Precision = "fp32",
        engine: str = "auto",
        adapter: str | Path | None = None,
    ) -> None:
        if not isinstance(model, ModelRequest):
            model = ModelRequest(_text("the model", model))
        if checkpoint is not None:
            model = replace(model, checkpoint=Path(checkpoint))
        with in_python():
            # A torch.device says its name as a text.
            options = EngineOptions(str(device), precision, engine=engine)
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
        engine = load_engine(spec, self._options, offline=self._request.offline)
        if known is not None and known.fingerprint != engine.info.fingerprint:
            raise ModelError(
                f"{known.name} is not what it was when its Classifier was pickled: its weights or"
                " its configuration have changed since; make a new Classifier"
            )
        return engine

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
        head = self._own_head(labels, templates)
        chosen = None if head is not None else label_set(labels, templates)
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
            min_probability=_number("min_probability", min_probability),
            min_similarity=_number("min_similarity", min_similarity),
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
            return list(classify(refs, self._engine, head, options))

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


def _adapter_name(adapter: str | Path) -> str:
    """An adapter's name; a folder is one that means the same in another working folder."""
    if isinstance(adapter, Path) or "/" in adapter or os.sep in adapter:
        return os.path.abspath(adapter)
    return _text("the adapter", adapter)


def _from_anywhere(request: ModelRequest) -> ModelRequest:
    """A request that means the same in another working folder."""
    name, checkpoint = request.name, request.checkpoint
    return replace(
        request,
        name=os.path.abspath(name) if names_a_folder(name) else name,
        checkpoint=checkpoint and checkpoint.absolute(),
    )


def label_set(labels: Any, templates: Any) -> LabelSet:  # noqa: ANN401
    """Labels and templates, of any type that may come, checked in Python's words."""
    if isinstance(labels, Mapping):
        texts = {_text("a label", name): _texts(name, several) for name, several in labels.items()}
        names = tuple(texts)
    else:
        names = _several("labels", labels, "['a cat', 'a dog']")
        texts = {name: (name,) for name in names}
    if not names:
        raise UsageError("no labels: give the texts to choose between, ['a cat', 'a dog']")
    if len(texts) < len(names):
        LabelSet(names)  # which says what is given twice
    given = (templates,) if isinstance(templates, str) else templates
    wanted = _several("templates", given, "['a photo of a {}']")
    return LabelSet.of(texts, collect_templates(wanted))


def _texts(label: str, several: Any) -> tuple[str, ...]:  # noqa: ANN401
    what = f"the texts of {label!r}"
    texts = (several,) if isinstance(several, str) else _several(what, several, "['a cat', ...]")
    if not texts:
        raise UsageError(f"the label {label!r} has no texts: leave it out, or name one")
    return texts


def _several(what: str, values: Any, example: str) -> tuple[str, ...]:  # noqa: ANN401
    # A text is a sequence of texts, too: its letters.
    if isinstance(values, str):
        raise UsageError(f"{what} are several texts: write [{values!r}, ...]")
    if isinstance(values, bytes | bytearray | Mapping) or not isinstance(values, Iterable):
        kind = type(values).__name__
        raise UsageError(f"{what} are of type {kind}: give a list of texts, {example}")
    return tuple(_text(f"one of {what}", value) for value in values)


def _text(what: str, value: Any) -> str:  # noqa: ANN401
    if isinstance(value, str):
        return str(value)
    raise UsageError(f"{what} is {value!r}, of type {type(value).__name__}: give a text")


def _number(name: str, value: Any) -> float:  # noqa: ANN401
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = nan
    if isnan(number) or isinstance(value, str):
        raise UsageError(f"{name} is {value!r}: give a number")
    return number


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
