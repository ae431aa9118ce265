"""Blocks of results are written as their results are, one by one."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest

from clipcli.errors import FailureCode, InputError
from clipcli.heads.results import ScoreOptions
from clipcli.heads.scored import ScoredBlock
from clipcli.heads.zero_shot import ZeroShotHead
from clipcli.images.sources import ImageRef
from clipcli.images.stored import StoredRefs
from clipcli.images.views import Sight
from clipcli.outputs.blocks import write_results
from clipcli.outputs.writers import FORMATS, OutputOptions

NAMES = [
    "plain.png",
    "two\nlines\tand a tab",
    "back\\slash",
    '"quoted", and a comma',
    "=1+1",
    "café ☃.png",
    os.fsdecode(b"\xff\xfe.png"),
    "\x1b]0;owned\x07\u202e",
    "",
    "a\0b",
    "'",
]
LABELS = ("cat", "=2+3", "ein\nHund\\", "\u202eX", '"a", b', "ö", "cat 2")


def scored(names: list[str], options: ScoreOptions, **changes: object) -> ScoredBlock:
    rng = np.random.default_rng(len(names))
    rows = rng.standard_normal((len(names) + len(LABELS), 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels, images = rows[: len(LABELS)], rows[len(LABELS) :]
    labels[6] = labels[0]
    head = ZeroShotHead(LABELS, labels, 10.0, 0.0, "softmax", **changes)  # type: ignore[arg-type]
    refs = StoredRefs(names, range(3, 3 + 2 * len(names), 2))
    return head.score(refs, images, options)


def options(**changes: object) -> OutputOptions:
    return OutputOptions(LABELS, "tiny", "0123", 128, **changes)  # type: ignore[arg-type]


def written(name: str, results: object, how: OutputOptions) -> str:
    stream = io.StringIO(newline="")
    write_results(FORMATS[name](stream, how), results)  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("human", "json")])
@pytest.mark.parametrize("shown", [{}, {"top_k": 1}, {"top_k": 3}, {"top_k": 99}, {"raw": True}])
@pytest.mark.parametrize("kept", [None, 1, 5])
@pytest.mark.parametrize("limits", [{}, {"min_probability": 0.4}, {"min_similarity": 0.4}])
def test_a_block_is_written_as_its_results_are(name, shown, kept, limits):
    doubt = {"doubt_below": 0.3}
    for names in (NAMES, NAMES[:1], ["a.png", "b c.png"]):
        block = scored(names, ScoreOptions(kept, **limits), **doubt)
        assert written(name, block, options(**shown)) == written(name, [*block], options(**shown))


@pytest.mark.parametrize("name", FORMATS)
def test_failures_and_marks_of_a_block_are_written_too(name):
    block = scored(NAMES, ScoreOptions())
    cut = ScoredBlock(**{**vars(block), "sights": {0: Sight(truncated=True), 2: Sight(seen=0.25)}})
    assert written(name, cut, options()) == written(name, [*cut], options())
    failures = {1: InputError(FailureCode.NOT_FOUND, "no such file")}
    failed = ScoredBlock(**{**vars(block), "failures": failures})
    assert [result.index for result in failed] == [3 + 2 * place for place in range(len(NAMES))]
    assert written(name, failed, options()) == written(name, [*failed], options())


def test_a_block_is_a_sequence_of_results():
    block = scored(["a", "b", "c"], ScoreOptions(2))
    assert [result.name for result in block] == ["a", "b", "c"]
    assert block[-1] == block[2] == block[1:][1]
    assert len(block[0].scores) == 2
    with pytest.raises(IndexError):
        block[3]


def test_a_writer_made_of_another_writes_what_it_says():
    class Names(FORMATS["tsv"]):  # type: ignore[misc]
        def write(self, result):
            self.stream.write(result.name + "\n")

    stream = io.StringIO()
    write_results(Names(stream, options()), scored(["a", "b"], ScoreOptions()))
    assert stream.getvalue() == "a\nb\n"


def test_stored_names_are_images_without_a_source():
    refs = StoredRefs(["a", "b", "c"], [2, 4, 9])
    assert [*refs] == [ImageRef(2, "a", b""), ImageRef(4, "b", b""), ImageRef(9, "c", b"")]
    assert [*refs[1:]] == [*refs][1:]
