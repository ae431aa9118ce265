"""The cache of text embeddings: what it spares, and that its troubles stop nothing."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import subprocess
import sys
import tracemalloc
import warnings
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import PATIENCE, PATIENT_CACHE, Command, clean_environment
from fake_engine import FakeEngine

from clipcli.engines.base import fingerprint
from clipcli.errors import ClipcliWarning
from clipcli.heads import text_cache as cache_module
from clipcli.heads.labels import LabelSet
from clipcli.heads.text_cache import TextCache
from clipcli.heads.zero_shot import build_head
from clipcli.images.preprocessing import PreprocessConfig

LABELS = LabelSet(("a", "abc", "nul\0in it"))
UNIT = np.array([0.6, 0.8], np.float32)
WAYS_OUT = ("clipcli cache --clear", "CLIPCLI_CACHE_DIR", "--no-cache")


@pytest.fixture
def cache(tmp_path: Path) -> TextCache:
    return TextCache(tmp_path / "deep" / "er" / "texts.sqlite3")


def reopened(cache: TextCache) -> TextCache:
    """As another process would have it."""
    return TextCache(cache.file)


def execute(cache: TextCache, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(cache.file)) as database, database:
        database.execute(statement, values)


def test_a_second_run_encodes_nothing_and_gives_the_same_bits(cache):
    first, second = FakeEngine(), FakeEngine()
    fresh = build_head(first, LABELS, cache)
    kept = build_head(second, LABELS, reopened(cache))
    assert (first.prompts, second.prompts) == (list(LABELS.names), [])
    assert kept.embeddings.tobytes() == fresh.embeddings.tobytes()


def test_only_what_is_new_is_encoded_and_templates_make_their_own_prompts(cache):
    engine = FakeEngine()
    build_head(engine, LabelSet(("a", "b")), cache)
    build_head(engine, LabelSet(("c", "a"), ("{}", "{}!")), cache)
    assert engine.prompts == ["a", "b", "c", "c!", "a!"]


def test_many_prompts_are_found_whatever_their_number(cache):
    prompts = [f"prompt {number}" for number in range(1203)]
    angles = np.arange(1203, dtype=np.float32)
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    cache.write("m", dict(zip(prompts, rows, strict=True)))
    found = reopened(cache).read("m", ["unknown", *prompts], 2)
    assert list(map(found.get, prompts)) == [pytest.approx(row, abs=0) for row in rows]
    assert found.keys() == set(prompts)


PLAIN = PreprocessConfig((8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    "other",
    [
        ("b" * 64, {"quick_gelu": True}, "fp32"),
        ("a" * 64, {"quick_gelu": False}, "fp32"),
        ("a" * 64, {"quick_gelu": True}, "int8"),
    ],
    ids=["weights", "QuickGELU", "precision"],
)
def test_another_model_meets_no_row_of_this_one(cache, other):
    weights, config, precision = other
    this = fingerprint("a" * 64, {"quick_gelu": True}, PLAIN, "fp32")
    cache.write(this, {"a": UNIT})
    assert cache.read(fingerprint(weights, config, PLAIN, precision), ["a"], 2) == {}
    assert cache.read(this, ["a"], 2).keys() == {"a"}


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"odd",
        np.array([1, 0, 0], "<f4").tobytes(),
        np.array([0, 0], "<f4").tobytes(),
        np.array([1, 1], "<f4").tobytes(),
        np.array([np.nan, 0], "<f4").tobytes(),
        np.array([3e38, 3e38], "<f4").tobytes(),
        "text",
        7,
    ],
    ids=repr,
)
def test_a_row_that_cannot_be_an_embedding_is_ignored_and_replaced(cache, value):
    right = build_head(FakeEngine(), LABELS, cache)
    execute(cache, "UPDATE embeddings SET vector = ? WHERE prompt = 'abc'", value)
    second, third = FakeEngine(), FakeEngine()
    for engine in (second, third):
        head = build_head(engine, LABELS, reopened(cache))
        np.testing.assert_array_equal(head.embeddings, right.embeddings)
    assert (second.prompts, third.prompts) == (["abc"], [])


def garbage(file: Path) -> None:
    file.write_bytes(b"This is no database. " * 100)


def cut_short(file: Path) -> None:
    TextCache(file).write("0" * 32, {f"prompt {number}": UNIT for number in range(999)})
    file.write_bytes(file.read_bytes()[:5000])


def other_table(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE embeddings (name, value)")


def below_a_file(file: Path) -> None:
    file.parent.rmdir()
    file.parent.write_text("not a folder")


@pytest.mark.parametrize("damage", [garbage, cut_short, other_table, Path.mkdir, below_a_file])
def test_a_useless_cache_is_one_warning_with_the_ways_out_and_the_right_answer(tmp_path, damage):
    folder = tmp_path / "cache"
    folder.mkdir()
    cache = TextCache(folder / "texts.sqlite3")
    damage(cache.file)
    with pytest.warns(ClipcliWarning) as told:
        heads = [build_head(FakeEngine(), LABELS, cache) for _ in range(2)]
    (warning,) = told
    assert str(cache.file) in str(warning.message)
    assert all(way in str(warning.message) for way in WAYS_OUT)
    for head in heads:
        np.testing.assert_array_equal(head.embeddings, build_head(FakeEngine(), LABELS).embeddings)


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
VIEW = f"CREATE VIEW embeddings AS {ENDLESS} SELECT i AS model, i AS prompt, i AS vector FROM n"
ROWS = "model TEXT NOT NULL, prompt TEXT NOT NULL, vector BLOB NOT NULL"
TRAPS = {
    "an endless view": [VIEW],
    "a view beside the table": [cache_module._TABLE, VIEW.replace("embeddings", "others")],
    "a trigger": [
        cache_module._TABLE,
        "CREATE TRIGGER t BEFORE INSERT ON embeddings BEGIN DELETE FROM embeddings; END",
    ],
    "a computed column": [
        f"CREATE TABLE embeddings ({ROWS}, more BLOB AS (zeroblob(1 << 30)),"
        " PRIMARY KEY (model, prompt)) WITHOUT ROWID"
    ],
    "a check": [
        f"CREATE TABLE embeddings ({ROWS}, CHECK (length(zeroblob(1 << 30)) > 0),"
        " PRIMARY KEY (model, prompt)) WITHOUT ROWID"
    ],
    "an index with an expression": [
        cache_module._TABLE,
        "CREATE INDEX i ON embeddings (abs(prompt))",
    ],
    "a virtual table": ["CREATE VIRTUAL TABLE embeddings USING fts5(model, prompt, vector)"],
    "another table": [cache_module._TABLE, "CREATE TABLE more (a)"],
}


@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS)
def test_only_a_plain_table_is_read_or_written(cache, trap):
    cache.file.parent.mkdir(parents=True)
    with closing(sqlite3.connect(cache.file)) as database, database:
        for statement in trap:
            database.execute(statement)
    before = cache.file.read_bytes()
    for use in (
        lambda cache: cache.read("m", ["a"], 2),
        lambda cache: cache.write("m", {"a": UNIT}),
        lambda cache: cache.count(),
    ):
        with pytest.warns(ClipcliWarning, match="it holds something else than clipcli's table"):
            use(reopened(cache))
    assert cache.file.read_bytes() == before
    head = build_head(FakeEngine(), LABELS)
    with pytest.warns(ClipcliWarning, match="something else") as told:
        kept = build_head(FakeEngine(), LABELS, reopened(cache))
    assert len(told) == 1
    np.testing.assert_array_equal(kept.embeddings, head.embeddings)
    reopened(cache).clear()
    assert reopened(cache).count() == 0


@pytest.mark.parametrize("end", ["", "-journal", "-wal", "-shm"])
@pytest.mark.parametrize("kind", ["link", "dangling", "hard link", "pipe"])
def test_nothing_is_written_through_a_link_nor_waited_for(cache, tmp_path, end, kind):
    cache.write("m", {"b": UNIT})
    file, yours = cache.file.with_name(cache.file.name + end), tmp_path / "yours"
    yours.write_bytes(b"")
    file.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "hard link":
        os.link(yours, file)
    else:
        file.symlink_to(yours if kind == "link" else tmp_path / "new")
    for use in (
        lambda cache: cache.read("m", ["a"], 2),
        lambda cache: cache.write("m", {"a": UNIT}),
        lambda cache: cache.count(),
    ):
        with pytest.warns(ClipcliWarning, match=r"\(it is .*; remove it\); going on without it"):
            use(reopened(cache))
    assert yours.read_bytes() == b""
    assert not (tmp_path / "new").exists()
    reopened(cache).clear()
    assert not os.path.lexists(file)


def test_what_takes_too_long_is_broken_off(cache, monkeypatch):
    """However that comes about: here, that time runs faster than rows are read."""
    prompts = [f"prompt {number}" for number in range(3000)]
    cache.write("m", dict.fromkeys(prompts, UNIT))
    ticks = itertools.count(step=cache_module._MOST_SECONDS / 2)
    monkeypatch.setattr(cache_module.time, "monotonic", lambda: next(ticks))
    for use in (lambda cache: cache.read("m", prompts, 2), lambda cache: cache.count()):
        with pytest.warns(ClipcliWarning, match=r"cannot read .* \(interrupted\)"):
            use(reopened(cache))


def test_a_value_without_end_is_not_read(cache):
    cache.write("m", {"a": UNIT, "b": UNIT})
    execute(cache, "UPDATE embeddings SET vector = zeroblob(50000000) WHERE prompt = 'a'")
    tracemalloc.start()
    with pytest.warns(ClipcliWarning, match="too big"):
        reopened(cache).read("m", ["a", "b"], 2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize("bit", [0, 7, 100, 8 * 2048 - 1, -1])
def test_one_flipped_bit_of_an_embedding_is_seen_and_put_right(cache, bit):
    """Of a unit vector, most bits change its length by too little to show."""
    engine = WideEngine()
    head = build_head(engine, LABELS, cache)
    with closing(sqlite3.connect(cache.file)) as database, database:
        query = "SELECT vector FROM embeddings WHERE prompt = 'abc'"
        value = bytearray(database.execute(query).fetchone()[0])
        value[bit // 8] ^= 1 << bit % 8
        database.execute("UPDATE embeddings SET vector = ? WHERE prompt = 'abc'", (bytes(value),))
    for expected in (["abc"], []):
        engine = WideEngine()
        again = build_head(engine, LABELS, reopened(cache))
        np.testing.assert_array_equal(again.embeddings, head.embeddings)
        assert engine.prompts == expected


@pytest.mark.parametrize("seed", range(20))
def test_a_cache_whose_bytes_are_spoiled_anywhere_costs_no_answer(cache, seed):
    prompts = [f"prompt {number}" for number in range(200)]
    rows = dict.fromkeys(prompts, UNIT)
    cache.write("m", rows)
    data = bytearray(cache.file.read_bytes())
    random = np.random.default_rng(seed)
    for place in random.integers(0, len(data), 40):
        data[place] = random.integers(0, 256)
    cache.file.write_bytes(data)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = reopened(cache).read("m", prompts, 2)
        reopened(cache).write("m", rows)
        reopened(cache).count()
    assert {warning.category for warning in told} <= {ClipcliWarning}
    assert all(np.array_equal(vector, UNIT) for vector in found.values())


@pytest.mark.parametrize("path", ["/proc/clipcli/texts", "/dev/null/texts", "nul\0.sqlite3"])
def test_a_place_where_nothing_can_be_kept_is_a_warning(path):
    with pytest.warns(ClipcliWarning, match="cannot write to"):
        build_head(FakeEngine(), LABELS, TextCache(Path(path)))


@pytest.mark.parametrize(
    ("query", "pragma", "reason"),
    [
        ("?mode=ro", "PRAGMA encoding", "readonly database"),
        ("", "PRAGMA max_page_count = 2", "full"),
    ],
)
def test_what_is_known_serves_where_nothing_can_be_added(cache, monkeypatch, query, pragma, reason):
    """A read-only file (root may write to any, so SQLite is told), and a full disk."""
    build_head(FakeEngine(), LABELS, cache)

    class Limited(sqlite3.Connection):
        def __init__(self, path: Path, **options: object) -> None:
            super().__init__(f"file:{path}{query}", uri=True, **options)
            self.execute(pragma)

    monkeypatch.setattr(cache_module.sqlite3, "connect", Limited)
    names = (*LABELS.names, *(f"new {number}" for number in range(100)))
    engine = FakeEngine()
    with pytest.warns(ClipcliWarning, match=f"cannot write to .*{reason}"):
        build_head(engine, LabelSet(names), cache)
    assert engine.prompts == list(names[3:])
    assert cache.count() == 3


def test_a_locked_cache_is_waited_for_only_so_long(cache, monkeypatch):
    build_head(FakeEngine(), LABELS, cache)
    monkeypatch.setattr(cache_module, "_BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(cache.file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        engine = FakeEngine()
        with pytest.warns(ClipcliWarning, match="database is locked") as told:
            build_head(engine, LABELS, reopened(cache))
    assert (len(told), engine.prompts) == (1, list(LABELS.names))
    build_head(engine, LABELS, reopened(cache))
    assert engine.prompts == list(LABELS.names)


def test_a_file_that_another_process_has_only_just_made_is_an_empty_cache(cache):
    cache.file.parent.mkdir(parents=True)
    cache.file.touch()
    assert cache.read("m", ["a"], 2) == {}
    assert cache.count() == 0
    cache.write("m", {"a": UNIT})
    assert cache.count() == 1


def test_a_text_that_no_database_holds_is_a_warning_and_nothing_is_half_written(cache):
    with pytest.warns(ClipcliWarning, match="cannot write to .*surrogates"):
        cache.write("m", {"fine": UNIT, "\udcff": UNIT})
    with pytest.warns(ClipcliWarning, match="cannot read .*surrogates"):
        assert reopened(cache).read("m", ["\udcff"], 2) == {}
    assert reopened(cache).count() == 0


def test_looking_into_a_cache_that_is_not_there_does_not_make_it(cache):
    assert (cache.read("m", ["a"], 2), cache.count(), cache.size()) == ({}, 0, 0)
    cache.clear()
    assert not cache.file.parent.exists()


class WideEngine(FakeEngine):
    """A fake with embeddings of ordinary width, of which two numbers differ from 0."""

    def __init__(self) -> None:
        super().__init__()
        self.info = replace(self.info, embed_dim=512)

    def encode_tokens(self, tokens: np.ndarray) -> np.ndarray:
        return np.pad(super().encode_tokens(tokens), ((0, 0), (0, 510)))


def test_memory_and_a_transaction_stay_small_however_many_prompts_there_are(cache, monkeypatch):
    written = []
    monkeypatch.setattr(cache, "write", lambda _model, rows: written.append(len(rows)))
    names = tuple(f"{number:03}" for number in range(1000))
    labels = LabelSet(names, tuple(f"{{}}{number}" for number in range(20)))
    tracemalloc.start()
    build_head(WideEngine(), labels, cache)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(written) == 20_000
    assert max(written) <= 4096
    assert peak < 20_000 * 512 * 4  # all embeddings once


TEXTS = ("-l", "a photo of a cat", "-l", "a rocket", "--model", "tiny", "--json")


@pytest.fixture(scope="module")
def plain(clipcli: Command, photos: Path) -> bytes:
    """What a run without a cache answers."""
    result = clipcli(photos / "chelsea.png", *TEXTS, "--no-cache")
    assert (result.returncode, result.stderr) == (0, b"")
    return result.stdout


@pytest.fixture(scope="module")
def kept(clipcli: Command, photos: Path, plain: bytes, tmp_path_factory) -> TextCache:
    """A cache that eight processes have filled at once."""
    folder = tmp_path_factory.mktemp("shared")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PATIENT_CACHE, photos / "chelsea.png", *TEXTS],
            env={**clean_environment(), "CLIPCLI_CACHE_DIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(8)
    ]
    ends = {(*process.communicate(timeout=PATIENCE), process.returncode) for process in processes}
    assert ends == {(plain, b"", 0)}
    return TextCache(folder / "texts.sqlite3")


def swap(cache: TextCache) -> None:
    """Give each of two labels the other's embedding."""
    with closing(sqlite3.connect(cache.file)) as database, database:
        (first, vector), (second, other) = database.execute("SELECT prompt, vector FROM embeddings")
        change = "UPDATE embeddings SET vector = ? WHERE prompt = ?"
        database.executemany(change, [(other, first), (vector, second)])


