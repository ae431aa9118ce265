"""Distil a sentence encoder into CLIP's text tower, so that a template changes little."""

from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip import CLIP
from torch.nn.utils import clip_grad_norm_

from scripts.train_tiny import arguments, phrases, teacher, text_tower
from scripts.train_tiny.checkpoints import ARCHITECTURE, Checkpoint
from scripts.train_tiny.concepts import concept_names
from scripts.train_tiny.folders import DataFolder, WorkFolder
from scripts.train_tiny.objectives import distance, distillation_loss
from scripts.train_tiny.phrases import Phrases
from scripts.train_tiny.runtime import Budget, prepare
from scripts.train_tiny.templates import CONCEPT_TEMPLATE, PHRASE_TEMPLATES

SECONDS = 420
BATCH = 1024
LEARNING_RATE = 3e-3
WARMUP_STEPS = 100
REPORT_EVERY = 100


def distill(
    model: CLIP, learned: Phrases, likelihoods: NDArray[np.float64], budget: Budget
) -> None:
    """Train the text tower in place until the budget is spent, its learning rate falling to zero.

    Args:
        model: The model whose text tower learns.
        learned: What it learns.
        likelihoods: How likely each phrase is to be drawn.
        budget: How long it may take.
    """
    parameters = text_tower.parameters(model)
    optimizer = torch.optim.AdamW(parameters, lr=0.0, weight_decay=0.01, betas=(0.9, 0.98))
    model.train()
    for step in count():
        fraction = budget.fraction()
        if fraction >= 1:
            break
        rate = LEARNING_RATE * min(1, step / WARMUP_STEPS) * (1 - fraction)
        optimizer.param_groups[0]["lr"] = rate
        rows = np.random.choice(len(learned), BATCH, p=likelihoods)
        embeddings = text_tower.encode(model, learned.prompts(rows, PHRASE_TEMPLATES))
        loss = distillation_loss(embeddings, learned.embeddings[rows])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if (step + 1) % REPORT_EVERY == 0:
            print(f"{step + 1} steps, {budget.elapsed():.0f} s: loss {loss.item():.4f}", flush=True)


def concept_similarity(model: CLIP, learned: Phrases) -> float:
    """Return the mean cosine of the concept names' embeddings with the wanted ones."""
    names = concept_names()
    wanted = learned.embeddings[[learned.texts.index(name) for name in names]]
    with torch.no_grad():
        embeddings = text_tower.encode(model, [CONCEPT_TEMPLATE.format(name) for name in names])
        return 1 - distance(embeddings, wanted).item()


def main() -> None:
    """Run the script."""
    options = arguments.training(__doc__, SECONDS).parse_args()
    data, work = DataFolder(options.data), WorkFolder(options.work)
    work.create()
    prepare()
    texts = phrases.collect(data.tiny_imagenet / "words.txt")
    print(f"{len(texts)} phrases")
    wanted = teacher.project(teacher.embed(texts), texts)
    learned = Phrases(texts, torch.from_numpy(wanted))
    learned.save(work)
    model = CLIP(**ARCHITECTURE)
    distill(model, learned, phrases.sampling_weights(texts), Budget(options.seconds))
    model.eval()
    print(f"concepts: mean cosine {concept_similarity(model, learned):.3f}")
    Checkpoint.of(model).save(work.checkpoint("text"))


if __name__ == "__main__":
    main()
