"""Pictures sorted into folders: nothing is replaced, and nothing lost at whatever step it ends."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import unmeasured_environment
from telling import Told

from clipcli.disk import atomic, copying, journal, placing
from clipcli.disk.journal import Journal, read_journal
from clipcli.disk.placing import How
from clipcli.disk.undoing import Undone, undo
from clipcli.errors import ClipcliError, FailureCode, UsageError
from clipcli.heads.results import Failure, LabelScore, Prediction, Result
from clipcli.outputs.sorting import Folders, Sorter, SortOptions

LABELS = ("cat", "dog/wolf")
SHARED_MEMORY = Path("/dev/shm")


def answered(path: Path, answer: str | None) -> Prediction:
    return Prediction(0, str(path), (LabelScore(answer or "cat", 1.0, 1.0),), answer, path=path)


def results(folder: Path) -> Iterator[Result]:
    """Every file below a folder, as a run of it gives them: its name says what it shows."""
    for number, path in enumerate(sorted(folder.rglob("*.jpg"))):
        if "bad" in path.name:
            yield Failure(number, str(path), FailureCode.DAMAGED, "damaged", path)
        else:
            yield answered(path, None if "odd" in path.name else LABELS[number % 2])


def sort(folder: Path, how: How, to: Path, **options: object) -> Told:
    told = Told()
    chosen = SortOptions(how, to, **options)
    sorter = Sorter(chosen, Folders.of(chosen, LABELS), told)
    sorter.begin()
    try:
        for result in results(folder):
            sorter.write(result)
    finally:
        sorter.end()
    return told


def put_back(to: Path, told: Told | None = None) -> list[Undone]:
    """Undo all runs into a folder, the last first."""
    undone = []
    files = sorted(to.glob("journal-*.jsonl"), key=lambda file: int(file.stem[8:]), reverse=True)
    for file in files:
        held = Journal(file)
        undone.append(undo(held, (told or Told()).told))
        held.close()
    return undone


def made(folder: Path, count: int = 6) -> Path:
    """Pictures, two of a name, one without an answer, one that fails, one with an odd name."""
    for number in range(count):
        path = folder / f"{number % 3}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"picture {number}".encode() * 100)
        os.chmod(path, 0o640)
        os.utime(path, ns=(10**18 + number, 10**18 + number))
    for parent, name in [("a", "same.jpg"), ("b", "same.jpg"), ("a", "odd.jpg"), ("b", "bad.jpg")]:
        (folder / parent).mkdir(exist_ok=True)
        (folder / parent / name).write_bytes(f"{parent} {name}".encode())
    (folder / "a" / "two\nlines.jpg").write_bytes(b"lines")
    (folder / "a" / ("x" * 251 + ".jpg")).write_bytes(b"long")
    (folder / "a" / os.fsdecode(b"\xff\xfe.jpg")).write_bytes(b"no text")
    return folder


def tree(folder: Path) -> dict[str, tuple[bytes | str, int, int]]:
    """All files of a folder but journals: content, mode, time."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = (os.readlink(path), 0, 0)
        elif path.is_file() and not path.name.startswith("journal-"):
            status = path.stat()
            name = str(path.relative_to(folder))
            found[name] = (path.read_bytes(), status.st_mode, status.st_mtime_ns)
    return found


def contents(*folders: Path) -> list[bytes | str]:
    return sorted((one[0] for folder in folders for one in tree(folder).values()), key=repr)


@pytest.fixture(params=["same disk", "another disk", "without hard links"])
def disk(request, monkeypatch) -> str:
    link = os.link

    def refused(source: str, target: str) -> None:
        is_copy = os.path.basename(source).startswith(".clipcli")
        if request.param == "another disk" and not is_copy:
            raise OSError(errno.EXDEV, "another disk")
        if request.param == "without hard links":
            raise OSError(errno.EPERM, "no hard links")
        link(source, target)

    monkeypatch.setattr(os, "link", refused)
    return request.param


