"""The training loop: image tower and text tower together, until the time is spent."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from open_clip import CLIP
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils import clip_grad_norm_

from scripts.train_tiny import text_tower
from scripts.train_tiny.batches import Batch
from scripts.train_tiny.checkpoints import Checkpoint
from scripts.train_tiny.evaluation import evaluate
from scripts.train_tiny.folders import WorkFolder
from scripts.train_tiny.objectives import concept_loss, distance
from scripts.train_tiny.phrases import Phrases
from scripts.train_tiny.pictures import Pictures
from scripts.train_tiny.pixels import network_input
from scripts.train_tiny.runtime import Budget
from scripts.train_tiny.schedule import Stage
from scripts.train_tiny.templates import PICTURE_TEMPLATES
from scripts.train_tiny.vocabulary import Vocabulary

# The text tower hardly moves, and its share of a step is large: it is trained at every fourth.
TEXT_EVERY = 4
PHRASES_A_STEP = 256
MAX_LOGIT_SCALE = 4.6052  # ln 100, CLIP's own bound (Radford et al. 2021, section 2.5)
REPORT_EVERY = 50
EVALUATE_EVERY_SECONDS = 900
INTERIM_PICTURES = 2000


class Trainer:
    """A model in training and the running average of its weights.

    Attributes:
        model: The model as the last step left it.
        average: The averaged model, in evaluation mode.
        steps: How many steps have been made.
        contrast: The last step's loss over concepts.
        drift: The text tower's distance from what it was distilled to, when last computed.
    """

    def __init__(self, model: CLIP, vocabulary: Vocabulary, phrases: Phrases, stage: Stage) -> None:
        model.visual = model.visual.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(model).eval()
        self.model = model.train()
        self.steps = 0
        self.contrast = self.drift = float("nan")
        self.vocabulary = vocabulary
        self.stage = stage
        self._phrases = phrases
        # Set by every step with text, the first one included.
        self._concepts = torch.empty(0)
        self._excluded = torch.from_numpy(vocabulary.excluded)
        self._image_parameters = list(model.visual.parameters())
        self._optimizer = _optimizer(model)

    def step(self, batch: Batch, fraction: float) -> None:
        """Train on one batch.

        Args:
            batch: Pictures and labels.
            fraction: The share of time that is spent.
        """
        factor = self.stage.rate_factor(self.steps, fraction)
        rates = self.stage.learning_rates
        for group, rate in zip(self._optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self._loss(batch, self.stage.resolution(fraction)))
        clip_grad_norm_(self._image_parameters, 2.0)
        self._optimizer.step()
        self.model.logit_scale.data.clamp_(0, MAX_LOGIT_SCALE)
        self.steps += 1
        update_average(self.average, self.model, self.stage.decay(self.steps))

    def _loss(self, batch: Batch, side: int) -> Tensor:
        with_text = self.steps % TEXT_EVERY == 0
        # Drawn at every step, used or not, as in the original run: else the targets that are
        # drawn after it would be others.
        prompts = self.vocabulary.draw_prompts()
        if with_text:
            concepts = text_tower.encode(self.model, prompts)
            self._concepts = concepts.detach()
        else:
            concepts = self._concepts
        targets = torch.tensor(self.vocabulary.draw_targets(batch.labels.tolist()))
        images = normalize(self.model.encode_image(network_input(batch.images, side)), dim=-1)
        logits = self.model.logit_scale.exp() * images @ concepts.T
        loss = concept_loss(logits, self._excluded[torch.from_numpy(batch.labels)], targets)
        self.contrast = loss.item()
        if with_text:
            drift = self._drift()
            self.drift = drift.item()
            loss = loss + drift
        return loss

    def _drift(self) -> Tensor:
        rows = np.random.randint(0, len(self._phrases), PHRASES_A_STEP)
        prompts = self._phrases.prompts(rows, PICTURE_TEMPLATES)
        return distance(text_tower.encode(self.model, prompts), self._phrases.embeddings[rows])


@dataclass(frozen=True)
class Checks:
    """What a training run is measured with, and where its weights go.

    Attributes:
        validation: Pictures the model is not trained on.
        work: The folder for checkpoints.
        name: The checkpoint of the averaged weights; NAME_raw is that of the last ones.
    """

    validation: Pictures
    work: WorkFolder
    name: str

    def interim(self, trainer: Trainer) -> None:
        """Evaluate the averaged model on some of the pictures, and save it."""
        self._report("so far", trainer, trainer.average, INTERIM_PICTURES)
        Checkpoint.of(trainer.average).save(self.work.checkpoint(self.name))

    def final(self, trainer: Trainer) -> None:
        """Evaluate both models on all pictures, and save them."""
        self._report("last weights", trainer, trainer.model)
        self._report("averaged weights", trainer, trainer.average)
        Checkpoint.of(trainer.average).save(self.work.checkpoint(self.name))
        Checkpoint.of(trainer.model).save(self.work.checkpoint(f"{self.name}_raw"))

    def _report(self, what: str, trainer: Trainer, model: CLIP, at_most: int | None = None) -> None:
        accuracies = evaluate(model, self.validation, trainer.vocabulary.classes, at_most)
        for name, accuracy in accuracies.items():
            print(f"{what}, {name}: {accuracy}", flush=True)


def train(trainer: Trainer, batches: Iterator[Batch], budget: Budget, checks: Checks) -> None:
    """Train until the budget is spent; evaluate and save now and then, and at the end.

    Args:
        trainer: The model in training.
        batches: An endless supply of batches.
        budget: How long it may take, evaluations but the last included.
        checks: How to evaluate, and where to save.
    """
    next_evaluation = trainer.stage.first_evaluation
    while (fraction := budget.fraction()) < 1:
        trainer.step(next(batches), fraction)
        if trainer.steps % REPORT_EVERY == 0:
            print(_progress(trainer, budget), flush=True)
        if budget.elapsed() > next_evaluation:
            checks.interim(trainer)
            next_evaluation += EVALUATE_EVERY_SECONDS
    checks.final(trainer)


@torch.no_grad()
def update_average(average: CLIP, model: CLIP, decay: float) -> None:
    """Move averaged weights towards the model's: average = decay * average + (1 - decay) * model.

    Whole numbers, such as batch normalisation's counters, are copied.
    """
    states = zip(average.state_dict().values(), model.state_dict().values(), strict=True)
    for averaged, present in states:
        if averaged.dtype.is_floating_point:
            averaged.lerp_(present, 1 - decay)
        else:
            averaged.copy_(present)


def _optimizer(model: CLIP) -> torch.optim.Optimizer:
    """Return the optimizer, its groups in the order of `LearningRates`, the rates yet unset."""
    groups = [
        {"params": list(model.visual.parameters()), "weight_decay": 0.05},
        {"params": text_tower.parameters(model), "weight_decay": 0.01},
        {"params": [model.logit_scale], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98))


def _progress(trainer: Trainer, budget: Budget) -> str:
    scale = trainer.model.logit_scale.exp().item()
    return (
        f"{trainer.steps} steps, {budget.elapsed():.0f} s ({budget.fraction():.1%}): "
        f"concepts {trainer.contrast:.3f}, phrases {trainer.drift:.3f}, logit scale {scale:.1f}"
    )
