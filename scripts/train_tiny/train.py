"""Both trained parts together: the text tower live against the image projection.

Words without pictures keep their places: those that the model it starts from gives them.
"""

import argparse
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scripts.train_tiny import teacher, vocabulary
from scripts.train_tiny.material import Batch, Material, found, labelled, test_sets, training_rows
from scripts.train_tiny.measure import TEMPLATE, TestSet, accuracy, draws, similarities
from scripts.train_tiny.model import TinyClip, from_folder
from scripts.train_tiny.pictures import table

TEMPLATES = (
    "{}", "{}", "a {}", "the {}", "a photo of a {}", "a photo of a {}.", "a photo of a {}.",
    "a photo of the {}.", "a photo of {}", "a picture of a {}", "an image of a {}", "this is a {}",
    "a close-up photo of a {}.", "a blurry photo of a {}.", "{} photo", "a low resolution photo of a {}.",
    "a cropped photo of a {}.", "a photo of a small {}.", "a photo of one {}",
    "there is a {} in the picture", "a good photo of the {}.", "a snapshot of {}",
)
PRIOR = float(os.environ.get("PRIOR", "2"))
KEEP_WORDS = float(os.environ.get("KW", "4"))
KEEP_NAMES = float(os.environ.get("KN", "0.5"))
KEEP_PICTURES = float(os.environ.get("KP", "1"))
CAPTION = 0.3


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "work", "wheels", "start"):
        options.add_argument(f"--{name}", type=Path, required=True)
    options.add_argument("--seconds", type=float, default=1500)
    options.add_argument("--seed", type=int, default=5)
    options.add_argument("--resume", type=Path)
    options.add_argument("--out", default="trained.pt")
    given = options.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(given.seed)
    known = found(given.data, given.work, table())
    training = [(one, views) for one, views in known if one.row in set(training_rows())]
    embeddings = teacher.load(given.work)
    material = Material(given.wheels, labelled(given.data, training), embeddings, given.seed)
    captions = vocabulary.captions(given.data)
    base = from_folder(given.start).eval()
    model = from_folder(given.start)
    if given.resume:
        model.load_state_dict(torch.load(given.resume))
    unseen = {row.names[0] for row in table()} - set(material.concepts)
    words = [word for word in embeddings if word not in material.number and len(word) <= 32 and word not in unseen]
    trainer = Trainer(model, base, material, words, captions, given.seconds)
    trainer.run(test_sets(known), given.work / given.out)