@pytest.mark.parametrize("how", How)
def test_files_are_sorted_and_undone(tmp_path, how, disk):
    source, to = made(tmp_path / "in"), tmp_path / "out"
    before = tree(source)

    told = sort(source, how, to, unknown=tmp_path / "rest")

    after = {**tree(to), **tree(tmp_path / "rest")}
    assert len(after) == len(before)
    assert set(os.listdir(to)) == {"cat", "dog_wolf", "journal-1.jsonl"}
    assert set(os.listdir(tmp_path / "rest")) == {"unknown", "failed"}
    if how is How.LINK:
        assert {str(Path(text)) for text, _, _ in after.values()} == {
            str(source / name) for name in before
        }
    else:
        # Modes and times are kept, too.
        assert sorted(after.values()) == sorted(before.values())
    assert tree(source) == ({} if how is How.MOVE else before)
    assert told.troubles == told.lines == []
    assert "clipcli undo" in told.hints[0]

    undone = put_back(to)

    assert tree(source) == before
    assert undone == [Undone(len(before), 0)]
    assert os.listdir(to) == ["journal-1.jsonl"]
    assert not any((tmp_path / "rest").iterdir()) if (tmp_path / "rest").exists() else True
    assert read_journal(to / "journal-1.jsonl").end == "undone"


def test_what_has_no_answer_stays_where_nobody_wants_it_elsewhere(tmp_path):
    source, to = made(tmp_path / "in"), tmp_path / "out"

    sort(source, How.MOVE, to)

    assert {Path(name).name for name in tree(source)} == {"odd.jpg", "bad.jpg"}


def test_a_name_that_is_taken_gets_a_number_and_equal_content_is_not_put_there_twice(tmp_path):
    source, to = tmp_path / "in", tmp_path / "out"
    for number, text in enumerate(["one", "two", "one", "two", "three"]):
        path = source / f"{number}" / "a.jpg"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    told = Told()
    options = SortOptions(How.MOVE, to)
    sorter = Sorter(options, Folders.of(options, ["cat"]), told)
    sorter.begin()
    for path in sorted(source.rglob("*.jpg")):
        sorter.write(answered(path, "cat"))
    sorter.end()

    assert {name: one[0] for name, one in tree(to).items()} == {
        "cat/a.jpg": b"one",
        "cat/a-2.jpg": b"two",
        "cat/a-3.jpg": b"three",
    }
    assert set(tree(source)) == {"2/a.jpg", "3/a.jpg"}
    assert [line.partition(": ")[2] for line in told.lines] == [
        f"is at {to}/cat/a.jpg already: it stays",
        f"is at {to}/cat/a-2.jpg already: it stays",
    ]
    put_back(to)
    assert sorted(tree(source)) == [f"{number}/a.jpg" for number in range(5)]


def test_another_programs_files_are_never_replaced(tmp_path, disk, monkeypatch):
    """Not even one that takes the name at the last moment."""
    source, to = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "a.jpg").write_text("mine")
    lexists = os.path.lexists

    def late(path: object) -> bool:
        found = lexists(path)
        if os.fspath(path) == str(to / "cat" / "a.jpg") and not found:  # type: ignore[call-overload]
            Path(path).parent.mkdir(parents=True, exist_ok=True)  # type: ignore[arg-type]
            Path(path).write_text("theirs")  # type: ignore[arg-type]
        return found

    monkeypatch.setattr(os.path, "lexists", late)
    sort(source, How.MOVE, to)
    monkeypatch.undo()

    assert contents(to) == [b"mine", b"theirs"]
    assert (to / "cat" / "a.jpg").read_text() == "theirs"


@pytest.mark.parametrize(
    ("text", "leads_to"), [("../real/x.jpg", "real/x.jpg"), ("/etc/hostname", None), ("no", None)]
)
def test_a_link_is_moved_as_a_link_that_leads_where_it_led(tmp_path, text, leads_to):
    source, to, real = tmp_path / "in", tmp_path / "out" / "deep", tmp_path / "real" / "x.jpg"
    source.mkdir()
    real.parent.mkdir()
    real.write_text("real")
    (source / "a.jpg").symlink_to(text)

    sort(source, How.MOVE, to)

    if text == "no":  # there is nothing to be moved
        assert os.readlink(source / "a.jpg") == text
        return
    moved = to / "cat" / "a.jpg"
    assert moved.is_symlink()
    assert moved.resolve() == (tmp_path / leads_to if leads_to else Path(text).resolve())
    assert not (source / "a.jpg").is_symlink()
    put_back(to)
    assert os.readlink(source / "a.jpg") == text
    assert real.read_text() == "real"


