"""What the machine has to compute with, found out without importing torch."""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from clipcli.engines.cgroups import cpu_quota, memory_limit

_DRIVERS = ("nvcuda.dll",) if sys.platform == "win32" else ("libcuda.so.1",)
# Its line is `cuda: Optional[str] = '13.0'`, or without the annotation in older builds.
_CUDA_BUILD = re.compile(r"^cuda\s*(:[^=]+)?=\s*['\"]", re.MULTILINE)


@cache
def cuda_available() -> bool:
    """Whether there is a CUDA build of torch, a driver, and a device that it may see."""
    return _is_cuda_build() and _driver_devices() > 0


def _is_cuda_build() -> bool:
    """Whether torch's own version file names a CUDA version; a CPU build says None there."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return False
    return _CUDA_BUILD.search(text) is not None


def _driver_devices() -> int:
    """Devices that the driver shows this process; it honours CUDA_VISIBLE_DEVICES itself."""
    import ctypes  # some milliseconds, for those who ask

    for name in _DRIVERS:
        try:
            driver = ctypes.CDLL(name)
        except OSError:
            continue
        count = ctypes.c_int(0)
        # 0 is CUDA_SUCCESS; without a usable device cuInit itself fails.
        if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0:
            return count.value
    return 0


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
