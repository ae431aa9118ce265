"""Where each phrase is to be among the pictures' embeddings.

The principal directions of the classifier's weights span the space; a name of an ImageNet class has
the direction of its class, a broader name the mean of its classes'. What pictures show is learned.
Every other phrase is put where its meaning says: kernel ridge regression from the teacher's
embeddings of names, and of what a dictionary says of them, to the names' places.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from scripts.train_tiny import teacher
from scripts.train_tiny.material import Material
from scripts.train_tiny.model import DIMENSIONS

CONSTANT, KEPT = 0.5, 0.7
"""The last dimension, the same for all pictures: in terms of a picture's usual length, while places
are learned; and the share of it that is kept afterwards. Less moves strange words away from
pictures, and words that have none away from those that fit."""
IN_COMMON = 0.3
"""The last dimension of phrases while places are learned. Names that have pictures learn less of
it: so they do not draw the pictures of others."""
OF_OTHERS, OF_CLASSES = 0.17, 0.085
"""The same afterwards, of phrases without pictures; of names of ImageNet's classes, which need it
less. It must not make strange words liker to pictures than a fitting name is."""
WIDTH, RIDGE = 3.0, 0.1
"""Of the Gaussian kernel: factor on the squared distance; and what is added to its diagonal."""
FILE = "places.npz"


def projection(material: Material) -> tuple[Tensor, float]:
    """Principal directions (255, 1280) of the classifier, and the last dimension's constant."""
    directions = torch.linalg.svd(material.directions, full_matrices=False)[2][: DIMENSIONS - 1]
    lengths = ((material.features - material.mean) @ directions.T).norm(dim=1)
    return directions, CONSTANT * lengths.median().item()


def of_classes(material: Material, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Places (n, 255) of the concepts that are names of classes, own or broader; and which."""
    centres = functional.normalize(material.directions @ directions.T, dim=1)
    places = material.class_names.float().T @ centres
    known = material.class_names.any(0)
    return functional.normalize(places[known], dim=1), known


def completed(places: Tensor, constant: float) -> Tensor:
    """Places (n, 255) with the last dimension: unit rows (n, 256)."""
    last = torch.full((len(places), 1), constant)
    return functional.normalize(torch.cat([places, last], dim=1), dim=1)


def meanings(work: Path, phrases: list[str]) -> NDArray[np.float64]:
    """What the teacher says of phrases (n, 768): of themselves, and with their explanations."""
    plain = teacher.load(work / teacher.PHRASES)
    explained = plain | teacher.load(work / teacher.EXPLAINED)
    rows = [np.concatenate([plain[phrase], explained[phrase]]) for phrase in phrases]
    return np.stack(rows).astype(np.float64) / 2**0.5


class Regression:
    """Kernel ridge regression from meanings (n, 768) to places (n, 255), unit rows both."""

    def __init__(self, known: NDArray[np.float64], places: Tensor) -> None:
        self.known = known
        kernel = likeness(known, known) + RIDGE * np.eye(len(known))
        self.factors = np.linalg.solve(kernel, places.double().numpy())

    def places(self, meanings: NDArray[np.float64], at_once: int = 2048) -> Tensor:
        """Places of phrases."""
        parts = [meanings[first : first + at_once] for first in range(0, len(meanings), at_once)]
        rows = np.concatenate([likeness(part, self.known) @ self.factors for part in parts])
        return functional.normalize(torch.from_numpy(rows), dim=1).float()


def likeness(ones: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian kernel between unit rows, (n, m)."""
    likeness: NDArray[np.float64] = np.exp(-WIDTH * (2 - 2 * ones @ others.T))
    return likeness


def save(work: Path, phrases: list[str], **arrays: Tensor) -> None:
    """Writes `places.npz`."""
    tensors = {name: tensor.detach().numpy() for name, tensor in arrays.items()}
    np.savez(work / FILE, phrases=np.array(phrases), **tensors)  # type: ignore[arg-type]


def load(work: Path) -> tuple[list[str], dict[str, Tensor]]:
    """Phrases, and tensors: their `places` (n, 256); `weight`, `bias` and `scale` of the images."""
    with np.load(work / FILE) as saved:
        tensors = {name: torch.from_numpy(saved[name]) for name in saved.files if name != "phrases"}
        return saved["phrases"].tolist(), tensors
