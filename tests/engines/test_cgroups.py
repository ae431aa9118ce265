"""Limits of control groups, over file systems that the tests make up."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipcli.engines.cgroups import cpu_quota, memory_limit

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:10 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd"""
HYBRID = f"{V1}\n41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"
NO_LIMIT_V1 = "9223372036854771712\n"


@pytest.fixture
def system(tmp_path: Path):
    """A file system: what it says of mounts and of the process's groups, and the groups' files."""

    def make(mounts: str | None, own: str | None, **files: str) -> Path:
        (tmp_path / "proc/self").mkdir(parents=True)
        for name, content in (("mountinfo", mounts), ("cgroup", own)):
            if content is not None:
                (tmp_path / "proc/self" / name).write_text(content)
        for name, content in files.items():
            file = tmp_path / "sys/fs/cgroup" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000\n", None),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("1000 100000\n", 1),
        ("1600000 100000\n", 16),
        ("0 100000\n", 1),
        ("100000 0\n", None),
        ("", None),
        ("nonsense", None),
        ("-1 100000", None),
    ],
)
@pytest.mark.parametrize("name", ["cpu.max", "app/job/cpu.max", "app/cpu.max"])
def test_a_quota_counts_in_the_own_group_and_in_all_above(system, name, quota, expected):
    root = system(V2, "0::/app/job\n", **{name: quota})
    assert cpu_quota(root) == expected


def test_the_lowest_quota_counts(system):
    files = {"cpu.max": "800000 100000", "a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}
    assert cpu_quota(system(V2, "0::/a/b\n", **files)) == 2


def test_another_group_s_quota_does_not_count(system):
    files = {"other/cpu.max": "100000 100000", "a/below/cpu.max": "100000 100000"}
    assert cpu_quota(system(V2, "0::/a\n", **files)) is None


@pytest.mark.parametrize("mounts", [V1, HYBRID])
@pytest.mark.parametrize("group", ["", "docker/abc/", "docker/"])
@pytest.mark.parametrize(
    ("quota", "expected"), [("-1\n", None), ("250000\n", 3), ("50000\n", 1), ("", None)]
)
def test_a_quota_of_version_1(system, mounts, group, quota, expected):
    own = "4:memory:/elsewhere\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n0::/x\n"
    files = {
        f"cpu,cpuacct/{group}cpu.cfs_quota_us": quota,
        f"cpu,cpuacct/{group}cpu.cfs_period_us": "100000\n",
    }
    assert cpu_quota(system(mounts, own, **files)) == expected


@pytest.mark.parametrize("group", ["", "docker/abc/", "docker/"])
def test_a_limit_of_memory_of_version_1(system, group):
    own = "4:memory:/docker/abc\n3:cpu,cpuacct:/elsewhere\n"
    files = {
        "memory/docker/abc/memory.limit_in_bytes": NO_LIMIT_V1,
        f"memory/{group}memory.limit_in_bytes": "1048576\n",
    }
    assert memory_limit(system(V1, own, **files)) == 1 << 20


@pytest.mark.parametrize("group", ["", "a/b/", "a/"])
@pytest.mark.parametrize("name", ["memory.max", "memory.high"])
def test_a_limit_of_memory_of_version_2(system, group, name):
    files = {"a/b/memory.max": "max\n", f"{group}{name}": "1048576\n"}
    assert memory_limit(system(V2, "0::/a/b\n", **files)) == 1 << 20


def test_without_a_limit_there_is_none(system):
    assert memory_limit(system(V2, "0::/a\n", **{"a/memory.max": "max\n"})) is None


def test_both_versions_at_once(system):
    own = "3:cpu,cpuacct:/a\n0::/b\n"
    files = {
        "cpu,cpuacct/a/cpu.cfs_quota_us": "400000",
        "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
        "unified/b/cpu.max": "300000 100000",
    }
    assert cpu_quota(system(HYBRID, own, **files)) == 3


@pytest.mark.parametrize("own", ["0::/docker/abc\n", "0::/docker/abc/job\n"])
def test_a_container_that_sees_only_its_part_of_the_groups(system, own):
    mounts = V2.replace(" / /sys", " /docker/abc /sys")
    assert cpu_quota(system(mounts, own, **{"cpu.max": "200000 100000"})) == 2


@pytest.mark.parametrize("own", ["0::/../..\n", "0::/somewhere/else\n", "0::/a:b c\n", "", None])
def test_whatever_the_own_group_is_the_topmost_counts(system, own):
    assert cpu_quota(system(V2, own, **{"cpu.max": "200000 100000"})) == 2


def test_a_folder_with_a_space(system):
    mounts = V2.replace("/sys/fs/cgroup", r"/sys/fs/cgroup/my\040groups")
    assert cpu_quota(system(mounts, "0::/\n", **{"my groups/cpu.max": "200000 100000"})) == 2


@pytest.mark.parametrize("mounts", [None, "", "nonsense\n\n - \n1 2 - cgroup2"])
def test_without_a_word_about_mounts_the_usual_place_counts(system, mounts):
    assert cpu_quota(system(mounts, None, **{"cpu.max": "200000 100000"})) == 2


def test_without_control_groups_there_are_no_limits(tmp_path):
    assert (cpu_quota(tmp_path), memory_limit(tmp_path)) == (None, None)