def test_eight_processes_fill_one_cache_and_all_later_ones_read_it(clipcli, kept, plain, photos):
    assert kept.count() == 2
    swap(kept)
    before = kept.file.read_bytes()
    env = {"CLIPCLI_CACHE_DIR": str(kept.file.parent)}
    result = clipcli(photos / "chelsea.png", *TEXTS, env=env)
    unread = clipcli(photos / "chelsea.png", *TEXTS, "--no-cache", env=env)
    unchanged = kept.file.read_bytes() == before
    # The answer is what the cache says, and without the cache it is the right one.
    assert (result.returncode, result.stderr) == (0, b"")
    assert json.loads(result.stdout)[0]["answer"] == "a rocket"
    assert unread.stdout == plain
    assert unchanged


@pytest.mark.parametrize("damage", [garbage, below_a_file])
def test_a_useless_cache_costs_a_warning_line_and_no_result(
    clipcli, photos, plain, tmp_path, damage
):
    folder = tmp_path / "cache"
    folder.mkdir()
    damage(folder / "texts.sqlite3")
    for quiet in ((), ("-q",)):
        env = {"CLIPCLI_CACHE_DIR": str(folder)}
        result = clipcli(photos / "chelsea.png", *TEXTS, *quiet, env=env)
        assert (result.returncode, result.stdout) == (0, plain)
        told = result.stderr.decode().splitlines()
        assert len(told) == (0 if quiet else 1)
        assert all(line.startswith("clipcli: warning: cannot ") for line in told)


