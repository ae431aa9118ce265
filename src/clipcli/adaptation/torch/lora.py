"""LoRA, trained on labelled pictures as CLIP-LoRA does it (Zanella & Ben Ayed, 2405.18541)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import parametrize

from clipcli.adaptation.augmentation import random_view
from clipcli.adaptation.lora_options import LoraOptions
from clipcli.arrays import Float32
from clipcli.engines.base import TooLittleMemoryError
from clipcli.engines.prompts import tokenize
from clipcli.engines.torch.adapters import (
    LowRank,
    apply_lora,
    find_layers,
    lora_weights,
    new_weights,
)
from clipcli.engines.torch.devices import first_line, lacks_memory
from clipcli.engines.torch.openclip import OpenClipEngine
from clipcli.engines.torch.switches import without_fast_path
from clipcli.engines.torch.towers import encode_image, encode_text
from clipcli.errors import ModelError, UsageError
from clipcli.heads.labels import LabelSet
from clipcli.heads.zero_shot import ZeroShotHead

TIMED_STEPS = 10
"""So many steps tell how long the rest takes."""


@dataclass(frozen=True, eq=False)
class Examples:
    """What LoRA learns from.

    Attributes:
        pictures: n of them, in RGB: see `augmentation.kept_picture`.
        classes: of each, its label's place.
        labels: L texts, with their prompts.
        head: of the labels, by the model without LoRA.
    """

    pictures: Sequence[Image.Image]
    classes: Sequence[int]
    labels: LabelSet
    head: ZeroShotHead


@dataclass(frozen=True)
class Estimate:
    """How long a training will take, by its first steps.

    Attributes:
        seconds_a_step: the median.
        steps_left: of this training.
    """

    seconds_a_step: float
    steps_left: int

    @property
    def seconds(self) -> float:
        """Until it ends."""
        return self.seconds_a_step * self.steps_left


@dataclass(frozen=True)
class Watch:
    """Who is told of a training, and asked.

    Attributes:
        progress: called after each step with its number from 1 on, the number of steps, the
            batch's loss, and the seconds since the start.
        confirm: asked once, after `TIMED_STEPS`, whether to go on; not where there are no more.
    """

    progress: Callable[[int, int, float, float], None] = lambda *_: None
    confirm: Callable[[Estimate], bool] = lambda _: True


@dataclass(frozen=True, eq=False)
class TrainedLora:
    """What was learned.

    Attributes:
        weights: by name, in float32, as `engines.torch.adapters.Weights` says.
        scale: of each product B·A.
        layers: the names of the weights that are changed.
        losses: of each step's batch, before the step.
        seconds: that it took.
    """

    weights: Mapping[str, Float32]
    scale: float
    layers: tuple[str, ...]
    losses: tuple[float, ...]
    seconds: float

    @property
    def parameters(self) -> int:
        """How many numbers were trained."""
        return sum(array.size for array in self.weights.values())


def train_lora(
    engine: OpenClipEngine,
    examples: Examples,
    options: LoraOptions,
    watch: Watch = Watch(),
) -> TrainedLora | None:
    """Train a LoRA; the engine stays as it is, and the last step's weights count.

    AdamW lowers the mean loss of random parts of a batch of pictures: the cross entropy of the
    labels under softmax, and for a model that was trained with a sigmoid its own (Zhai et al. 2023,
    section 3.2). Other than in CLIP-LoRA's code:

    - cosines are scaled by the model's own factor, as in every answer of clipcli; that code has 100
      for all, which is the factor of OpenAI's models;
    - where the text tower changes, each step takes one of a label's prompts, drawn anew, and not
      the average of all, so that a step costs as much with eighty templates as with one;
    - dropout takes away columns of A, one draw a step: the changes are of weights, and so inputs
      are left out for all pictures and places of a batch alike;
    - arithmetic is in fp32 throughout.

    The same seed gives the same result on a processor; GPUs may add in another order each time.

    Args:
        engine: the model, in fp32.
        examples: to learn from.
        options: what is trained, and how.
        watch: who is told, and asked.

    Returns:
        What was learned; None where `watch.confirm` said no.

    Raises:
        UsageError: there is nothing to learn, or nothing to train; or the engine rounds.
        TooLittleMemoryError: so many pictures at once do not fit.
        ModelError: the loss is not finite, or torch cannot compute it.
    """
    _check(engine, examples)
    count, labels = len(examples.pictures), len(examples.labels.names)
    steps = options.steps_for(count, labels, cuda=engine.device.type == "cuda")
    training = _Training(engine, examples, options, steps)
    start, losses, times = time.monotonic(), [], [time.monotonic()]
    for step in range(1, steps + 1):
        losses.append(training.step())
        times.append(time.monotonic())
        watch.progress(step, steps, losses[-1], times[-1] - start)
        if step == TIMED_STEPS and step < steps:
            estimate = Estimate(float(median(np.diff(times))), steps - step)
            if not watch.confirm(estimate):
                return None
            times[-1] = time.monotonic()
    layers = tuple(name for change in training.changes for name in change.layer.names)
    weights, seconds = lora_weights(training.changes), time.monotonic() - start
    return TrainedLora(weights, options.scale, layers, tuple(losses), seconds)


def _check(engine: OpenClipEngine, examples: Examples) -> None:
    classes, labels = examples.classes, examples.labels.names
    if not classes or len(classes) != len(examples.pictures):
        found = f"{len(examples.pictures)} pictures with {len(classes)} labels"
        raise UsageError(f"{found}: give at least one, and a label for each")
    if min(classes) < 0 or max(classes) >= len(labels):
        raise UsageError(f"there are {len(labels)} labels, and a picture of another")
    if not engine.is_exact:
        raise UsageError("LoRA is trained in fp32: leave out --precision")


class _Training:
    """A model of its own in training, its weights but for the changes the engine's."""

    def __init__(
        self, engine: OpenClipEngine, examples: Examples, options: LoraOptions, steps: int
    ) -> None:
        self._engine, self._examples, self._options = engine, examples, options
        self._random = np.random.default_rng(options.seed)
        self._model = engine.model_to_change()
        layers = find_layers(self._model, options.layers, options.targets, options.last)
        if not layers:
            raise UsageError(f"{engine.info.name} has no layers that LoRA could change")
        weights = new_weights(self._model, layers, options.rank, self._random)
        with self._computing():
            self.changes = apply_lora(self._model, weights, options.scale)
            self._optimizer, self._schedule = _optimizer(self.changes, options, steps)
        self._batches = _batches(len(examples.pictures), options.batch_size, self._random)
        changes_text = any(not layer.weight.startswith("visual.") for layer in layers)
        self._prompts = _Prompts(engine, examples.labels) if changes_text else None

    def step(self) -> float:
        """Learn from one batch; its loss before that."""
        places = next(self._batches)
        pixels = self._pixels(places)
        self._draw_dropout()
        try:
            with self._computing():
                return self._learn(pixels, [self._examples.classes[place] for place in places])
        except RuntimeError as error:
            if not lacks_memory(error):
                message = f"{self._engine.info.name} cannot be trained: {first_line(error)}"
                raise ModelError(message) from error
        # Not before the error is forgotten, whose frames hold all that has found room.
        raise TooLittleMemoryError(
            f"not enough memory on {self._engine.device} to train on {len(places)} pictures at"
            " once: train fewer blocks (--last 2), or use a smaller model"
        )

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Torch's switches as the training needs them, for a step: they are the host program's."""
        with ExitStack() as stack:
            stack.enter_context(self._engine.borrowed())
            stack.enter_context(without_fast_path())
            # The host program may want its new tensors elsewhere, and no gradients.
            stack.enter_context(torch.device("cpu"))
            stack.enter_context(torch.enable_grad())
            yield

    def _pixels(self, places: NDArray[np.int64]) -> Float32:
        config, pictures = self._engine.info.preprocess, self._examples.pictures
        return np.stack([random_view(pictures[place], config, self._random) for place in places])

    def _draw_dropout(self) -> None:
        share = self._options.dropout
        for change in self.changes:
            parts, _, inputs = change.a.shape
            kept = self._random.random((parts, 1, inputs)) >= share
            scaled = (kept / (1 - share)).astype(np.float32)
            change.kept = torch.from_numpy(scaled).to(self._engine.device)

    def _learn(self, pixels: Float32, classes: list[int]) -> float:
        # Each changed weight is computed once a step, and not at each of its uses.
        with parametrize.cached():
            images = encode_image(self._model, torch.from_numpy(pixels).to(self._engine.device))
            cosines = functional.normalize(images, dim=-1) @ self._label_embeddings().T
        head = self._examples.head
        wanted = torch.tensor(classes, device=cosines.device)
        loss = _loss(head.logit_scale * cosines + float(head.logit_bias), wanted, head.activation)
        value = float(loss.detach())
        if not np.isfinite(value):
            raise ModelError(
                f"the training went wrong: its loss is {value}. Use a smaller --learning-rate, or"
                " a smaller --alpha"
            )
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._schedule.step()
        return value

    def _label_embeddings(self) -> Tensor:
        if self._prompts is None:
            return torch.from_numpy(self._examples.head.embeddings).to(self._engine.device)
        ids = torch.from_numpy(self._prompts.drawn(self._random)).to(self._engine.device)
        return functional.normalize(encode_text(self._model, ids), dim=-1)


class _Prompts:
    """The labels' prompts as token ids, one of each label at a time."""

    def __init__(self, engine: OpenClipEngine, labels: LabelSet) -> None:
        prompts = labels.prompts()
        tokens = tokenize(engine, [text for several in prompts for text in several])
        longest = tokens.lengths.max() if engine.info.short_context else None
        self._ids = np.ascontiguousarray(tokens.ids[:, :longest])
        self._counts = np.array([len(several) for several in prompts])
        self._starts = np.cumsum(self._counts) - self._counts

    def drawn(self, random: np.random.Generator) -> NDArray[np.int64]:
        """Ids of one prompt of each label, shape (L, length)."""
        ids: NDArray[np.int64] = self._ids[self._starts + random.integers(self._counts)]
        return ids


def _optimizer(
    changes: Sequence[LowRank], options: LoraOptions, steps: int
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.CosineAnnealingLR]:
    parameters = [parameter for change in changes for parameter in change.parameters()]
    optimizer = torch.optim.AdamW(
        parameters, lr=options.learning_rate, weight_decay=options.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, steps, options.final_learning_rate
    )
    return optimizer, schedule


def _batches(count: int, size: int, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Places of pictures, for ever: each comes once before any comes again."""
    size = min(size, count)
    left = np.empty(0, np.int64)
    while True:
        if len(left) < size:
            left = np.concatenate([left, random.permutation(count)])
        yield left[:size]
        left = left[size:]


def _loss(logits: Tensor, classes: Tensor, activation: str) -> Tensor:
    """The mean loss of a batch of logits, shape (n, labels), as the model itself was trained."""
    if activation == "softmax":
        return functional.cross_entropy(logits, classes)
    true = functional.one_hot(classes, logits.shape[1]).to(logits.dtype)
    total = functional.binary_cross_entropy_with_logits(logits, true, reduction="sum")
    return total / len(logits)
