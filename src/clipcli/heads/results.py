"""What becomes of one image: `Prediction` or `Failure`."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipcli.errors import FailureCode, InputError
from clipcli.printable import valid_unicode

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


@dataclass(frozen=True, repr=False)
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
        answers: all labels that fit, best first, where each is judged on its own; else None.
        path: of the image's file, which is in no record; None where it has none.
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
    answers: tuple[str, ...] | None = None
    path: Path | None = field(default=None, compare=False, repr=False)

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

    def to_dict(self, top_k: int | None = None) -> dict[str, Any]:
        """The record that `--format json` writes, without the model; ready for JSON.

        Args:
            top_k: how many labels it holds; None for all.
        """
        predictions = [
            {
                "label": score.label,
                "probability": score.probability,
                "similarity": score.similarity,
            }
            for score in self.scores[:top_k]
        ]
        several = {} if self.answers is None else {"answers": list(self.answers)}
        scored = {"answer": self.answer, **several, "predictions": predictions}
        # Told of the few that they are true of.
        marks = {"doubt": self.doubt, "truncated": self.truncated, "novel": self.novel}
        told = {name: True for name, is_so in marks.items() if is_so}
        seen = {} if self.seen is None else {"seen": self.seen}
        return {**_fields(self.index, self.name), "status": "ok", **scored, **told, **seen}

    def __repr__(self) -> str:
        """The answer, and how sure it is."""
        figure = f", {self.best.probability:.4f}" if self.scores else ""
        return f"Prediction({self.name!r}: {self.answer!r}{figure})"

    def _repr_html_(self) -> str:
        from clipcli.heads.notebook import bars_html

        title = "unknown" if self.answer is None else self.answer
        scores = [(one.label, one.probability, one.similarity) for one in self.scores]
        return bars_html(title, self.name, scores)


@dataclass(frozen=True)
class Failure:
    """One image that could not be classified.

    Attributes:
        index: position in the input order, from 0.
        name: the input as the user gave it.
        code: what kind of failure it is.
        message: the reason and, where there is one, the way out.
        path: as a prediction's.
    """

    index: int
    name: str
    code: FailureCode
    message: str
    path: Path | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, ref: ImageRef, error: InputError) -> Failure:
        """The failure of one image to be read or used."""
        return cls(ref.index, ref.name, error.code, error.message, ref.path)

    def to_dict(self) -> dict[str, Any]:
        """The record that `--format json` writes, without the model; ready for JSON."""
        error = {"code": self.code.value, "message": self.message}
        return {**_fields(self.index, self.name), "status": "error", "error": error}


def _fields(index: int, name: str) -> dict[str, Any]:
    return {"index": index, **input_fields(name)}


def input_fields(name: str) -> dict[str, str]:
    """A name as JSON holds it: one that is not UTF-8 also in base64."""
    shown = valid_unicode(name)
    as_bytes = {} if shown == name else {"input_b64": base64.b64encode(os.fsencode(name)).decode()}
    return {"input": shown, **as_bytes}


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
