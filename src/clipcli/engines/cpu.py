"""How many processors this process may use."""

import os
from pathlib import Path

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_cpus() -> int:
    """Processors that this process may use: its affinity, bounded by its cgroup's quota.

    A container's quota is not part of the affinity; more threads than the quota allows
    are throttled and run slower than fewer.

    Returns:
        A number of at least 1.
    """
    # os.process_cpu_count() is Python 3.13's; sched_getaffinity is Linux's.
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(count, _cgroup_quota() or count))


def _cgroup_quota() -> int | None:
    """Whole processors that the cgroup (version 2) grants, or None without a limit."""
    try:
        quota, period = _CGROUP_QUOTA.read_text().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):  # no cgroup, or "max"
        return None
