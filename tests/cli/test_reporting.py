"""`--report`: a page beside the results, with a picture of whatever could be decoded."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from command import Command
from PIL import Image
from report_pages import Page
from web_server import answer, serve

from clipcli.cli.running.page import with_pictures
from clipcli.cli.running.previews import with_previews
from clipcli.embeddings.rows import Block
from clipcli.errors import FailureCode
from clipcli.heads.results import Failure
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.images.sources import ImageRef
from clipcli.outputs.report.writer import Report
from clipcli.outputs.terminal.pictures import Graphics
from clipcli.outputs.terminal.previews import Previews
from clipcli.outputs.terminal.screens import Screen
from clipcli.runs import lookahead
from clipcli.runs.options import PipelineOptions
from clipcli.runs.rescore import with_thumbnails

LABELS = ("-l", "cat", "-l", "cup of coffee", "-l", "rocket", "--model", "tiny")
PHOTO_NAMES = ("chelsea.png", "coffee.png", "rocket.jpg")


def shapes(page: Page) -> list[tuple[int, int] | None]:
    """The sizes of the pictures on a page, in its order; None where there is none."""
    return [Image.open(io.BytesIO(jpeg)).size if jpeg else None for jpeg in page.thumbnails]


def expected_shapes(photos: Path) -> list[tuple[int, int]]:
    found = []
    for name in PHOTO_NAMES:
        with Image.open(photos / name) as image:
            image.thumbnail((256, 256))
            found.append(image.size)
    return found


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--isolate",),
        ("--unordered",),
        ("--fast-decode", "--batch-size", "2"),
        ("-o", "results.jsonl"),
    ],
    ids=" ".join,
)
def test_the_page_holds_what_the_run_gives(clipcli: Command, photos, tmp_path, options):
    names = [*(str(photos / name) for name in PHOTO_NAMES), "missing.jpg"]
    line = (*names, *LABELS, "--jsonl", *options)
    without = clipcli(*line[: len(line) - len(options)], cwd=tmp_path)
    done = clipcli(*line, "--report", "report.html", cwd=tmp_path)

    page = Page(tmp_path / "report.html")
    assert (done.returncode, done.stderr) == (without.returncode, without.stderr)
    images = sorted(page.images, key=lambda image: image["index"])
    assert [image["name"] for image in images] == names
    assert images[3]["failure"]["code"] == "not_found"
    records = [json.loads(line) for line in without.stdout.splitlines()]
    labels = page.data(id="labels")[0]
    for image, record in zip(
        images[:3], sorted(records, key=lambda one: one["index"])[:3], strict=True
    ):
        assert labels[image["answer"]] == record["answer"]
        probabilities = [score[1] for score in image["scores"]]
        assert probabilities == pytest.approx(
            [one["probability"] for one in record["predictions"]], abs=1e-3
        )
    by_index = dict(zip([image["index"] for image in page.images], shapes(page), strict=True))
    assert [by_index[index] for index in range(4)] == [*expected_shapes(photos), None]
    assert {"report.html", "results.jsonl", "results.jsonl.run.json"} >= set(os.listdir(tmp_path))


def test_images_from_the_network_and_standard_input_have_pictures(clipcli, photos, tmp_path):
    photo = (photos / "rocket.jpg").read_bytes()
    with serve({"/rocket.jpg": answer(photo)}) as server:
        url = server.url("/rocket.jpg", "name:secret@")
        line = (url, "-", "--allow-host", server.host, *LABELS, "--report", "report.html")
        done = clipcli(*line, cwd=tmp_path, input=photo)
    assert done.returncode == 0
    page = Page(tmp_path / "report.html")
    assert shapes(page) == expected_shapes(photos)[2:] * 2
    assert "secret" not in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("options", [(), ("--isolate",)], ids=" ".join)
def test_embeddings_have_pictures_where_their_files_still_are(clipcli, photos, tmp_path, options):
    for name in PHOTO_NAMES:
        (tmp_path / name).write_bytes((photos / name).read_bytes())
    line = ("embed", *PHOTO_NAMES, "--model", "tiny", "-o", "all.npz")
    assert clipcli(*line, cwd=tmp_path).returncode == 0
    (tmp_path / "chelsea.png").unlink()
    (tmp_path / "rocket.jpg").unlink()
    os.mkfifo(tmp_path / "rocket.jpg")

    line = ("--embeddings", "all.npz", *LABELS, "--report", "report.html", *options)
    assert clipcli(*line, cwd=tmp_path).returncode == 0
    page = Page(tmp_path / "report.html")
    assert [image["name"] for image in page.images] == [*PHOTO_NAMES]
    assert shapes(page) == [None, expected_shapes(photos)[1], None]


class Taker:
    """Takes all thumbnails, no large ones."""

    wants_large = False

    def __init__(self) -> None:
        self.kept: list[int] = []

    def add_thumbnail(self, index: int, _jpeg: bytes, large: bytes = b"") -> None:
        assert not large
        self.kept.append(index)


def test_pictures_of_a_block_are_all_there_before_its_images_are_shown(tmp_path, monkeypatch):
    # As if each image took long: without their order, none would be waited for.
    monkeypatch.setattr(lookahead, "_LONGEST_WAIT_SECONDS", 0)
    names = [str(tmp_path / f"{place}.png") for place in range(7)]
    for name in names:
        Image.effect_noise((500, 500), 50).save(name)
    names.append("longer than any file's name" * 20)
    refs = [ImageRef(place, name, Path(name)) for place, name in enumerate(names)]
    config = PreprocessConfig((8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    taker = Taker()
    options = PipelineOptions(ordered=False, thumbnails=taker)
    blocks = with_thumbnails([Block(refs, np.zeros((8, 2), np.float32))], config, options)
    assert next(blocks).refs == refs
    assert sorted(taker.kept) == list(range(7))


def test_a_terminal_and_a_report_take_the_same_pictures(tmp_path):
    previews = Previews(Screen(Graphics.TRUE_COLOR, 80))
    assert with_previews(PipelineOptions(), previews).thumbnails is previews
    assert not previews.wants_large
    with Report(tmp_path / "report.html", "Pets", ["cat"], {}) as report:
        taker = with_previews(with_pictures(PipelineOptions(), report), previews).thumbnails
        assert taker is not None
        assert taker.wants_large
        taker.add_thumbnail(0, encoded(Image.new("RGB", (9, 9), "red"), "JPEG"), b"large")
        report.add(Failure(0, "cat.jpg", FailureCode.DAMAGED, "damaged"))
        report.finish()
    assert Page(tmp_path / "report.html").large == {0: b"large"}
    assert previews.beside(0, ["a line"]) != previews.beside(0, ["a line"]) == "a line\n"


def encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def test_a_run_that_is_cut_reports_what_was_done(clipcli, photos, tmp_path):
    line = (photos / "rocket.jpg", "missing.jpg", photos / "coffee.png", *LABELS)
    done = clipcli(*line, "--fail-fast", "--report", "report.html", cwd=tmp_path)
    assert done.returncode == 3
    page = Page(tmp_path / "report.html")
    assert len(page.images) == 2
    assert "The run ended before its images did." in page.text


def test_the_page_tells_what_the_run_was_made_with(clipcli, photos, tmp_path):
    line = (photos / "rocket.jpg", *LABELS, "-t", "a photo of a {}", "--report", "report.html")
    assert clipcli(*line, cwd=tmp_path).returncode == 0
    text = Page(tmp_path / "report.html").text
    for words in ("Model tiny", "labels cat, cup of coffee, rocket", "templates a photo of a {}"):
        assert words in text
    assert "format" not in text


@pytest.mark.parametrize(
    "command",
    [("classify", *LABELS), ("eval", "photos", "--model", "tiny")],
    ids=lambda command: command[0],
)
@pytest.mark.parametrize("options", [(), ("--isolate",)], ids=" ".join)
def test_the_page_has_large_pictures_links_and_how_it_was_made(
    clipcli, photos, tmp_path, command, options
):
    for label, name in (("cat", "chelsea.png"), ("rocket", "rocket.jpg")):
        (tmp_path / "photos" / label).mkdir(parents=True)
        (tmp_path / "photos" / label / name).write_bytes((photos / name).read_bytes())
    (tmp_path / "pages").mkdir()
    names = [f"photos/{name}" for name in ("cat/chelsea.png", "rocket/rocket.jpg")]
    inputs = names if command[0] == "classify" else []
    line = (*command, *inputs, *options, "--report", "pages/it's.html")
    proxy = "http://me:geheim@127.0.0.1:9"
    before = datetime.now().astimezone().replace(microsecond=0)
    done = clipcli(*line, *(("--proxy", proxy) if inputs else ()), cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    page = Page(tmp_path / "pages" / "it's.html")
    assert [image["link"] for image in page.images] == [f"../{name}" for name in names]
    sizes = [Image.open(io.BytesIO(page.large[place])).size for place in range(2)]
    for size, name in zip(sizes, names, strict=True):
        with Image.open(tmp_path / name) as image:
            image.thumbnail((1024, 1024))
            assert size == image.size
    (date,) = re.findall(r"date (\S+ \S+) command line", page.text)
    assert before <= datetime.fromisoformat(date) <= datetime.now().astimezone()
    shown = [*line, *(("--proxy", "http://***@127.0.0.1:9") if inputs else ())]
    assert f"command line {shlex.join(['clipcli', *shown])} " in page.text
    assert "geheim" not in (tmp_path / "pages" / "it's.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--report", "gone/report.html"),
            "cannot write --report gone/report.html (there is no folder gone)",
        ),
        (
            ("--report", "a.jpg"),
            "--report a.jpg is no name of a page: give one that ends in .html",
        ),
        (
            ("--report", "r.html", "-o", "./r.html"),
            "--report and -o name the same file: name another for one of them",
        ),
        (
            ("--report", "r.html", "-o", "r.jsonl", "--resume"),
            "--report shows the images of one whole run: leave out --resume",
        ),
        (
            ("--report", "r.html", "-o", "r.jsonl", "--retry-failed"),
            "--report shows the images of one whole run: leave out --retry-failed",
        ),
    ],
)
def test_what_cannot_be_reported_is_said_before_the_run(
    clipcli, photos, tmp_path, options, message
):
    done = clipcli(photos / "rocket.jpg", *LABELS, *options, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"clipcli: {message} (see 'clipcli classify --help')\n"
    assert list(tmp_path.glob("*.html*")) == []