def test_of_a_link_the_picture_is_copied(tmp_path):
    source, to = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (tmp_path / "x").write_text("real")
    (source / "a.jpg").symlink_to("../x")

    sort(source, How.COPY, to)

    assert not (to / "cat" / "a.jpg").is_symlink()
    assert (to / "cat" / "a.jpg").read_text() == "real"


def test_a_picture_is_not_moved_onto_a_link_to_itself(tmp_path):
    source, to = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "a.jpg").write_text("only one")
    sort(source, How.LINK, to)

    told = sort(source, How.MOVE, to)

    assert (source / "a.jpg").read_text() == "only one"
    assert "already" in told.lines[0]


def test_what_is_sorted_already_stays(tmp_path):
    source, to = made(tmp_path / "in"), tmp_path / "out"
    sort(source, How.MOVE, to)
    before = tree(to)

    told = sort(to, How.MOVE, to)

    assert tree(to) == before
    assert len(told.lines) == len(before)


def test_a_dry_run_touches_nothing(tmp_path):
    source, to = made(tmp_path / "in"), tmp_path / "out"
    before = tree(source)

    told = sort(source, How.MOVE, to, dry_run=True)
    sorted_after = sort(source, How.COPY, tmp_path / "real")

    assert tree(source) == before
    assert not to.exists()
    assert sorted(line.rpartition(f"{to}/")[2] for line in told.lines) == sorted(
        tree(tmp_path / "real")
    )
    assert "nothing was touched" in told.hints[0]
    assert sorted_after.lines == []


def test_what_is_no_file_is_counted_and_skipped(tmp_path):
    told = Told()
    options = SortOptions(How.COPY, tmp_path / "out", tmp_path / "rest")
    sorter = Sorter(options, Folders.of(options, LABELS), told)
    sorter.begin()
    sorter.write(Prediction(0, "https://example.org/a.jpg", (LabelScore("cat", 1, 1),), "cat"))
    sorter.write(Prediction(1, "-", (LabelScore("cat", 1, 1),), "cat"))
    sorter.write(Failure(2, "gone", FailureCode.NOT_FOUND, "no such file", tmp_path / "gone"))
    sorter.write(Failure(3, "folder", FailureCode.IS_A_FOLDER, "a folder", tmp_path))
    sorter.end()

    assert told.hints == [
        "no picture was copied; 2 that are no files (addresses, standard input) stay"
    ]
    assert told.troubles == []
    assert os.listdir(tmp_path / "out") == []


# Killed at every step of a run, and at every step of its undoing.


class Killed(BaseException):
    """The process is gone: nothing that comes later happens either."""


