"""An evaluation as JSON: every figure, for programs. Fields are only ever added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from clipcli.evaluation.comparison import TOP, Row
from clipcli.evaluation.evaluate import Evaluation
from clipcli.evaluation.intervals import DRAWS, LEVEL, SEED, Interval
from clipcli.evaluation.thresholds import Threshold
from clipcli.heads.results import Failure
from clipcli.images.dataset import Dataset
from clipcli.printable import valid_unicode


def record(rows: Sequence[Row], images: Dataset, failures: Sequence[Failure]) -> dict[str, Any]:
    """All figures of an evaluation, ready for JSON.

    Args:
        rows: one or more contenders.
        images: that were answered.
        failures: the images that were not.
    """
    first = rows[0].contender.evaluation
    return {
        "images": len(images.refs),
        "classes": list(images.classes),
        "labels": list(first.labels),
        "intervals": {
            "method": "percentile bootstrap",
            "level": LEVEL,
            "draws": DRAWS,
            # Whoever repeats the evaluation gets the same intervals, to the last digit.
            "seed": SEED,
        },
        "rows": [_row(row, images) for row in rows],
        # Of the first row.
        "answers": [_answer(first, images, place) for place in range(len(images.refs))],
        "failures": [
            {
                "index": failure.index,
                "input": valid_unicode(failure.name),
                "error": {"code": failure.code.value, "message": valid_unicode(failure.message)},
            }
            for failure in failures
        ],
    }


def _row(row: Row, images: Dataset) -> dict[str, Any]:
    contender, evaluation = row.contender, row.contender.evaluation
    return {
        "model": {"name": contender.model.name, "fingerprint": contender.model.fingerprint},
        "engine": contender.model.engine,
        "prompts": contender.prompts,
        "templates": list(contender.templates),
        "top1": _figure(evaluation.accuracy(), row.top1),
        "top5": _figure(evaluation.accuracy(TOP), row.top5),
        "mean_recall": _figure(evaluation.mean_recall, row.mean_recall),
        "difference": _figure(row.difference, row.difference_interval),
        "calibration_error": evaluation.calibration_error,
        "reliability": [asdict(one) for one in evaluation.reliability],
        "classes": [asdict(one) for one in evaluation.classes],
        "confusion": _confusion(evaluation),
        # Indexes of images, the surest answers first.
        "mistakes": [images.refs[place].index for place in evaluation.mistakes()],
        "temperature": _temperature(row),
        "thresholds": [
            {"target": target, **_threshold("min_probability", found)}
            for target, found in evaluation.thresholds.items()
        ],
        "similarity_thresholds": [
            {"target": target, **_threshold("min_similarity", found)}
            for target, found in evaluation.similarity_thresholds.items()
        ],
    }


def _figure(value: float | None, ends: Interval | None) -> dict[str, float | None] | None:
    if value is None:
        return None
    low, high = (None, None) if ends is None else (ends.low, ends.high)
    return {"value": value, "low": low, "high": high}


def _confusion(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Only what has happened: of a thousand labels' million pairs, a few thousand have."""
    pairs = np.argwhere(evaluation.confusion).tolist()
    return [
        {
            "label": evaluation.labels[true],
            "answer": evaluation.labels[given],
            "images": int(evaluation.confusion[true, given]),
        }
        for true, given in pairs
    ]


def _temperature(row: Row) -> dict[str, Any] | None:
    fitted = row.contender.evaluation.temperature
    if fitted is None:
        return None
    model = row.contender.model
    return {
        "value": fitted.value,
        "logit_scale": model.logit_scale / fitted.value,
        "logit_bias": model.logit_bias / fitted.value,
        "calibration_error": fitted.error,
        "held_out": None if fitted.trial is None else asdict(fitted.trial),
        "is_confirmed": fitted.is_confirmed,
    }


def _threshold(option: str, found: Threshold | None) -> dict[str, Any]:
    if found is None:
        return {option: None}
    return {
        option: found.value,
        "precision": found.precision,
        "coverage": found.coverage,
        "answered": found.answered,
        "right": found.right,
    }


def _answer(evaluation: Evaluation, images: Dataset, place: int) -> dict[str, Any]:
    answers, ref = evaluation.answers, images.refs[place]
    return {
        "index": ref.index,
        "input": valid_unicode(ref.name),
        "label": images.labels[place],
        "answer": evaluation.labels[answers.predicted[place]],
        "probability": float(answers.confidence[place]),
        "similarity": float(answers.similarity[place]),
        "rank": int(answers.ranks[place]) + 1,
    }
