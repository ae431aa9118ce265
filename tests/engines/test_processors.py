"""How many processors: the affinity, bounded by the cgroup's quota."""

import os

import pytest

from clipcli.engines import hardware


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("1000 100000\n", 1),
        ("1600000 100000\n", 8),
        ("", 8),
        ("nonsense", 8),
        (None, 8),
    ],
)
def test_the_quota_bounds_the_affinity(monkeypatch, tmp_path, quota, expected):
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(quota)
    monkeypatch.setattr(hardware, "_CGROUP_QUOTA", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert hardware.available_cpus() == expected


@pytest.mark.parametrize(("count", "expected"), [(3, 3), (None, 1)])
def test_without_affinities_the_machines_processors_count(monkeypatch, tmp_path, count, expected):
    monkeypatch.setattr(hardware, "_CGROUP_QUOTA", tmp_path / "none")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert hardware.available_cpus() == expected
