"""What becomes of one image: `Prediction` or `Failure`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from clipcli.errors import FailureCode, InputError

if TYPE_CHECKING:
    from clipcli.images.sources import ImageRef
    from clipcli.images.views import Sight


@dataclass(frozen=True)
class LabelScore:
    """How well one label fits one image.

    Attributes:
        label: as the user gave it.
        probability: in 0..1; over all labels they add up to 1 under softmax, not under sigmoid.
        similarity: cosine of the image's and the label's embeddings, in -1..1.
    """

    label: str
    probability: float
    similarity: float


@dataclass(frozen=True)
class Prediction:
    """One image, scored.

    Attributes:
        index: position in the input order, from 0.
        name: the input as the user gave it.
        scores: best first; of equal labels the one named first comes first.
        answer: the best label, or None where its probability or its similarity is below the wanted
            minimum.
        doubt: whether the best label fits no better than a strange word may, as far as the model
            has been measured, and nobody has said what similarity is wanted.
        truncated: whether the image's file is cut short, so that a part of it was grey.
        seen: the share of the image's area that was looked at, in 0..1, where that is less than
            half; None elsewhere.
        novel: whether the image is like none of an adapter's, so that there is no answer.
    """

    index: int
    name: str
    # A tuple, so that a prediction can be a key or in a set, as its other fields can.
    scores: tuple[LabelScore, ...]
    answer: str | None
    doubt: bool = False
    truncated: bool = False
    novel: bool = False
    seen: float | None = None

    def at(self, sight: Sight | None) -> Prediction:
        """The prediction, with what is to be told of how the image was seen, if anything is."""
        if sight is None or not sight.is_worth_telling:
            return self
        seen = sight.seen if sight.is_narrow else None
        return replace(self, truncated=sight.truncated, seen=seen)

    @property
    def best(self) -> LabelScore:
        """The best label with its score, whether or not it is the answer."""
        return self.scores[0]


@dataclass(frozen=True)
class Failure:
    """One image that could not be classified.

    Attributes:
        index: position in the input order, from 0.
        name: the input as the user gave it.
        code: what kind of failure it is.
        message: the reason and, where there is one, the way out.
    """

    index: int
    name: str
    code: FailureCode
    message: str

    @classmethod
    def of(cls, ref: ImageRef, error: InputError) -> Failure:
        """The failure of one image to be read or used."""
        return cls(ref.index, ref.name, error.code, error.message)


# Failures are values in the stream, not exceptions: one bad image is one record.
Result = Prediction | Failure


@dataclass(frozen=True)
class ScoreOptions:
    """What of the scores is kept, and when the answer is `unknown`.

    Attributes:
        top_k: how many labels a prediction holds; None for all.
        min_probability: below it the answer is unknown.
        min_similarity: of the best label's cosine; below it the answer is unknown, too.
    """

    # A million images with a thousand labels each would be kept for nothing but five of them.
    top_k: int | None = None
    min_probability: float = 0.0
    min_similarity: float = -1.0

    def is_known(self, best: LabelScore) -> bool:
        """Whether the best label is an answer."""
        return best.probability >= self.min_probability and best.similarity >= self.min_similarity
