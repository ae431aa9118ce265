"""What a zero-shot head answers for all images of a data set, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipcli.arrays import Float32, Float64

if TYPE_CHECKING:
    from clipcli.heads.zero_shot import ZeroShotHead

# In double precision, a thousand labels' worth of these is 8 MB.
_IMAGES_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers for n images. Labels are places in the head's order.

    Attributes:
        truth: the true label, shape (n,).
        predicted: the best label, shape (n,); of equal ones the one named first, as ever.
        ranks: how many labels are better than the true one, shape (n,).
        confidence: the best label's probability, shape (n,).
        similarity: its cosine, shape (n,).
    """

    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    ranks: NDArray[np.int64]
    confidence: Float64
    similarity: Float64

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the best label is the true one, shape (n,)."""
        return self.within(1)

    def within(self, k: int) -> NDArray[np.bool_]:
        """Whether the true label is among the k best, shape (n,)."""
        is_within: NDArray[np.bool_] = self.ranks < k
        return is_within


def answer(
    head: ZeroShotHead, embeddings: Float32, truth: NDArray[np.int64]
) -> tuple[Answers, Float32]:
    """Score images.

    Args:
        head: of L labels.
        embeddings: unit rows of shape (n, embed_dim).
        truth: the true labels' places in the head, shape (n,).

    Returns:
        The answers, and the logits that they come from, shape (n, L).
    """
    count = len(embeddings)
    predicted, ranks = np.empty(count, np.int64), np.empty(count, np.int64)
    confidence, similarity = np.empty(count), np.empty(count)
    logits = np.empty((count, len(head.labels)), np.float32)
    for start in range(0, count, _IMAGES_AT_ONCE):
        part = slice(start, start + _IMAGES_AT_ONCE)
        cosines, products = head.compare(embeddings[part])
        # By the product: far from the best, probabilities round to equal zeros.
        best = products.argmax(axis=1)
        predicted[part] = best
        ranks[part] = _ranks(products, truth[part])
        confidence[part] = head.probabilities(products).max(axis=1)
        similarity[part] = np.take_along_axis(cosines, best[:, None], axis=1)[:, 0]
        logits[part] = head.logit_scale * products + head.logit_bias
    return Answers(truth, predicted, ranks, confidence, similarity), logits


def _ranks(products: Float64, truth: NDArray[np.int64]) -> NDArray[np.int64]:
    own = np.take_along_axis(products, truth[:, None], axis=1)
    # Of equal labels the one named first is the better one, as `classify` shows them.
    is_earlier = np.arange(products.shape[1]) < truth[:, None]
    is_better = (products > own) | ((products == own) & is_earlier)
    ranks: NDArray[np.int64] = is_better.sum(axis=1)
    return ranks
