"""`clipcli search` on its command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command import PHOTOS
from embeddings_files import unit, write

from clipcli.cli.main import run
from clipcli.embeddings.files import open_embeddings
from clipcli.engines.base import EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.heads.labels import LabelSet
from clipcli.heads.zero_shot import text_embeddings
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest

TINY = ("--model", "tiny")


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("stored") / "photos.npz"
    assert run(["embed", *map(str, sorted(PHOTOS.glob("*.*g"))), "-o", str(file), *TINY]) == 0
    return file


def lines(capsys, *words: object) -> list[str]:
    capsys.readouterr()
    assert run(["search", *map(str, words)]) == 0
    return capsys.readouterr().out.splitlines()


def names(capsys, *words: object) -> list[str]:
    return [Path(line).name for line in lines(capsys, *words, "--paths")]


def told(capsys, *words: object) -> str:
    capsys.readouterr()
    assert run(["search", *map(str, words)]) == 2
    return capsys.readouterr().err


def test_the_cosines_are_those_of_numpy(capsys, stored):
    engine = load_engine(resolve_model(ModelRequest("tiny")), EngineOptions())
    (text,) = text_embeddings(engine, LabelSet(("a cat",), ("a photo of {}",)))
    (block,) = open_embeddings(stored).blocks(9)
    cosines = block.embeddings.astype(np.float64) @ text.astype(np.float64)
    shown = lines(capsys, "a cat", stored, "-t", "a photo of {}", "--jsonl")
    records = [json.loads(line) for line in shown]
    assert [one["similarity"] for one in records] == pytest.approx(sorted(cosines)[::-1], abs=1e-6)
    assert Path(records[0]["input"]).name == "chelsea.png"
    assert [one["rank"] for one in records] == [1, 2, 3]


def test_the_first_word_is_the_text_unless_an_option_says_what_is_looked_for(capsys, stored):
    assert names(capsys, "a rocket", stored)[0] == "rocket.jpg"
    assert names(capsys, "--text", "a rocket", stored)[0] == "rocket.jpg"
    assert names(capsys, stored, "--text", "a rocket")[0] == "rocket.jpg"
    assert names(capsys, "--image", PHOTOS / "coffee.png", stored)[0] == "coffee.png"
    assert names(capsys, "a rocket", stored, "--not", "a rocket launch", "-k", 1) != []
    assert len(names(capsys, "a rocket", stored, stored, "-k", 4)) == 4


def test_a_folder_is_searched_as_its_file_is(capsys, stored):
    of_file = names(capsys, "a cup of coffee", stored)
    assert names(capsys, "a cup of coffee", PHOTOS, "-r", *TINY) == of_file
    assert names(capsys, "a cup of coffee", PHOTOS, "-r", *TINY) == of_file


def test_only_pictures_that_are_as_similar_are_shown(capsys, stored):
    assert names(capsys, "a cat", stored, "--min-similarity", 0.2) == ["chelsea.png"]
    assert names(capsys, "a cat", stored, "--min-similarity", 0.99) == []


def test_copies_are_listed_in_groups(capsys, tmp_path):
    for name in ("a.png", "b.png"):
        shutil.copy(PHOTOS / "chelsea.png", tmp_path / name)
    shutil.copy(PHOTOS / "rocket.jpg", tmp_path / "c.jpg")
    shown = lines(capsys, "--duplicates", tmp_path, "-r", *TINY)
    assert [line.split("\t") for line in shown] == [
        ["1", str(tmp_path / name), "1.000000"] for name in ("a.png", "b.png")
    ]


def test_print0_ends_each_name_with_nul(capfdbinary, stored):
    capfdbinary.readouterr()
    assert run(["search", "a cat", str(stored), "-k", "2", "--print0"]) == 0
    assert capfdbinary.readouterr().out.count(b"\0") == 2


def test_the_report_is_a_gallery_in_rank_order(capsys, stored, tmp_path):
    page = tmp_path / "found.html"
    lines(capsys, "a rocket", stored, "--report", page)
    text = page.read_text(encoding="utf-8")
    assert "Search: a rocket" in text
    places = [text.index(f'"name":"{PHOTOS}/{name}"') for name in ("rocket.jpg", "coffee.png")]
    assert places == sorted(places)
    assert text.count("/9j/") >= 3  # thumbnails


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a cat"], "nowhere to look for 'a cat'"),
        (["a cat", "missing.npz"], "missing.npz: no such file or folder; the first word, 'a cat'"),
        (["a cat", PHOTOS], "add -r to search its pictures"),
        (["a cat", PHOTOS / "coffee.png"], "is no file of embeddings"),
        (["", "STORED"], "an empty text"),
        (["--text", " ", "STORED"], "an empty text"),
        (["a cat", "STORED", "--not", ""], "an empty text"),
        (["a cat", "STORED", "-t", "a photo"], "has no {}"),
        (["a cat", "STORED", "--not", "a cat"], "--not takes away all"),
        (["--image", "missing.jpg", "STORED"], "--image missing.jpg: no such file"),
        (["a cat", "STORED", "--min-similarity", "nan"], "--min-similarity is a number"),
        (["a cat", "STORED", "--duplicate-similarity", "0.9"], "goes with --duplicates"),
        (["--duplicates", "STORED", "-k", "3"], "leave out -k"),
        (["--duplicates", "STORED", "--text", "a"], "leave out --text"),
        (["--duplicates", "STORED", "--paths"], "--duplicates lists groups"),
        (["a cat", "STORED", "--paths", "--print0"], "exclude each other"),
        (["a cat", "STORED", "--raw"], "--raw goes with CSV"),
        (["a cat", "STORED", "--report", "x.jpg"], "is no name of a page"),
    ],
)
def test_slips_are_told(capsys, stored, words, message):
    assert message in told(capsys, *[stored if word == "STORED" else word for word in words])


def test_files_of_two_models_are_refused_with_both_names(capsys, stored, tmp_path):
    other = write(tmp_path / "other.npz", ["a"], unit(1, 16))
    message = told(capsys, "a cat", stored, other, *TINY)
    assert f"{other}: was made with" in message
    assert "add --precision" in message or "not with tiny" in message
    assert f"and {stored} with tiny" in told(capsys, "--duplicates", stored, other)


def test_pictures_of_a_folder_that_fail_are_told_and_counted(capsys, tmp_path):
    shutil.copy(PHOTOS / "rocket.jpg", tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    capsys.readouterr()
    assert run(["search", "a rocket", str(tmp_path), "-r", *TINY]) == 3
    shown = capsys.readouterr()
    assert shown.out.startswith(str(tmp_path / "rocket.jpg"))
    assert "broken.jpg: not an image" in shown.err
