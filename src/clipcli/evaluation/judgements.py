"""Each image's result beside its true label, for reports that go through them one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from clipcli.arrays import Float32

if TYPE_CHECKING:
    from clipcli.heads.results import Failure, Result, ScoreOptions
    from clipcli.heads.zero_shot import ZeroShotHead
    from clipcli.images.dataset import Dataset

_IMAGES_AT_ONCE = 1024


def judgements(
    data: Dataset,
    failures: Mapping[int, Failure],
    head: ZeroShotHead,
    embeddings: Float32,
    options: ScoreOptions,
) -> Iterator[tuple[Result, str]]:
    """Go through a data set's images, in their order.

    Args:
        data: n images.
        failures: those that failed, by their places.
        head: the labels.
        embeddings: of all images, shape (n, embed_dim); a failure's row means nothing.
        options: what of the scores is kept.

    Yields:
        What became of each image, and the label that it should have.
    """
    for start in range(0, len(data.refs), _IMAGES_AT_ONCE):
        end = min(start + _IMAGES_AT_ONCE, len(data.refs))
        # Failures' rows, too: their scores are dropped, and places stay the same.
        scored = head.score(data.refs[start:end], embeddings[start:end], options)
        for place, result in enumerate(scored, start):
            yield failures.get(place, result), data.labels[place]