class Kill:
    """Ends a process at the n-th of its calls that touch the disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.left: float = float("inf")

    def watch(self, owner: object, name: str) -> None:
        real = getattr(owner, name)

        def counted(*args: object, **kwargs: object) -> object:
            self.left -= 1
            if self.left < 0:
                raise Killed
            return real(*args, **kwargs)

        self._patch.setattr(owner, name, counted)


@pytest.fixture
def kill(monkeypatch, disk) -> Kill:
    assert disk
    kill = Kill(monkeypatch)
    for name in ("link", "unlink", "symlink", "mkdir", "replace", "fsync", "rmdir", "utime"):
        kill.watch(os, name)
    kill.watch(atomic.GuardedFile, "write")
    kill.watch(copying, "_copied")
    kill.watch(copying, "_read_back")
    kill.watch(placing, "sync_folder")
    kill.watch(journal, "sync_folder")
    return kill


def killed_at(kill: Kill, step: int, act: Callable[[], object]) -> bool:
    """Run something until its n-th step; whether it was killed there."""
    kill.left = step
    try:
        act()
    except Killed:
        return True
    finally:
        kill.left = float("inf")
    return False


def small(folder: Path) -> Path:
    for name, text in {"a.jpg": "one", "b.jpg": "two", "odd.jpg": "three"}.items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "a.jpg.xmp").write_text("of a")
    (folder.parent / "real").write_text("real")
    (folder / "c.jpg").symlink_to("../real")
    return folder


# Who is killed closes nothing.
let_go = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@let_go
@pytest.mark.parametrize("how", How)
def test_a_kill_at_any_step_loses_nothing_and_a_repetition_ends_the_work(tmp_path, how, kill):
    step = 0
    while True:
        here = tmp_path / f"{step}"
        here.mkdir()
        source, to = small(here / "in"), here / "out"
        before, whole = tree(source), contents(source)
        rest = here / "rest"
        was_killed = killed_at(kill, step, lambda: sort(source, how, to, unknown=rest))  # noqa: B023
        every = contents(*filter(Path.exists, (source, to, rest)))
        files = {one for one in every if isinstance(one, bytes) and one}
        # Whole at one place or at both; what is not whole has a name of its own.
        assert files >= {one for one in whole if isinstance(one, bytes)}
        sort(source, how, to, unknown=rest)
        if how is How.MOVE:
            assert tree(source) == {}
            assert len(contents(to, rest)) == len(whole)
        else:
            assert tree(source) == before
        for folder in (source, to, rest):
            assert not list(folder.rglob(".*"))
        put_back(to)
        assert tree(source) == before
        assert tree(to) == {}
        assert not rest.exists() or tree(rest) == {}
        if not was_killed:
            break
        step += 1
    assert step > 10


@let_go
@pytest.mark.parametrize("how", How)
def test_an_undoing_that_is_killed_at_any_step_can_be_repeated(tmp_path, how, kill):
    step = 0
    while True:
        here = tmp_path / f"{step}"
        here.mkdir()
        source, to = small(here / "in"), here / "out"
        before = tree(source)
        sort(source, how, to)
        was_killed = killed_at(kill, step, lambda: put_back(to))  # noqa: B023
        told = Told()
        if read_journal(to / "journal-1.jsonl").end != "undone":
            put_back(to, told)
        left = [line for line in told.lines if "something else is at" not in line]
        assert left == []
        if (
            not told.lines
        ):  # without hard links, a name that was held free has to be removed by hand
            assert tree(source) == before
            assert tree(to) == {}
        if not was_killed:
            break
        step += 1
    assert step > 4


def test_many_runs_that_are_killed_have_one_journal(tmp_path, monkeypatch):
    """Two hundred files, killed by the system itself, again and again."""
    source, to = made(tmp_path / "in", 200), tmp_path / "out"
    before = tree(source)
    kills, here = 0, Path(__file__).parent
    for calls in (0, 1, 7, 30, 64, 65, 66, 67, 100, 131, 200, 1, 350):
        code = subprocess.run(
            [sys.executable, "-c", SIGKILLED, str(source), str(to), str(calls)],
            env={
                **unmeasured_environment(),
                "PYTHONPATH": os.pathsep.join([str(here), str(here.parent / "support")]),
            },
            check=False,
        ).returncode
        kills += code == -9
        # Twice at most, and then as two names of one file.
        names = [path for path in tmp_path.rglob("*.jpg") if "odd" not in path.name]
        assert len({path.stat().st_ino for path in names}) == len(before) - 1
    sort(source, How.MOVE, to)

    assert kills >= 10
    assert set(map(os.path.basename, tree(source))) == {"odd.jpg", "bad.jpg"}
    assert len(tree(to)) == len(before) - 2
    assert len(list(to.glob("journal-*"))) == 1
    put_back(to)
    assert tree(source) == before
    assert tree(to) == {}


SIGKILLED = """
import os, signal, sys
from pathlib import Path
import test_sorting
from clipcli.disk.placing import How
left = int(sys.argv[3])
def watched(real):
    def called(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    return called
os.link, os.unlink, os.fsync = map(watched, (os.link, os.unlink, os.fsync))
test_sorting.sort(Path(sys.argv[1]), How.MOVE, Path(sys.argv[2]))
"""


# Disks that take no more, or let nothing go.


def test_a_full_disk_is_told_with_the_way_on_and_the_next_run_goes_on(tmp_path, monkeypatch):
    source, to = made(tmp_path / "in"), tmp_path / "out"
    before = tree(source)
    calls = iter(range(4))
    link = os.link

    def full(one: str, other: str) -> None:
        if next(calls, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        link(one, other)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", full)
        with pytest.raises(ClipcliError, match=r"No space left on device.*same command goes on"):
            sort(source, How.MOVE, to)
    assert len(tree(source)) + len(tree(to)) == len(before)
    sort(source, How.MOVE, to)

    assert len(tree(to)) == len(before) - 2
    assert len(list(to.glob("journal-*"))) == 1
    put_back(to)
    assert tree(source) == before


def test_a_journal_that_cannot_be_written_stops_the_run_before_the_file_is_touched(
    tmp_path, monkeypatch
):
    source, to = small(tmp_path / "in"), tmp_path / "out"
    before = tree(source)
    write = atomic.GuardedFile.write
    calls = iter(range(1))

    def full(self: atomic.GuardedFile, data: bytes) -> int:
        if next(calls, None) is None:
            # A part of a line, and then nothing.
            write(self, bytes(data)[:9])
            raise ClipcliError("disk full")
        return write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(atomic.GuardedFile, "write", full)
        with pytest.raises(ClipcliError, match="disk full"):
            sort(source, How.MOVE, to)
    assert tree(source) == before
    sort(source, How.MOVE, to)
    put_back(to)

    assert tree(source) == before


def test_a_file_that_is_written_while_it_is_moved_stays(tmp_path, monkeypatch):
    source, to = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "a.jpg").write_text("before")
    sync = placing.sync_folder

    def meanwhile(folder: str) -> None:
        (source / "a.jpg").write_text("after it")
        sync(folder)

    monkeypatch.setattr("clipcli.outputs.sorting.sync_folder", meanwhile)
    told = sort(source, How.MOVE, to)

    assert (source / "a.jpg").read_text() == "after it"
    assert tree(to) == {}
    assert "changed while it was being moved" in told.troubles[0]


@pytest.mark.parametrize("call", ["link", "unlink"])
def test_a_file_that_may_not_be_moved_is_told_and_stays(tmp_path, monkeypatch, call):
    source, to = small(tmp_path / "in"), tmp_path / "out"
    real = getattr(os, call)

    def refused(path: str, *rest: str) -> None:
        if os.fspath(path) == str(source / "a.jpg"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        real(path, *rest)

    monkeypatch.setattr(os, call, refused)
    told = sort(source, How.MOVE, to)

    assert "a.jpg" in tree(source)
    assert "cat/a.jpg" not in tree(to)
    assert len(told.troubles) == 1
    assert "cannot be moved (Permission denied)" in told.troubles[0]


@pytest.mark.skipif(
    not SHARED_MEMORY.is_dir() or SHARED_MEMORY.stat().st_dev == Path("/tmp").stat().st_dev,
    reason="needs two file systems",
)
def test_between_two_file_systems_files_are_moved_and_brought_back(tmp_path):
    from tempfile import TemporaryDirectory

    source = made(tmp_path / "in")
    before = tree(source)
    with TemporaryDirectory(dir=SHARED_MEMORY) as folder:
        to = Path(folder) / "out"
        sort(source, How.MOVE, to, unknown=to)
        assert sorted(tree(to).values()) == sorted(before.values())
        assert tree(source) == {}
        put_back(to)
        assert tree(to) == {}
    assert tree(source) == before


def test_two_runs_at_once_have_a_journal_each(tmp_path):
    options = SortOptions(How.MOVE, tmp_path / "out")
    sorters = [Sorter(options, Folders.of(options, LABELS), Told()) for _ in range(2)]
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.jpg").write_text(name)
    for sorter in sorters:
        sorter.begin()
    for sorter, name in zip(sorters, "ab", strict=True):
        sorter.write(answered(tmp_path / name / "same.jpg", "cat"))
    for sorter in sorters:
        sorter.end()

    assert contents(tmp_path / "out") == [b"a", b"b"]
    assert [one.count for one in put_back(tmp_path / "out")] == [1, 1]
    assert (tmp_path / "b" / "same.jpg").read_text() == "b"


# What an undoing leaves alone.


def test_undoing_replaces_nothing_and_can_be_repeated(tmp_path):
    source, to = small(tmp_path / "in"), tmp_path / "out"
    sort(source, How.MOVE, to)
    (source / "a.jpg").write_text("another's")
    told = Told()

    assert put_back(to, told)[0].left == 1
    assert (source / "a.jpg").read_text() == "another's"
    assert (to / "cat" / "a.jpg").read_text() == "one"
    assert "something else is at" in told.lines[0]

    (source / "a.jpg").unlink()
    assert put_back(to) == [Undone(1, 0)]
    assert (source / "a.jpg").read_text() == "one"


def test_a_copy_that_is_the_last_one_or_was_changed_stays(tmp_path):
    source, to = small(tmp_path / "in"), tmp_path / "out"
    sort(source, How.COPY, to)
    (source / "a.jpg").unlink()
    copies = {path.name: path for path in to.rglob("*.jpg")}
    copies["b.jpg"].write_text("painted over")
    told = Told()

    assert put_back(to, told)[0].left == 2
    assert copies["a.jpg"].read_text() == "one"
    assert copies["b.jpg"].read_text() == "painted over"


@pytest.mark.parametrize(
    "text", ["", "{}\n", "[1]\n", "cat\n", '{"journal": "other"}\n', "[" * 10_000 + "\n"]
)
def test_what_is_no_journal_is_named(tmp_path, text):
    (tmp_path / "x").write_text(text)

    with pytest.raises(UsageError, match="is no journal of clipcli"):
        read_journal(tmp_path / "x")


@pytest.mark.parametrize(
    "line",
    [
        '{"step": 1}',
        '{"step": "1", "how": "move", "source": "/a", "target": "/b", "beside": "/c", "size": 1,'
        ' "mtime_ns": 1, "link": null}',
        '{"step": 1, "how": "burn", "source": "/a", "target": "/b", "beside": "/c", "size": 1,'
        ' "mtime_ns": 1, "link": null}',
        '{"step": 1, "how": "move", "source": "a", "target": "/b", "beside": "/c", "size": 1,'
        ' "mtime_ns": 1, "link": null}',
        '{"step": 1, "how": "move", "source": "/a", "target": "/b", "beside": "/c", "size": 1,'
        ' "mtime_ns": 1, "link": null',
        '{"done": "1"}',
        '{"folder": 1}',
        "null",
    ],
)
def test_a_line_of_a_journal_that_is_none_is_passed_over(tmp_path, line):
    (tmp_path / "x").write_text('{"journal": "clipcli", "version": 1}\n' + line + "\n")

    found = read_journal(tmp_path / "x")

    assert (found.steps, found.states, found.folders) == ({}, {}, [])


@pytest.mark.parametrize("thing", ["file", "link"])
def test_a_folder_that_is_none_is_refused_before_the_run(tmp_path, thing):
    (tmp_path / "out").mkdir()
    if thing == "file":
        (tmp_path / "out" / "cat").write_text("x")
    else:
        (tmp_path / "out" / "cat").symlink_to(tmp_path)

    with pytest.raises(UsageError, match="cannot sort into"):
        Folders.of(SortOptions(How.COPY, tmp_path / "out"), LABELS)


def test_a_sidecar_goes_with_its_picture_under_the_same_number(tmp_path):
    source, to = tmp_path / "in", tmp_path / "out"
    (to / "cat").mkdir(parents=True)
    # What is there already is not mixed with what comes.
    (to / "cat" / "a.jpg.xmp").write_text("a stranger's")
    source.mkdir()
    for name in ("a.jpg", "a.jpg.xmp", "c.jpg", "c.xmp", "e.jpg", "e.raw", "e.xmp"):
        (source / name).write_text(name)

    sort(source, How.MOVE, to, at_once=1)

    assert set(tree(to)) == {
        *("cat/a.jpg.xmp", "cat/a-2.jpg", "cat/a-2.jpg.xmp"),
        *("dog_wolf/c.jpg", "dog_wolf/c.xmp", "cat/e.jpg"),
    }
    # It may be the RAW photo's.
    assert set(tree(source)) == {"e.raw", "e.xmp"}
