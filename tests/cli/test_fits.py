"""`--fit` on the command line, and what is told of pictures that are not seen for the most part."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from command import Command
from PIL import Image
from report_pages import Page
from terminal import CLIPCLI, Terminal

from clipcli.embeddings.files import open_embeddings
from clipcli.images.options import FITS

TINY = ("--model", "tiny")
LABELS = ("-l", "a cat", "-l", "a cup of coffee")
WARNING = (
    "clipcli: warning: {} looked at by less than half; --fit tiles sees all of each in pieces,"
    " --fit pad and --fit squash see it at once, smaller\n"
)
SIZES = {"wide.png": (900, 200), "tall.jpg": (150, 1200), "half.png": (400, 200)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures that are cropped to less than half, one to half, and one to nothing less."""
    made = tmp_path_factory.mktemp("pictures")
    for name, size in {**SIZES, "square.png": (250, 250)}.items():
        values = np.random.default_rng(size).integers(150, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(values).save(made / name)
    return made


NAMES = ("wide.png", "square.png", "tall.jpg", "half.png")


def records(stdout: bytes) -> list[dict]:
    return [json.loads(line) for line in stdout.splitlines()]


@pytest.mark.parametrize(
    "options",
    [(), ("--isolate",), ("--fit", "crop"), ("--fast-decode",), ("--batch-size", "1")],
    ids=" ".join,
)
def test_what_is_seen_by_less_than_half_is_told_in_its_record_and_once_a_run(
    clipcli: Command, folder, options
):
    done = clipcli(*NAMES, *LABELS, "--jsonl", *TINY, *options, cwd=folder)
    assert done.returncode == 0
    assert [record.get("seen") for record in records(done.stdout)] == [0.2222, None, 0.125, None]
    assert done.stderr.decode() == WARNING.format("2 of 4 pictures were")


def test_people_are_told_beside_the_name_and_other_formats_stay_as_they_are(clipcli, folder):
    human = clipcli("wide.png", "half.png", *LABELS, "--format", "human", *TINY, cwd=folder)
    assert re.findall(r"^\w+\.png.*$", human.stdout.decode(), re.MULTILINE) == [
        "wide.png (22 % of it looked at)",
        "half.png",
    ]
    for kind in ("tsv", "csv"):
        found = clipcli("wide.png", *LABELS, "--format", kind, *TINY, cwd=folder)
        assert b"0.2222" not in found.stdout
        assert found.stderr.decode() == WARNING.format("1 of 1 picture was")
    quiet = clipcli("wide.png", *LABELS, "-q", *TINY, cwd=folder)
    assert (quiet.returncode, quiet.stderr) == (0, b"")


@pytest.mark.parametrize("fit", ["pad", "squash", "tiles"])
def test_a_fit_that_shows_all_has_other_numbers_and_no_warning(clipcli, folder, fit):
    cropped, fitted = (
        clipcli(*NAMES, *LABELS, "--jsonl", *TINY, *options, cwd=folder)
        for options in ((), ("--fit", fit))
    )
    assert (fitted.returncode, fitted.stderr) == (0, b"")
    pairs = list(zip(records(cropped.stdout), records(fitted.stdout), strict=True))
    assert not any("seen" in record for _, record in pairs)
    same = [before["predictions"] == after["predictions"] for before, after in pairs]
    assert same == [False, True, False, False]


def test_failures_do_not_count_among_the_pictures(clipcli, folder):
    done = clipcli("wide.png", "gone.png", *LABELS, *TINY, cwd=folder)
    assert done.returncode == 3
    assert WARNING.format("1 of 1 picture was") in done.stderr.decode()


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(
    "line",
    [
        ("classify", "wide.png", *LABELS),
        ("embed", "wide.png", "-o", "gone/e.npz"),
        ("eval", "."),
        ("explain", "wide.png", *LABELS),
    ],
    ids=lambda line: line[0],
)
def test_no_fit_goes_with_the_references_preprocessing(clipcli, folder, line, fit):
    done = clipcli(*line, "--fit", fit, "--preprocess", "reference", *TINY, cwd=folder)
    assert (done.returncode, done.stdout) == (2, b"")
    assert f"--fit {fit} goes without the reference's preprocessing" in done.stderr.decode()


def test_the_reference_counts_what_it_does_not_see(clipcli, folder):
    done = clipcli(*NAMES, *LABELS, "--preprocess", "reference", "--jsonl", *TINY, cwd=folder)
    assert [record.get("seen") for record in records(done.stdout)] == [0.2222, None, 0.125, None]


# Runs and files


def test_a_run_is_gone_on_with_in_its_own_fit_alone(clipcli, folder, tmp_path):
    file = tmp_path / "out.jsonl"
    line = (*NAMES, *LABELS, *TINY, "--batch-size", "1", "-o", file)
    whole = clipcli(*line, cwd=folder)
    assert whole.stderr.decode() == WARNING.format("2 of 4 pictures were")
    expected = file.read_bytes()
    settings = Path(f"{file}.run.json")
    assert json.loads(settings.read_text())["fit"] == "crop"

    other = clipcli(*line, "--resume", "--fit", "tiles", cwd=folder)
    assert other.returncode == 2
    assert "was made with other settings (fit: crop then, tiles now)" in other.stderr.decode()

    # As a kill would leave it behind its second result; the model's own fit, by its name.
    file.rename(f"{file}.part")
    lines = expected.splitlines(keepends=True)
    Path(f"{file}.part").write_bytes(b"".join(lines[:2]))
    resumed = clipcli(*line, "--resume", "--fit", "crop", cwd=folder)
    assert (resumed.returncode, file.read_bytes()) == (0, expected)
    assert resumed.stderr.decode() == WARNING.format("2 of 4 pictures were")


@pytest.mark.parametrize("extension", ["npz", "parquet"])
def test_embeddings_are_those_of_their_fit(clipcli, folder, tmp_path, extension):
    file = tmp_path / f"e.{extension}"
    made = clipcli("embed", *NAMES, "--fit", "tiles", "-o", file, *TINY, cwd=folder)
    assert (made.returncode, made.stderr) == (0, b"")
    assert open_embeddings(file).description.fit == "tiles"

    afresh = clipcli(*NAMES, *LABELS, "--fit", "tiles", "--jsonl", *TINY, cwd=folder)
    for options in ((), ("--fit", "tiles")):
        again = clipcli("--embeddings", file, *LABELS, "--jsonl", *options, cwd=folder)
        assert again.stdout == afresh.stdout
    told = clipcli("--embeddings", file, *LABELS, "-v", cwd=folder)
    assert f"{file}: was made with --fit tiles" in told.stderr.decode()
    summary = tmp_path / "summary.json"
    clipcli("--embeddings", file, *LABELS, "--summary", summary, cwd=folder)
    assert json.loads(summary.read_text())["settings"]["fit"] == "tiles"

    refused = clipcli("--embeddings", file, *LABELS, "--fit", "crop", cwd=folder)
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert (
        f"{file}: was made with --fit tiles, not crop: leave out --fit, or embed the images again"
        " with --fit crop"
    ) in refused.stderr.decode()


def test_embedding_warns_of_what_it_does_not_see(clipcli, folder, tmp_path):
    done = clipcli("embed", *NAMES, "-o", tmp_path / "e.npz", *TINY, cwd=folder)
    assert done.stderr.decode() == WARNING.format("2 of 4 pictures were")
    assert open_embeddings(tmp_path / "e.npz").description.fit == "crop"


def test_an_evaluation_counts_each_picture_once(clipcli, folder, tmp_path):
    for label, names in (("a cat", NAMES[:2]), ("a cup", NAMES[2:])):
        (tmp_path / label).mkdir()
        for name in names:
            (tmp_path / label / name).write_bytes((folder / name).read_bytes())
    line = (
        "eval",
        ".",
        "--report",
        "r.html",
        *TINY,
        "--compare-templates",
        "{}",
        "--json",
        "f.json",
    )
    cropped = clipcli(*line, "--compare-templates", "a {}", cwd=tmp_path)
    assert cropped.stderr.decode().endswith(WARNING.format("2 of 4 pictures were"))
    assert sorted(image.get("seen", 1) for image in Page(tmp_path / "r.html").images) == [
        *(0.125, 0.2222),
        *(1, 1),
    ]
    tiled = clipcli(*line, "--fit", "tiles", "--force", cwd=tmp_path)
    assert (tiled.returncode, tiled.stderr) == (0, b"")
    assert json.loads((tmp_path / "f.json").read_text())["settings"]["fit"] == "tiles"


# Explanations


@pytest.mark.parametrize(
    ("fit", "view"),
    [
        (None, (0.3889, 0.0, 0.6111, 1.0)),
        ("crop", (0.3889, 0.0, 0.6111, 1.0)),
        ("pad", (0.0, -1.75, 1.0, 2.75)),
        ("squash", (0.0, 0.0, 1.0, 1.0)),
    ],
)
def test_a_map_lies_on_the_picture_as_it_was_fitted(clipcli, folder, fit, view):
    options = () if fit is None else ("--fit", fit)
    line = ("explain", "wide.png", *LABELS, "--grid", "2", *options, *TINY)
    done = clipcli(*line, cwd=folder)
    found = json.loads(done.stdout)
    assert tuple(found["view"].values()) == pytest.approx(view, abs=0.03)
    assert found.get("seen") == (0.2222 if fit in (None, "crop") else None)
    told = "1 of 1 picture was looked at by less than half; --fit pad and --fit squash see it"
    assert (told in done.stderr.decode()) == (fit in (None, "crop"))


def test_tiles_share_no_map(clipcli, folder):
    done = clipcli("explain", "wide.png", *LABELS, "--fit", "tiles", *TINY, cwd=folder)
    assert (done.returncode, done.stdout) == (2, b"")
    assert "--fit tiles gives no map" in done.stderr.decode()
    assert "--fit pad or --fit squash shows the model all of it" in done.stderr.decode()


# What is not seen is dark


def lights(jpeg: bytes) -> tuple[float, float, float]:
    """How light a picture is at its beginning, in its middle and at its end."""
    with Image.open(io.BytesIO(jpeg)) as image:
        values = np.asarray(image.convert("L"), np.float64)
    along = values.mean(axis=int(values.shape[0] < values.shape[1]) ^ 1)
    tenth, middle = len(along) // 10, len(along) // 2
    part = along[middle - 5 : middle + 5]
    return along[:tenth].mean(), part.mean(), along[-tenth:].mean()


@pytest.mark.parametrize("options", [(), ("--isolate",), ("--embeddings", "e.npz")], ids=" ".join)
@pytest.mark.parametrize("fit", ["crop", "tiles"])
def test_the_report_shows_in_the_dark_what_was_not_seen(clipcli, folder, tmp_path, options, fit):
    images = tuple(str(folder / name) for name in NAMES)
    fitted = ("--fit", fit)
    if "--embeddings" in options:
        assert (
            clipcli("embed", *images, *fitted, "-o", "e.npz", *TINY, cwd=tmp_path).returncode == 0
        )
        images = fitted = ()
    line = (*images, *fitted, *LABELS, *TINY, *options, "--report", "r.html")
    assert clipcli(*line, cwd=tmp_path).returncode == 0
    page = Page(tmp_path / "r.html")
    by_name = {Path(image["name"]).name: place for place, image in enumerate(page.images)}
    for name in SIZES:
        pictures = [page.thumbnails[by_name[name]]]
        pictures += [page.large[place] for place in page.large if place == by_name[name]]
        for jpeg in pictures:
            first, middle, last = lights(jpeg)
            assert middle > 170
            assert (max(first, last) < 90) if fit == "crop" else (min(first, last) > 170)
    assert min(lights(page.thumbnails[by_name["square.png"]])) > 170
    assert ("The dark parts of pictures were not shown to the model." in page.text) == (
        fit == "crop"
    )
    assert f"fit {fit}" in page.text


@pytest.mark.parametrize("fit", ["crop", "tiles"])
def test_the_preview_shows_in_the_dark_what_was_not_seen(folder, fit):
    line = ("wide.png", *LABELS, *TINY, "--fit", fit, "--preview")
    text = Terminal().run(CLIPCLI, *line, env={"COLORTERM": "truecolor"}, cwd=folder)
    row = next(line for line in text.splitlines() if "\N{UPPER HALF BLOCK}" in line)
    greens = [int(green) for green in re.findall(r"\x1b\[38;2;\d+;(\d+);", row)]
    assert len(greens) == 24
    assert greens[12] > 170
    assert (max(greens[0], greens[-1]) < 90) == (fit == "crop")
