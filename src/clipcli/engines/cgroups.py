"""What Linux' control groups, which containers are made of, grant this process.

A process is in one group of each hierarchy, and every group above it has limits of its own. Version
2 has one hierarchy for everything, version 1 one for each controller; a machine may have both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

_ROOT = Path("/")
# A line of proc_pid_mountinfo(5), where it is about control groups.
_MOUNT = re.compile(
    r"^\S+ \S+ \S+ (?P<top>\S+) (?P<folder>\S+) .*- (?P<kind>cgroup2?) \S+ (?P<options>\S+)$",
    re.MULTILINE,
)
_NUMBERS = re.compile(r"([0-9]+)\s+([1-9][0-9]*)\s*")
_ESCAPED = re.compile(r"\\([0-7]{3})")  # a space in a path is `\040`


def cpu_quota(root: Path = _ROOT) -> int | None:
    """Whole processors that the process's group and those above it grant; None without a limit.

    Args:
        root: of the file system, for tests.
    """
    return _lowest(_quota, "cpu", root)


def memory_limit(root: Path = _ROOT) -> int | None:
    """Bytes that the process's group and those above it grant; None without a limit.

    Args:
        root: of the file system, for tests.
    """
    return _lowest(_bytes, "memory", root)


def _lowest(read: Callable[[Path], int | None], controller: str, root: Path) -> int | None:
    limits = [limit for group in _groups(controller, root) if (limit := read(group)) is not None]
    return min(limits, default=None)


def _quota(group: Path) -> int | None:
    # Of version 2, else of version 1; no limit is `max` in one and -1 in the other.
    text = _read(group / "cpu.max") or " ".join(
        _read(group / f"cpu.cfs_{name}_us") for name in ("quota", "period")
    )
    numbers = _NUMBERS.fullmatch(text)
    # Part of a processor is one.
    return max(1, -(-int(numbers[1]) // int(numbers[2]))) if numbers else None


def _bytes(group: Path) -> int | None:
    # Above `high` a group is slowed down until it hardly moves.
    names = "memory.max", "memory.high", "memory.limit_in_bytes"
    words = [word for name in names for word in _read(group / name).split()]
    return min((int(word) for word in words if word.isdecimal()), default=None)


def _read(file: Path) -> str:
    """A file of the kernel's; empty where there is none."""
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


class _Mount(NamedTuple):
    """Where a hierarchy, or the part below one of its groups, is seen among the files."""

    kind: str
    controllers: list[str]
    top: str
    folder: str


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of the process's group, and of those above it, in all hierarchies."""
    for mount in _mounts(root):
        if mount.kind == "cgroup" and controller not in mount.controllers:
            continue
        group = _membership(controller if mount.kind == "cgroup" else "", root)
        inside = _inside(group, mount.top)
        for part in (inside, *inside.parents):
            yield root / mount.folder.lstrip("/") / part


def _mounts(root: Path) -> list[_Mount]:
    found = []
    for line in _MOUNT.finditer(_read(root / "proc/self/mountinfo")):
        top, folder = (_ESCAPED.sub(_character, line[name]) for name in ("top", "folder"))
        found.append(_Mount(line["kind"], line["options"].split(","), top, folder))
    # Where nothing is told of mounts, the usual place of version 2.
    return found or [_Mount("cgroup2", [], "/", "/sys/fs/cgroup")]


def _character(escaped: re.Match[str]) -> str:
    return chr(int(escaped[1], 8))


def _membership(controller: str, root: Path) -> str:
    """The group of a controller's hierarchy that the process is in; no controller: version 2."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controller in controllers.split(","):
            return group
    return "/"


def _inside(group: str, top: str) -> PurePosixPath:
    """A group's path below the one that is mounted; that itself where it is not below it."""
    try:
        inside = PurePosixPath(group).relative_to(top)
    except ValueError:
        return PurePosixPath()
    return PurePosixPath() if ".." in inside.parts else inside
