"""A file that one process holds at a time."""

import subprocess
import sys
from contextlib import closing

import pytest

from clipcli.disk.lock import Lock
from clipcli.errors import UsageError

HOLD = """
import sys
from pathlib import Path
from clipcli.disk.lock import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_held_file_is_refused_by_its_name_and_free_again_afterwards(tmp_path):
    file = tmp_path / "out.part"
    with closing(Lock(file)):
        message = f"^another process is writing {file}: wait for its end, or name another file$"
        with pytest.raises(UsageError, match=message):
            Lock(file)
    Lock(file).close()


def test_a_file_that_stayed_empty_is_gone_and_another_stays(tmp_path):
    empty, written = tmp_path / "empty", tmp_path / "written"
    with closing(Lock(empty)), closing(Lock(written)):
        written.write_text("results")
    assert (empty.exists(), written.read_text()) == (False, "results")


def test_holding_a_file_leaves_what_it_holds(tmp_path):
    file = tmp_path / "out.part"
    file.write_text("results")
    Lock(file).close()
    assert file.read_text() == "results"


def test_a_process_that_is_killed_holds_nothing(tmp_path):
    file = tmp_path / "out.part"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match="another process"):
            Lock(file)
        holder.kill()
        holder.wait()
    Lock(file).close()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"^cannot write .*missing/out \(No such file"):
        Lock(tmp_path / "missing" / "out")
