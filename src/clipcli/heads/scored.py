"""A block of scored images as columns: what is not looked at alone never becomes an object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from clipcli.arrays import Float64
from clipcli.errors import InputError
from clipcli.heads.results import Failure, LabelScore, Prediction, Result

if TYPE_CHECKING:
    from clipcli.images.sources import ImageRef
    from clipcli.images.views import Sight


@dataclass(frozen=True, eq=False)
class ScoredBlock(Sequence[Result]):
    """The results of n images, each made when it is asked for.

    Attributes:
        refs: n images.
        labels: L names.
        places: of the k best labels of each image, shape (n, k), best first.
        probabilities: theirs, shape (n, k).
        similarities: theirs, shape (n, k).
        is_known: whether the best label is an answer, shape (n,).
        is_doubtful: whether no label fits well, shape (n,).
        failures: why an image has no result, by its place; its row means nothing.
        sights: how an image was seen, by its place, where that is worth telling.
        margins: how far each label is above its threshold, shape (n, L), where several may fit.
        is_novel: whether an image is like none of an adapter's, shape (n,), where that is asked.
    """

    refs: Sequence[ImageRef]
    labels: tuple[str, ...]
    places: NDArray[np.intp]
    probabilities: Float64
    similarities: Float64
    is_known: NDArray[np.bool_]
    is_doubtful: NDArray[np.bool_]
    failures: Mapping[int, InputError] = field(default_factory=dict)
    sights: Mapping[int, Sight] = field(default_factory=dict)
    margins: Float64 | None = None
    is_novel: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        """How many images these are."""
        return len(self.refs)

    @overload
    def __getitem__(self, place: int) -> Result: ...

    @overload
    def __getitem__(self, place: slice) -> list[Result]: ...

    def __getitem__(self, place: int | slice) -> Result | list[Result]:
        """One image's result, or those of several."""
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        error = self.failures.get(place)
        return self.prediction(place) if error is None else Failure.of(self.refs[place], error)

    def __iter__(self) -> Iterator[Result]:
        """The results, in their order."""
        return (self[place] for place in range(len(self)))

    def prediction(self, place: int) -> Prediction:
        """The scores of an image that has not failed."""
        ref = self.refs[place]
        columns = (self.places[place], self.probabilities[place], self.similarities[place])
        scores = tuple(
            LabelScore(self.labels[label], probability, similarity)
            for label, probability, similarity in zip(*(c.tolist() for c in columns), strict=True)
        )
        answer = scores[0].label if self.is_known[place] else None
        is_doubtful = bool(self.is_doubtful[place])
        found = Prediction(
            ref.index,
            ref.name,
            scores,
            answer,
            is_doubtful,
            novel=self.is_novel is not None and bool(self.is_novel[place]),
            answers=self._answers(place),
            path=ref.path,
        )
        return found.at(self.sights.get(place))

    def _answers(self, place: int) -> tuple[str, ...] | None:
        if self.margins is None:
            return None
        margins = self.margins[place]
        order = np.argsort(-margins, kind="stable")
        is_any = self.is_known[place]
        return tuple(self.labels[label] for label in order if is_any and margins[label] >= 0)


def best_places(values: Float64, count: int) -> NDArray[np.intp]:
    """Where the largest values of each row are, largest first; of equal ones the first.

    Args:
        values: shape (n, m), none of them NaN.
        count: how many are wanted of each row.

    Returns:
        Places, shape (n, min(count, m)).
    """
    width = values.shape[1]
    order: NDArray[np.intp]
    if count == 1:
        order = values.argmax(axis=1)
        return order[:, None]
    if count >= width:
        order = np.argsort(-values, axis=1, kind="stable")
        return order
    least = np.partition(values, width - count, axis=1)[:, width - count, None]
    is_chosen = values >= least
    if np.count_nonzero(is_chosen) > count * len(values):
        # Some are as good as the last one that is wanted: there is room for the first of these.
        equal = values == least
        room = count - np.count_nonzero(values > least, axis=1, keepdims=True)
        is_chosen &= ~(equal & (equal.cumsum(axis=1) > room))
    places = np.nonzero(is_chosen)[1].reshape(len(values), count)
    order = np.argsort(-np.take_along_axis(values, places, axis=1), axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1)
