"""Learns the image projection and where each phrase is to be: no text tower yet.

Names that have pictures learn their places from them, together with the projection; names of
ImageNet's classes and all that have no pictures keep theirs, so that they stay comparable.
"""

import torch
from torch import Tensor
from torch.nn import functional

from scripts.train_tiny import places, teacher
from scripts.train_tiny.arguments import parser
from scripts.train_tiny.material import PRIOR, UNSEEN, Material, found, labelled
from scripts.train_tiny.pictures import table

STEPS = 1200
PLACES, PROJECTION, SCALE = 5e-3, 4e-4, 4e-3
"""Highest learning rates."""
FIRST_SCALE = 25.0


def main() -> None:
    """Runs the script."""
    options = parser(__doc__, "data", "work", "wheels")
    options.add_argument("--steps", type=int, default=STEPS)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    torch.manual_seed(given.seed)
    torch.set_num_threads(1)
    known = found(given.data, given.work, [row for row in table() if row.set != UNSEEN])
    embeddings = teacher.load(given.work / teacher.PHRASES)
    material = Material(given.wheels, labelled(given.data, known), embeddings, given.seed)
    phrases = material.concepts + [one for one in embeddings if one not in material.number]
    meanings = places.meanings(given.work, phrases)
    concepts = meanings[: len(material.concepts)]
    directions, constant = places.projection(material)
    named, known_names = places.of_classes(material, directions)
    first = places.Regression(concepts[known_names.numpy()], named).places(concepts)
    first[known_names] = named
    learner = Learner(material, directions, constant, first)
    learner.learn(given.steps)
    learned = learner.places().detach()
    visible = functional.normalize(learned[:, :-1], dim=1)
    others = places.Regression(concepts, visible).places(meanings[len(concepts) :])
    only_named = known_names & (material.pictured == 0)
    learned[only_named] = places.completed(first[only_named], places.OF_CLASSES)
    places.save(
        given.work,
        phrases,
        places=torch.cat([learned, places.completed(others, places.OF_OTHERS)]),
        **learner.projection(places.KEPT),
    )


class Learner:
    """The projection, and the places of names that have pictures."""

    def __init__(
        self, material: Material, directions: Tensor, constant: float, first: Tensor
    ) -> None:
        self.material, self.constant = material, constant
        self.fixed = places.completed(first, places.IN_COMMON)
        self.shown = material.pictured.nonzero().flatten()
        self.free = self.fixed[self.shown].requires_grad_()
        self.weight = directions.clone().requires_grad_()
        self.bias = (-directions @ material.mean).requires_grad_()
        self.scale = torch.tensor(FIRST_SCALE).log().requires_grad_()

    def places(self) -> Tensor:
        """Places of all concepts, (n, 256)."""
        return self.fixed.index_copy(0, self.shown, functional.normalize(self.free, dim=1))

    def projection(self, share: float = 1.0) -> dict[str, Tensor]:
        """Weight (256, 1280) and bias (256,) of the image projection, and the logit scale's log.

        `share` of the last dimension is kept.
        """
        weight = torch.cat([self.weight, torch.zeros(1, self.weight.shape[1])])
        bias = torch.cat([self.bias, torch.tensor([self.constant * share])])
        return {"weight": weight, "bias": bias, "scale": self.scale}

    def loss(self) -> Tensor:
        """Cross-entropy of a batch over all concepts, but for those as true as the target."""
        batch = self.material.batch()
        made = self.projection()
        images = functional.normalize(batch.features @ made["weight"].T + made["bias"], dim=1)
        logits = self.scale.exp() * images @ self.places().T + PRIOR * self.material.pictured
        return functional.cross_entropy(logits.masked_fill(batch.excused, -1e4), batch.targets)

    def learn(self, steps: int) -> None:
        """Learns for some steps."""
        groups = [
            ([self.free], PLACES),
            ([self.weight, self.bias], PROJECTION),
            ([self.scale], SCALE),
        ]
        optimizer = torch.optim.Adam([{"params": each} for each, _ in groups], betas=(0.9, 0.98))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, [rate for _, rate in groups], total_steps=steps, pct_start=0.1
        )
        for step in range(steps):
            optimizer.zero_grad()
            loss = self.loss()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            if step % 100 == 0:
                print(f"{step} steps, loss {loss.item():.3f}", flush=True)


if __name__ == "__main__":
    main()