@pytest.mark.parametrize("arguments", [("x.png", "-l", "cat"), (*TEXTS, "--no-cache", "x.png")])
def test_neither_a_usage_error_nor_no_cache_makes_a_file(clipcli, tmp_path, arguments):
    env = {"CLIPCLI_CACHE_DIR": str(tmp_path / "cache")}
    assert clipcli(*arguments, env=env).returncode in (2, 4)
    assert not (tmp_path / "cache").exists()


def test_the_command_shows_path_number_and_size_and_clears(clipcli, cache):
    env = {"CLIPCLI_CACHE_DIR": str(cache.file.parent)}
    cache.write("m", {str(number): UNIT for number in range(1500)})
    size = f"{cache.file.stat().st_size / 1e6:.1f}"
    before, cleared = clipcli("cache", env=env), clipcli("cache", "--clear", env=env)
    assert before.stdout.decode() == f"{cache.file}: 1500 embeddings, {size} MB\n"
    assert cleared.stdout.decode() == f"{cache.file}: 0 embeddings, 0.0 MB\n"
    assert {(run.returncode, run.stderr) for run in (before, cleared)} == {(0, b"")}
    assert list(cache.file.parent.iterdir()) == []


def test_the_command_tells_of_a_cache_that_it_can_neither_read_nor_clear(clipcli, cache):
    env = {"CLIPCLI_CACHE_DIR": str(cache.file.parent)}
    cache.file.mkdir(parents=True)
    shown, cleared = clipcli("cache", env=env), clipcli("cache", "--clear", env=env)
    assert shown.returncode == 0
    assert shown.stderr.decode().startswith("clipcli: warning: cannot read the cache")
    assert cleared.returncode == 1
    expected = f"clipcli: cannot delete {cache.file} (Is a directory): do it by hand"
    assert cleared.stderr.decode().startswith(expected)
