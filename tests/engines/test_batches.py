"""How large a batch may be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_engine import FakeEngine

from clipcli.engines import batches
from clipcli.engines.batches import check_batch_size, largest_batch
from clipcli.errors import UsageError

INFO = replace(FakeEngine().info, name="large", engine="torch 2 on cpu")
IMAGE = 3 * 8 * 8 * 4
GIGABYTE = 10**9


def test_the_larger_the_memory_the_larger_the_batch() -> None:
    assert largest_batch(INFO, GIGABYTE) * IMAGE < GIGABYTE
    assert largest_batch(INFO, 2 * GIGABYTE) > 1.9 * largest_batch(INFO, GIGABYTE)


def test_what_a_gpu_computes_takes_none_of_it() -> None:
    on_gpu = replace(INFO, engine="torch 2 on cuda:0")
    assert largest_batch(on_gpu, GIGABYTE) > largest_batch(INFO, GIGABYTE)


def test_the_default_is_never_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "available_memory", lambda: 1000)
    check_batch_size(32, INFO)


def test_a_batch_that_fits_is_taken_and_a_larger_one_is_told_which_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "available_memory", lambda: GIGABYTE)
    most = largest_batch(INFO, GIGABYTE)
    check_batch_size(most, INFO)
    with pytest.raises(UsageError, match=rf"1\.0 GB .* large: --batch-size {most} does"):
        check_batch_size(most + 1, INFO)


def test_where_nothing_tells_the_memory_any_batch_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "available_memory", lambda: None)
    check_batch_size(10**12, INFO)
