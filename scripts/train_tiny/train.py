"""The text tower learns where phrases are to be, and to tell names of pictures apart.

The image projection is that of `start` and stays.
"""

import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scripts.train_tiny import material, places, teacher, vocabulary
from scripts.train_tiny.arguments import parser
from scripts.train_tiny.checkpoints import Checkpoints
from scripts.train_tiny.evaluate import measured
from scripts.train_tiny.material import PRIOR, UNSEEN, Batch, Material, found, labelled, test_sets
from scripts.train_tiny.measure import accuracy
from scripts.train_tiny.model import TinyClip, from_folder, tokenized
from scripts.train_tiny.pictures import table
from scripts.train_tiny.schedule import Optimizers
from scripts.train_tiny.templates import Templates

MOVED, CAPTIONS = 20.0, 0.3
"""Weights of the losses beside the names' own."""
OTHER_NAMES, LIKELY, WORDS, CAPTIONED = 40, 120, 30, 12
"""How many of each are in a step: names, likely words, any words, pictures with captions."""
FITTED = 4000
"""How many phrases the text tower's last matrix is fitted to before the first step."""


def main() -> None:
    """Runs the script."""
    options = parser(__doc__, "data", "work", "wheels")
    options.add_argument(
        "--start", type=Path, metavar="FOLDER", help="open_clip folder whose text tower goes on"
    )
    options.add_argument("--seconds", type=float, default=1300, help="time budget")
    options.add_argument("--seed", type=int, default=5)
    options.add_argument(
        "--checkpoint", default="trained.pt", metavar="NAME", help="file in the work folder"
    )
    given = options.parse_args()
    torch.manual_seed(given.seed)
    torch.set_num_threads(1)
    known = found(given.data, given.work, table())
    shown = labelled(given.data, [one for one in known if one.picture.row.set != UNSEEN])
    embeddings = teacher.load(given.work / teacher.PHRASES)
    made = Material(given.wheels, shown, embeddings, given.seed)
    model = from_folder(given.start) if given.start else TinyClip()
    trainer = Trainer(model, made, *places.load(given.work), vocabulary.captions(given.data))
    train(trainer, Checkpoints(given.work / given.checkpoint, given.seconds))
    for test, _, ten in measured(trainer.model, test_sets(known)):
        print(f"{test.name}: {100 * accuracy(ten):.1f} % among ten labels", flush=True)


class Trainer:
    """The losses of a batch."""

    def __init__(
        self,
        model: TinyClip,
        made: Material,
        phrases: list[str],
        tensors: dict[str, Tensor],
        captions: dict[str, list[str]],
    ) -> None:
        self.model, self.material, self.captions = model, made, captions
        self.phrases, self.places = phrases, tensors["places"]
        self.number = torch.tensor([phrases.index(name) for name in made.concepts])
        self.random = made.random
        self.templates = Templates(made.random)
        self.captioned = torch.tensor([at for at, file in enumerate(made.files) if file])
        model.projection.requires_grad_(requires_grad=False)
        model.projection.weight.copy_(tensors["weight"])
        model.projection.bias.copy_(tensors["bias"])
        model.logit_scale.data = tensors["scale"]
        self.fit()

    @torch.no_grad()
    def fit(self) -> None:
        """Fits the text tower's last matrix to the phrases' places."""
        drawn = self.random.choice(len(self.phrases), min(FITTED, len(self.phrases)), replace=False)
        texts = self.templates.around([self.phrases[at] for at in drawn])
        known = torch.cat([self.model.ends(part) for part in torch.split(tokenized(texts), 500)])
        self.model.text.text_projection.copy_(
            torch.linalg.lstsq(known, self.places[drawn]).solution
        )

    def losses(self) -> Tensor:
        """Sum of the losses of one batch."""
        batch = self.material.batch()
        others = torch.from_numpy(self.random.choice(len(self.material.concepts), OTHER_NAMES))
        names = torch.unique(torch.cat([batch.targets, others]))
        words = [
            self.random.choice(min(teacher.MOST_EXPLAINED, len(self.phrases)), LIKELY),
            self.random.choice(len(self.phrases), WORDS),
        ]
        spoken = torch.cat([self.number[names], torch.from_numpy(np.concatenate(words))])
        texts = self.model.encode_texts(
            self.templates.around([self.phrases[int(at)] for at in spoken])
        )
        images = self.model.encode_features(batch.features)
        loss = MOVED * (1 - (texts * self.places[spoken]).sum(1)).mean()
        loss = loss + self.names_loss(batch, names, images, texts[: len(names)])
        return loss + CAPTIONS * self.captions_loss() if len(self.captioned) else loss

    def names_loss(self, batch: Batch, names: Tensor, images: Tensor, texts: Tensor) -> Tensor:
        """Cross-entropy over the names, but for those that are as true as the target.

        Real pictures do not push names away that have none: they would push these from all.
        """
        pictured = self.material.pictured[names]
        fixed = torch.where(pictured[:, None] > 0, texts, texts.detach())
        made = material.MADE
        cosines = torch.cat([images[:made] @ texts.T, images[made:] @ fixed.T])
        logits = self.model.logit_scale.exp() * cosines + PRIOR * pictured
        logits = logits.masked_fill(batch.excused[:, names], -1e4)
        return functional.cross_entropy(logits, torch.searchsorted(names, batch.targets))

    def captions_loss(self) -> Tensor:
        """CLIP's contrastive loss over some pictures and one caption of each."""
        shown = self.captioned[
            torch.randint(len(self.captioned), (CAPTIONED,), generator=self.material.generator)
        ]
        files = [self.material.files[int(at)] for at in shown]
        texts = self.model.encode_texts(
            [str(self.random.choice(self.captions[file])) for file in files]
        )
        images = self.model.encode_features(self.material.features[shown])
        again = (
            torch.tensor([[one == other for other in files] for one in files])
            & ~torch.eye(len(files)).bool()
        )
        logits = (self.model.logit_scale.exp() * images @ texts.T).masked_fill(again, -1e4)
        right = torch.arange(len(files))
        return (
            functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)
        ) / 2


def train(trainer: Trainer, checkpoints: Checkpoints) -> None:
    """Steps until the time is up; a checkpoint every minute."""
    optimizers = Optimizers(trainer.model)
    step = 0
    while (spent := checkpoints.spent()) < 1:
        loss = trainer.losses()
        torch.autograd.backward(loss)
        optimizers.step(step, spent)
        step += 1
        if checkpoints.save_now(trainer.model):
            used = f"{time.process_time():.0f} s of processor time"
            print(f"{step} steps, {used}, loss {loss.item():.3f}", flush=True)
    checkpoints.save(trainer.model)


if __name__ == "__main__":
    main()
