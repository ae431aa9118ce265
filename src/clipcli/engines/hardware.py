"""What the machine has to compute with, found out without importing torch."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from clipcli.engines.cgroups import cpu_quota, memory_limit

_DRIVERS = ("nvcuda.dll",) if sys.platform == "win32" else ("libcuda.so.1",)
# Its line is `cuda: Optional[str] = '13.0'`, or without the annotation in older builds.
_CUDA_BUILD = re.compile(r"^cuda\s*(:[^=]+)?=\s*['\"](\d+)([\d.]*)", re.MULTILINE)
# cuInit's: no device is there (or visible), and a library that only stands in for the driver.
_NO_DEVICE = frozenset({100, 34})


@dataclass(frozen=True)
class _Driver:
    """What a CUDA driver says of itself.

    Attributes:
        error: why it does not start; 0 where it does.
        devices: that this process may see; the driver honours CUDA_VISIBLE_DEVICES itself.
        version: of CUDA that it serves, as in 13020 for 13.2; 0 where it does not say.
    """

    error: int
    devices: int = 0
    version: int = 0


@cache
def cuda_available() -> bool:
    """Whether there is a CUDA build of torch, a driver new enough, and a device it may see."""
    driver = _driver() if _cuda_build() else None
    return driver is not None and driver.devices > 0 and not cuda_trouble()


def cuda_trouble() -> str:
    """What keeps a driver from serving this torch, in words; empty where there is no such thing."""
    build = _cuda_build()
    driver = _driver() if build else None
    if build is None or driver is None or driver.error in _NO_DEVICE:
        return ""
    if driver.error:
        return f"the NVIDIA driver does not start (CUDA error {driver.error})"
    # Any driver serves its own major version (CUDA Compatibility, "Minor Version Compatibility").
    major, rest = build
    served, minor = divmod(driver.version, 1000)
    if driver.version == 0 or served >= major:
        return ""
    return (
        f"the NVIDIA driver is too old: it serves CUDA {served}.{minor // 10}, and this torch is"
        f" built for {major}{rest}; update it, or install a torch for CUDA {served}"
    )


def _cuda_build() -> tuple[int, str] | None:
    """The CUDA version in torch's own version file, `(13, ".0")`; a CPU build says None there."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    match = _CUDA_BUILD.search(text)
    return None if match is None else (int(match[2]), match[3])


def _driver() -> _Driver | None:
    """Ask the CUDA driver, if there is one."""
    import ctypes  # some milliseconds, for those who ask

    for name in _DRIVERS:
        try:
            driver = ctypes.CDLL(name)
        except OSError:
            continue
        error = driver.cuInit(0)  # 0 is CUDA_SUCCESS
        if error:
            return _Driver(error)
        count, version = ctypes.c_int(0), ctypes.c_int(0)
        counted = driver.cuDeviceGetCount(ctypes.byref(count)) == 0
        with suppress(AttributeError):  # a stand-in that does not have all of it
            driver.cuDriverGetVersion(ctypes.byref(version))
        return _Driver(0, count.value if counted else 0, version.value)
    return None


def available_cpus() -> int:
    """Processors that this process may use: its affinity, bounded by its control groups' quotas.

    A container's quota is not part of the affinity; more threads than the quota allows
    are throttled and run slower than fewer.

    Returns:
        A number of at least 1.
    """
    # os.process_cpu_count() is Python 3.13's; sched_getaffinity is Linux's.
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(count, cpu_quota() or count))


def available_memory() -> int | None:
    """Bytes that this process may have: the machine's, bounded by control groups and by ulimit.

    Returns:
        What there is in all, of which others may use a part; None where nothing tells it.
    """
    limits = [_machine_memory(), memory_limit(), *_process_limits()]
    return min((limit for limit in limits if limit), default=None)


def _machine_memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no such function
        return None


def _process_limits() -> list[int]:
    """What `ulimit -v` and `ulimit -d` leave to a process, where anything does."""
    if sys.platform == "win32":
        return []
    import resource

    kinds = resource.RLIMIT_AS, resource.RLIMIT_DATA
    soft = [resource.getrlimit(kind)[0] for kind in kinds]
    return [limit for limit in soft if limit != resource.RLIM_INFINITY]