class Trainer:
    def __init__(self, model: TinyClip, base: TinyClip, material: Material, words: list[str], captions, seconds: float) -> None:
        self.model, self.base, self.material, self.seconds = model, base, material, seconds
        self.captions = captions
        self.random = np.random.default_rng(material.random.integers(2**31))
        self.words = words
        user = set(vocabulary.user_words())
        self.user = [word for word in words if word in user]
        with torch.no_grad():
            self.name_places = encoded(base, material.concepts)
            some = [self.words[at] for at in self.random.choice(len(words), min(len(words), 1500), replace=False)]
            self.keep = list(dict.fromkeys(self.user + some))
            self.word_places = encoded(base, self.keep)
        self.pictured = torch.zeros(len(material.concepts))
        self.pictured[sorted({name for names in material.names for name in names})] = 1
        self.captioned = torch.tensor([at for at, file in enumerate(material.files) if file])
        big = model.text.token_embedding
        big.sparse = True
        rest = [p for n, p in model.text.named_parameters() if p is not big.weight]
        lr = float(os.environ.get("LR", "1"))
        self.dense = torch.optim.AdamW([
            {"params": rest, "base": 1.0e-3 * lr, "weight_decay": 0.01},
            {"params": model.projection.parameters(), "base": 2e-4 * lr, "weight_decay": 0.0},
            {"params": [model.logit_scale], "base": 2e-3, "weight_decay": 0},
        ], lr=1e-3, betas=(0.9, 0.98))
        self.sparse = torch.optim.SparseAdam([{"params": [big.weight], "base": 1.2e-3 * lr}], lr=1e-3, betas=(0.9, 0.98))
        self.rest = rest

    def form(self, words: list[str]) -> list[str]:
        return [TEMPLATES[self.random.integers(len(TEMPLATES))].format(word) if self.random.random() < 0.6 else word for word in words]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        m, mat = self.model, self.material
        names = torch.unique(torch.cat([batch.targets, torch.from_numpy(self.random.choice(len(mat.concepts), 110))]))
        kept = np.concatenate([self.random.choice(len(self.keep), 36), self.random.choice(len(self.user), 8)])
        texts = m.encode_texts(self.form([mat.concepts[int(at)] for at in names]) + self.form([self.keep[at] for at in kept]))
        name_texts, kept_texts = texts[: len(names)], texts[len(names) :]
        images = m.encode_features(batch.features)
        scale = m.logit_scale.exp()
        logits = scale * images @ name_texts.T + PRIOR * self.pictured[names]
        logits = logits.masked_fill(batch.excused[:, names], -1e4)
        out = {"names": functional.cross_entropy(logits, torch.searchsorted(names, batch.targets))}
        out["words"] = KEEP_WORDS * (1 - (kept_texts * self.word_places[kept]).sum(1)).mean()
        out["keep"] = KEEP_NAMES * (1 - (name_texts * self.name_places[names]).sum(1)).mean()
        if KEEP_PICTURES:
            with torch.no_grad():
                before = (26 * self.base.encode_features(batch.features) @ self.word_places.T[:, :1000]).softmax(1)
            now = (26 * images @ self.word_places.T[:, :1000]).log_softmax(1)
            out["pictures"] = KEEP_PICTURES * functional.kl_div(now, before, reduction="batchmean")
        if len(self.captioned):
            shown = self.captioned[torch.randint(len(self.captioned), (12,), generator=mat.generator)]
            said = m.encode_texts([self.random.choice(self.captions[mat.files[int(at)]]) for at in shown], 2)
            pairs = scale * m.encode_features(mat.features[shown]) @ said.T
            same = torch.tensor([[mat.files[int(a)] == mat.files[int(b)] and a != b for b in shown] for a in shown])
            pairs = pairs.masked_fill(same, -1e4)
            here = torch.arange(len(shown))
            out["captions"] = CAPTION * (functional.cross_entropy(pairs, here) + functional.cross_entropy(pairs.T, here)) / 2
        return out

    def run(self, tests: list[TestSet], file: Path) -> None:
        began, sums = time.time(), {}
        print("start", flush=True)
        saved = began
        step = 0
        while (spent := (time.time() - began) / self.seconds) < 1:
            rate = min(1, (step + 1) / 30) * (0.5 * (1 + math.cos(math.pi * spent)) * 0.98 + 0.02)
            for group in self.dense.param_groups + self.sparse.param_groups:
                group["lr"] = group["base"] * rate
            losses = self.losses(self.material.batch(made=110, shown=120, judged=24))
            sum(losses.values()).backward()
            torch.nn.utils.clip_grad_norm_(self.rest, 1.0)
            for optimizer in (self.dense, self.sparse):
                optimizer.step()
                optimizer.zero_grad()
            for name, value in losses.items():
                sums[name] = 0.98 * sums.get(name, value.item()) + 0.02 * value.item()
            step += 1
            over = time.time() - began > self.seconds
            if step % 20 == 0 or over:
                print(step, {k: round(v, 3) for k, v in sums.items()}, "scale", round(self.model.logit_scale.exp().item(), 1), f"{time.time()-began:.0f}s cpu {time.process_time():.0f}", flush=True)
            if time.time() - saved > 60 or over:
                saved = time.time()
                torch.save(self.model.state_dict(), str(file) + "_")
                os.replace(str(file) + "_", file)
        print(self.report(tests), flush=True)

    @torch.no_grad()
    def report(self, tests: list[TestSet]) -> dict[str, float]:
        result = {}
        for test in tests:
            cosines = similarities(test, lambda f: self.model.encode_features(torch.from_numpy(f)).numpy(), lambda t: self.model.encode_texts(t).numpy())
            result[test.name.replace("caltech101", "c")] = round(100 * accuracy(draws(test, cosines, 4)), 1)
        return result


def encoded(model: TinyClip, words: list[str]) -> Tensor:
    return torch.cat([model.encode_texts([TEMPLATE.format(word) for word in words[at : at + 512]]) for at in range(0, len(words), 512)])


if __name__ == "__main__":
    main()
