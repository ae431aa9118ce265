"""Both trained parts together: the text tower live against the image projection.

Words without pictures keep the places that the starting model gives them.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from scripts.train_tiny import teacher, vocabulary
from scripts.train_tiny.arguments import parser
from scripts.train_tiny.checkpoints import Checkpoints
from scripts.train_tiny.evaluate import measured
from scripts.train_tiny.material import UNSEEN, Batch, Material, found, labelled, test_sets
from scripts.train_tiny.measure import accuracy
from scripts.train_tiny.model import TinyClip, encoded, from_folder
from scripts.train_tiny.pictures import table
from scripts.train_tiny.schedule import Optimizers
from scripts.train_tiny.templates import Templates

PRIOR = 5.0
"""Added to the logits of names that have pictures, in training only.

Such names need that much less to win, and afterwards, without it, do not draw pictures away from
words that have none (logit adjustment, Menon et al. 2021).
"""
KEPT_WORDS, KEPT_NAMES, KEPT_PICTURES, CAPTIONS = 4.0, 0.5, 2.0, 0.3
"""Weights of the losses beside the names' own."""
BASE_SCALE = 26.0
"""Logit scale at which pictures keep their likeness to words without pictures."""
OTHER_NAMES, WORDS, USER_WORDS, CAPTIONED = 110, 36, 8, 12
"""How many of each are in a step."""
KEPT = 1500
"""How many words without pictures keep their places, beside the users'."""


def main() -> None:
    """Runs the script."""
    options = parser(__doc__, "data", "work", "wheels")
    options.add_argument(
        "--start", type=Path, required=True, metavar="FOLDER", help="open_clip folder to start from"
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
    material = Material(given.wheels, shown, teacher.load(given.work), given.seed)
    trainer = Trainer(
        from_folder(given.start),
        material,
        Kept.of(from_folder(given.start), material),
        vocabulary.captions(given.data),
    )
    train(trainer, Checkpoints(given.work / given.checkpoint, given.seconds))
    for test, _, ten in measured(trainer.model, test_sets(known)):
        print(f"{test.name}: {100 * accuracy(ten):.1f} % among ten labels", flush=True)


@dataclass(frozen=True)
class Kept:
    """What the starting model says of words: of the names, and of words without pictures."""

    base: TinyClip
    names: Tensor
    words: list[str]
    places: Tensor
    user: NDArray[np.int64]

    @classmethod
    def of(cls, base: TinyClip, material: Material) -> "Kept":
        """Draws the words whose places are kept; users' words among them, kept-out labels not."""
        held = {row.names[0] for row in table() if row.set == UNSEEN}
        free = [
            word
            for word in material.embeddings
            if word not in material.number
            and word not in held
            and len(word) <= vocabulary.LONGEST_WORD
        ]
        drawn = material.random.choice(len(free), min(len(free), KEPT), replace=False)
        known = set(free)
        user = [word for word in vocabulary.user_words() if word in known]
        words = list(dict.fromkeys(user + [free[at] for at in drawn]))
        with torch.no_grad():
            return cls(
                base,
                encoded(base, material.concepts),
                words,
                encoded(base, words),
                np.arange(len(user)),
            )


class Trainer:
    """The losses of a batch."""

    def __init__(
        self, model: TinyClip, material: Material, kept: Kept, captions: dict[str, list[str]]
    ) -> None:
        self.model, self.material, self.kept, self.captions = model, material, kept, captions
        self.random = material.random
        self.templates = Templates(material.random)
        self.captioned = torch.tensor([at for at, file in enumerate(material.files) if file])

    def losses(self) -> Tensor:
        """Sum of the losses of one batch."""
        batch = self.material.batch()
        others = torch.from_numpy(self.random.choice(len(self.material.concepts), OTHER_NAMES))
        names = torch.unique(torch.cat([batch.targets, others]))
        words = np.concatenate(
            [
                self.random.choice(len(self.kept.words), WORDS),
                self.random.choice(self.kept.user, USER_WORDS),
            ]
        )
        spoken = [self.material.concepts[int(at)] for at in names] + [
            self.kept.words[int(at)] for at in words
        ]
        texts = self.model.encode_texts(self.templates.around(spoken))
        of_names, of_words = texts[: len(names)], texts[len(names) :]
        images = self.model.encode_features(batch.features)
        loss = self.names_loss(batch, names, images @ of_names.T)
        loss = loss + KEPT_WORDS * moved(of_words, self.kept.places[words])
        loss = loss + KEPT_NAMES * moved(of_names, self.kept.names[names])
        loss = loss + KEPT_PICTURES * self.likeness_loss(batch, images)
        return loss + CAPTIONS * self.captions_loss() if len(self.captioned) else loss

    def names_loss(self, batch: Batch, names: Tensor, cosines: Tensor) -> Tensor:
        """Cross-entropy over the names, but for those that are as true as the target."""
        logits = self.model.logit_scale.exp() * cosines + PRIOR * self.material.pictured[names]
        logits = logits.masked_fill(batch.excused[:, names], -1e4)
        return functional.cross_entropy(logits, torch.searchsorted(names, batch.targets))

    def likeness_loss(self, batch: Batch, images: Tensor) -> Tensor:
        """How far the pictures' likeness to words without pictures has moved."""
        with torch.no_grad():
            before = (
                BASE_SCALE * self.kept.base.encode_features(batch.features) @ self.kept.places.T
            ).softmax(1)
        now = (BASE_SCALE * images @ self.kept.places.T).log_softmax(1)
        return functional.kl_div(now, before, reduction="batchmean")

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


def moved(places: Tensor, before: Tensor) -> Tensor:
    """Mean of one minus the cosine."""
    return (1 - (places * before).sum(1)).mean()


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
