"""What the machine has: CUDA, found without importing torch, and processors."""

import ctypes
import os
import re
import subprocess
import sys
from importlib.machinery import ModuleSpec

import pytest

from clipcli.engines import hardware


class Driver:
    """A CUDA driver that finds so many devices, or fails to start."""

    def __init__(self, devices=1, start=0, count=0, version=13000):
        self.devices, self.start, self.count = devices, start, count
        self.version = version

    def cuInit(self, flags):  # noqa: N802  the driver's own name
        return self.start

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = self.devices
        return self.count

    def cuDriverGetVersion(self, version):  # noqa: N802
        version._obj.value = self.version
        return 0


@pytest.fixture
def torch_build(tmp_path, monkeypatch):
    """Pretends that torch is installed with this version file, or not at all (None)."""

    def pretend(version_file):
        spec = ModuleSpec("torch", None, origin=str(tmp_path / "__init__.py"))
        if version_file:
            (tmp_path / "version.py").write_text(version_file)
        monkeypatch.setattr(hardware, "find_spec", lambda _: None if version_file is None else spec)

    return pretend


@pytest.fixture
def driver(monkeypatch):
    def pretend(found):
        def load(name):
            if found is None:
                raise OSError(f"{name}: cannot open shared object file")
            return found

        monkeypatch.setattr(ctypes, "CDLL", load)

    return pretend


@pytest.fixture(autouse=True)
def _forget():
    hardware.cuda_available.cache_clear()
    yield
    hardware.cuda_available.cache_clear()


CUDA_BUILD = "cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n"


@pytest.mark.parametrize(
    ("version_file", "expected"),
    [
        (CUDA_BUILD, True),
        ("cuda = '11.8'\n", True),
        ('cuda: "str | None" = "12.4"\n', True),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '6.0'\n", False),
        ("cuda = None\n", False),
        ("# cuda = '11.8'\n__version__ = '2.10+cpu'\n", False),
        ("", False),
        (None, False),
    ],
)
def test_only_a_cuda_build_of_torch_counts(torch_build, driver, version_file, expected):
    torch_build(version_file)
    driver(Driver())
    assert hardware.cuda_available() is expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, False),
        (Driver(devices=1), True),
        (Driver(devices=8), True),
        (Driver(devices=0), False),
        (Driver(start=100), False),
        (Driver(count=3), False),
    ],
    ids=["no-driver", "one", "eight", "none-visible", "does-not-start", "does-not-count"],
)
def test_only_a_driver_with_a_visible_device_counts(torch_build, driver, found, expected):
    torch_build(CUDA_BUILD)
    driver(found)
    assert hardware.cuda_available() is expected


@pytest.mark.parametrize(
    ("build", "version", "words"),
    [
        ("13.0", 13000, ""),
        ("13.2", 13000, ""),  # one major version is one
        ("12.8", 13020, ""),
        ("11.8", 12080, ""),
        ("13.0", 12080, r"too old: it serves CUDA 12\.8, .* for 13\.0; .* a torch for CUDA 12$"),
        ("12.6", 11080, r"too old: it serves CUDA 11\.8, .* for 12\.6; .* a torch for CUDA 11$"),
        ("13.0", 0, ""),
    ],
)
def test_a_driver_too_old_does_not_count_and_is_told(torch_build, driver, build, version, words):
    torch_build(f"cuda: Optional[str] = '{build}'\n")
    driver(Driver(version=version))
    assert re.search(words, hardware.cuda_trouble())
    assert bool(hardware.cuda_trouble()) is bool(words)
    assert hardware.cuda_available() is not bool(words)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Driver(start=803), r"does not start \(CUDA error 803\)"),
        (Driver(start=999), r"does not start \(CUDA error 999\)"),
        (Driver(start=100), ""),
        (Driver(start=34), ""),
        (Driver(devices=0), ""),
        (None, ""),
    ],
)
def test_a_driver_that_does_not_start_is_told_and_none_is_not(torch_build, driver, found, words):
    torch_build(CUDA_BUILD)
    driver(found)
    assert re.fullmatch(f".*{words}" if words else "", hardware.cuda_trouble())
    assert hardware.cuda_available() is False


def test_a_driver_that_does_not_say_its_version_serves(torch_build, driver, monkeypatch):
    monkeypatch.delattr(Driver, "cuDriverGetVersion")
    torch_build(CUDA_BUILD)
    driver(Driver())
    assert hardware.cuda_available() is True


def test_the_driver_is_not_touched_for_a_cpu_build(torch_build, monkeypatch):
    torch_build("cuda = None\n")
    monkeypatch.setattr(ctypes, "CDLL", pytest.fail)
    assert hardware.cuda_available() is False


def test_the_answer_is_torchs_own_and_costs_no_import_of_torch():
    code = (
        "import sys; from clipcli.engines.hardware import cuda_available\n"
        "found = cuda_available()\n"
        "assert 'torch' not in sys.modules\n"
        "import torch; assert found == torch.cuda.is_available()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (run.returncode, run.stderr) == (0, b"")


# How many processors, and how much memory: bounded by control groups


@pytest.mark.parametrize(("quota", "expected"), [(None, 8), (2, 2), (1, 1), (16, 8)])
def test_the_quota_bounds_the_affinity(monkeypatch, quota, expected):
    monkeypatch.setattr(hardware, "cpu_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert hardware.available_cpus() == expected


@pytest.mark.parametrize(("count", "expected"), [(3, 3), (None, 1)])
def test_without_affinities_the_machines_processors_count(monkeypatch, count, expected):
    monkeypatch.setattr(hardware, "cpu_quota", lambda: None)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert hardware.available_cpus() == expected


@pytest.mark.parametrize(
    ("machine", "groups", "process", "expected"),
    [
        (8, None, [], 8),
        (8, 5, [], 5),
        (8, 16, [], 8),
        (8, 5, [3, 7], 3),
        (None, None, [], None),
        (None, 5, [], 5),
    ],
)
def test_the_lowest_limit_of_memory_counts(monkeypatch, machine, groups, process, expected):
    monkeypatch.setattr(hardware, "_machine_memory", lambda: machine)
    monkeypatch.setattr(hardware, "memory_limit", lambda: groups)
    monkeypatch.setattr(hardware, "_process_limits", lambda: process)
    assert hardware.available_memory() == expected


def test_ulimit_bounds_the_memory():
    code = "import resource; from clipcli.engines.hardware import available_memory as memory\n"
    code += "resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29)); print(memory())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert 0 < int(run.stdout) <= 1 << 29
