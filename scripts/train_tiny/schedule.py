"""Optimizers and their learning rates: up in a few steps, then down a cosine as the time goes."""

import math

import torch

from scripts.train_tiny.model import TinyClip

TEXT, TOKENS, SCALE = 1.5e-3, 1.8e-3, 2e-3
"""Highest learning rates: text tower, token embeddings, logit scale."""
WARM_UP = 30
LOWEST = 0.02
BETAS = (0.9, 0.98)


class Optimizers:
    """AdamW, and for the token embeddings, of which a step touches few, its sparse kind."""

    def __init__(self, model: TinyClip) -> None:
        model.text.token_embedding.sparse = True
        tokens = model.text.token_embedding.weight
        self.tower = [one for one in model.text.parameters() if one is not tokens]
        groups = [
            {"params": self.tower, "highest": TEXT, "weight_decay": 0.01},
            {"params": [model.logit_scale], "highest": SCALE, "weight_decay": 0.0},
        ]
        self.all: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, betas=BETAS),
            torch.optim.SparseAdam([{"params": [tokens], "highest": TOKENS}], betas=BETAS),
        ]

    def step(self, number: int, spent: float) -> None:
        """One step, number `number` from 0, when `spent` of the time (0 to 1) has gone."""
        torch.nn.utils.clip_grad_norm_(self.tower, 1.0)
        for optimizer in self.all:
            for group in optimizer.param_groups:
                group["lr"] = group["highest"] * factor(number, spent)
            optimizer.step()
            optimizer.zero_grad()


def factor(number: int, spent: float) -> float:
    """Share of the highest learning rate."""
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, spent)))
    return min(1.0, (number + 1) / WARM_UP) * (LOWEST + (1 - LOWEST) * fall)
