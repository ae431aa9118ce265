"""Stored rows, scored in blocks and threads, give what plain arithmetic gives row by row."""

from __future__ import annotations

import io
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from embeddings_files import unit, write

from clipcli.embeddings.files import open_embeddings
from clipcli.errors import UsageError
from clipcli.heads.results import ScoreOptions
from clipcli.heads.zero_shot import ZeroShotHead, sigmoid, softmax
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.outputs.blocks import write_results
from clipcli.outputs.writers import FORMATS, OutputOptions
from clipcli.runs.options import PipelineOptions
from clipcli.runs.rescore import EMBEDDINGS_AT_ONCE, rescore

CONFIG = PreprocessConfig((8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
ROWS, WIDTH, LABELS = 3 * EMBEDDINGS_AT_ONCE + 77, 48, 29


@pytest.fixture(scope="module", params=[".npz", ".parquet"])
def stored(request, tmp_path_factory) -> Path:
    names = [f"photos/{place:05} ä.jpg" for place in range(ROWS)]
    file = tmp_path_factory.mktemp("rows") / f"rows{request.param}"
    return write(file, names, unit(ROWS, WIDTH), at_once=1000)


def head(activation: str = "softmax") -> ZeroShotHead:
    labels = unit(LABELS, WIDTH)
    labels[[7, 20]] = labels[4]
    bias = -3.0 if activation == "sigmoid" else 0.0
    return ZeroShotHead(tuple(map(str, range(LABELS))), labels, 100.0, bias, activation)  # type: ignore[arg-type]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("top_k", [1, 5, None])
def test_labels_are_those_of_row_wise_double_precision_and_so_are_probabilities(
    stored, activation, top_k
):
    asked = head(activation)
    blocks = rescore(
        open_embeddings(stored), asked, CONFIG, PipelineOptions(scores=ScoreOptions(top_k))
    )
    results = [*chain.from_iterable(blocks)]
    assert [result.index for result in results] == [3 * place + 1 for place in range(ROWS)]
    texts = asked.embeddings.astype(np.float64)
    of_probabilities = softmax if activation == "softmax" else sigmoid
    for row, result in zip(unit(ROWS, WIDTH).astype(np.float64), results, strict=True):
        # Equal labels beside each other first, since a sum may round them apart.
        cosines = np.array([row @ text for text in texts])
        cosines[[7, 20]] = cosines[4]
        shares = of_probabilities(asked.logit_scale * cosines + asked.logit_bias)
        best = np.argsort(-cosines, kind="stable")[:top_k]
        assert [score.label for score in result.scores] == [str(place) for place in best]
        found = np.array([(score.probability, score.similarity) for score in result.scores])
        assert np.abs(found - np.stack([shares[best], cosines[best]], axis=1)).max() < 1e-9


def test_a_row_has_the_same_digits_in_whatever_file_it_is(stored, tmp_path):
    few = write(tmp_path / "few.npz", ["a", "b"], unit(ROWS, WIDTH)[[2000, 5]])
    shown = [
        [*chain.from_iterable(rescore(open_embeddings(file), head(), CONFIG, PipelineOptions()))]
        for file in (stored, few)
    ]
    assert [shown[0][place].scores for place in (2000, 5)] == [one.scores for one in shown[1]]


@pytest.mark.parametrize("name", ["tsv", "csv", "jsonl", "json"])
def test_what_is_written_of_blocks_is_what_is_written_of_each(stored, name):
    asked, texts = head(), []
    how = OutputOptions(asked.labels, "tiny", "0123", WIDTH)
    for split in (False, True):
        stream = io.StringIO(newline="")
        writer = FORMATS[name](stream, how)
        writer.begin()
        for block in rescore(open_embeddings(stored), asked, CONFIG, PipelineOptions()):
            write_results(writer, [*block] if split else block)
        writer.end()
        texts.append(stream.getvalue())
    assert texts[0] == texts[1]


def test_what_has_begun_is_given_when_a_stop_is_asked_for_and_no_more(stored):
    options = PipelineOptions()
    blocks = rescore(open_embeddings(stored), head(), CONFIG, options)
    first = next(blocks)
    options.stop.set()
    rest = [*chain.from_iterable(blocks)]
    assert len(first) == EMBEDDINGS_AT_ONCE
    assert [result.index for result in rest] == [
        3 * (EMBEDDINGS_AT_ONCE + place) + 1 for place in range(len(rest))
    ]


def test_a_damaged_block_ends_the_run_with_its_reason(tmp_path):
    rows = unit(ROWS, WIDTH)
    rows[2 * EMBEDDINGS_AT_ONCE + 3] *= 2
    file = write(tmp_path / "rows.npz", [str(place) for place in range(ROWS)], rows)
    with pytest.raises(UsageError, match="is not of length 1"):
        for _ in rescore(open_embeddings(file), head(), CONFIG, PipelineOptions()):
            pass
