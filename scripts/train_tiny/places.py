"""Where each phrase is to be in the joint space: a linear map of the teacher's embeddings, learned with
the image projection. The text tower then learns these places, also of words without pictures."""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.train_tiny import teacher
from scripts.train_tiny.material import Material, found, labelled, test_sets, training_rows
from scripts.train_tiny.measure import TEMPLATE, accuracy, all_labels, draws, similarities
from scripts.train_tiny.model import DIMENSIONS, TinyClip, from_folder
from scripts.train_tiny.pictures import table

class Map(nn.Module):
    """Teacher's embeddings (n, 384) -> places (n, 256), unit rows."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())

    def forward(self, embeddings: Tensor) -> Tensor:
        return functional.normalize(embeddings @ self.weight.T + self.bias, dim=-1)


def fitted(model: TinyClip, phrases: list[str], embeddings: Tensor, ridge: float = 0.02) -> Map:
    """The map that is nearest, by ridge regression, to where a model has the phrases."""
    with torch.no_grad():
        places = torch.cat([model.encode_texts([TEMPLATE.format(one) for one in phrases[at : at + 512]]) for at in range(0, len(phrases), 512)])
    mean, middle = embeddings.mean(0), places.mean(0)
    centred = embeddings - mean
    gram = centred.T @ centred
    solved = torch.linalg.solve(gram + ridge * gram.diagonal().mean() * torch.eye(len(gram)), centred.T @ (places - middle))
    return Map(solved.T, middle - mean @ solved)


def principal(embeddings: Tensor, power: float = 0.7) -> Map:
    """The directions in which the concepts' embeddings differ most, the weaker ones raised."""
    mean = embeddings.mean(0)
    _, sizes, directions = torch.linalg.svd(embeddings - mean, full_matrices=False)
    weight = directions[:DIMENSIONS] * ((sizes[0] / sizes[:DIMENSIONS]) ** power)[:, None]
    weight = weight / weight.norm() * 16
    return Map(weight, -(weight @ mean))
