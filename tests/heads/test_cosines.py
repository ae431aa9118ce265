from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clipcli.heads.cosines import Cosines
from clipcli.heads.scored import best_places


def unit(count: int, width: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def exactly(row: np.ndarray, other: np.ndarray) -> Fraction:
    pairs = zip(row.tolist(), other.tolist(), strict=True)
    return sum((Fraction(a) * Fraction(b) for a, b in pairs), Fraction())


def spiked(width: int) -> np.ndarray:
    """Unit rows of all kinds: one number alone, all equal, tiny ones beside a large one."""
    rows = unit(6, width)
    rows[0] = np.eye(1, width)
    rows[1] = width**-0.5
    rows[2] = np.float32(1e-30)
    rows[2, 0] = -1
    rows[3] = np.geomspace(1, 1e-20, width)
    rows[3] /= np.linalg.norm(rows[3])
    return rows


@pytest.mark.parametrize("width", [1, 2, 3, 128, 512, 1024, 4096])
def test_cosines_are_those_of_exact_arithmetic_to_the_thirteenth_digit(width):
    rows, others = spiked(width), np.concatenate([spiked(width), -unit(3, width, 1)])
    found = Cosines(others).of(rows)
    for place, cosine in np.ndenumerate(found):
        assert abs(Fraction(cosine) - exactly(rows[place[0]], others[place[1]])) < 1e-13


@pytest.mark.parametrize("width", [1, 7, 512, 768])
@pytest.mark.parametrize("labels", [1, 2, 3, 31, 257])
def test_no_digit_depends_on_rows_beside_it_or_on_its_place(labels, width):
    rows, others = unit(1100, width), unit(labels, width, 1)
    found = Cosines(others).of(rows)
    for places in ([0], [1099], range(5, 38), range(1000, 1100), range(1099, -1, -3)):
        assert (Cosines(others).of(rows[list(places)]) == found[list(places)]).all()
    for label in {0, labels // 2, labels - 1}:
        assert (Cosines(others[label : label + 1]).of(rows)[:, 0] == found[:, label]).all()
    assert (Cosines(others[::-1]).of(rows)[:, ::-1] == found).all()


def test_equal_labels_tie_wherever_they_are():
    others = unit(130, 512)
    others[[64, 129]] = others[3]
    found = Cosines(others).of(unit(50, 512, 1))
    assert (found[:, [64, 129]] == found[:, [3]]).all()


DIGEST = """
import hashlib, numpy as np
from clipcli.heads.cosines import Cosines
rows = np.random.default_rng(0).standard_normal((3000, 512)).astype(np.float32)
rows /= np.linalg.norm(rows, axis=1, keepdims=True)
print(hashlib.sha256(Cosines(rows[:100]).of(rows).tobytes()).hexdigest())
"""


def test_no_digit_depends_on_threads_or_on_the_processors_kind():
    # OpenBLAS's own switches; other libraries pass them over, and agree all the same.
    machines = [("1", ""), ("2", ""), ("3", ""), ("1", "Haswell"), ("2", "Prescott")]
    found = set()
    for threads, kind in machines:
        env = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "OPENBLAS_CORETYPE": kind}
        command = [sys.executable, "-c", DIGEST]
        found.add(subprocess.run(command, env=env, capture_output=True, check=True).stdout)
    assert len(found) == 1


@given(
    arrays(
        np.float64, st.tuples(st.integers(0, 5), st.integers(1, 9)), elements=st.integers(-2, 2)
    ),
    st.integers(1, 10),
)
def test_the_best_places_are_those_of_a_stable_sort(values, count):
    expected = np.argsort(-values, axis=1, kind="stable")[:, :count]
    assert best_places(values, count).tolist() == expected.tolist()
