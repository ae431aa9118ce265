"""How good a model's answers are on pictures whose labels are known."""

from __future__ import annotations

from clipcli.evaluation.answers import Answers, answer
from clipcli.evaluation.comparison import Contender, Row, compare
from clipcli.evaluation.dataset import Dataset, read_dataset
from clipcli.evaluation.encoding import Encoded, encode_images
from clipcli.evaluation.evaluation import Evaluation, EvaluationOptions, evaluate

__all__ = [
    "Answers",
    "Contender",
    "Dataset",
    "Encoded",
    "Evaluation",
    "EvaluationOptions",
    "Row",
    "answer",
    "compare",
    "encode_images",
    "evaluate",
    "read_dataset",
]
