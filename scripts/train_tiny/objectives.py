"""What training minimises."""

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

SMOOTHING = 0.08
RELATIONS_WEIGHT = 5.0

# So far below any logit that an excluded concept gets no probability.
EXCLUDED_LOGIT = -1e4


def concept_loss(logits: Tensor, excluded: Tensor, targets: Tensor) -> Tensor:
    """Return the cross entropy of pictures over concepts, with label smoothing.

    Args:
        logits: Shape (n, concepts): scaled similarities.
        excluded: Shape (n, concepts), bool: concepts that count neither as right nor as wrong.
            A picture's target counts whatever stands here.
        targets: Shape (n,), int64: the right concept's column.

    Returns:
        The mean over the pictures.
    """
    rows = torch.arange(len(targets))
    excluded = excluded.clone()
    excluded[rows, targets] = False
    log_probabilities = log_softmax(logits.masked_fill(excluded, EXCLUDED_LOGIT), 1)
    right = -log_probabilities[rows, targets]
    anything = -log_probabilities.masked_fill(excluded, 0).sum(1) / (~excluded).sum(1)
    return ((1 - SMOOTHING) * right + SMOOTHING * anything).mean()


def distance(embeddings: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean cosine distance of paired unit embeddings, each of shape (n, embed_dim)."""
    return (1 - (embeddings * wanted).sum(1)).mean()


def distillation_loss(embeddings: Tensor, wanted: Tensor) -> Tensor:
    """Return how far embeddings are from the wanted ones, and from their relations to each other.

    Args:
        embeddings: Shape (n, embed_dim), unit rows.
        wanted: The same shape, unit rows.
    """
    apart = distance(embeddings, wanted)
    relations = ((embeddings @ embeddings.T - wanted @ wanted.T) ** 2).mean()
    return apart + RELATIONS_WEIGHT * relations
