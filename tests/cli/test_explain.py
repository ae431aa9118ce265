"""Where an answer comes from: occlusion, what the model sees of a picture, and the command."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from bundle_copies import MANIFEST
from command import Command
from fake_engine import FakeEngine
from PIL import Image
from terminal import CLIPCLI, Terminal
from web_server import answer, serve

from clipcli.engines.base import EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.errors import UsageError
from clipcli.explanation.explain import ExplainOptions, directions, explain
from clipcli.explanation.occlusion import occlusion_maps
from clipcli.explanation.views import View, on_picture
from clipcli.heads.labels import LabelSet
from clipcli.heads.zero_shot import ZeroShotHead, build_head
from clipcli.images.decoding import preprocess
from clipcli.images.options import ImageOptions
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.images.sources import ImageRef
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest

CAT, COFFEE, ROCKET = "a photo of a cat", "a cup of coffee", "a rocket"
FILES = {CAT: "chelsea.png", COFFEE: "coffee.png", ROCKET: "rocket.jpg"}
TINY = ("--model", "tiny")
LABELS = ("-l", CAT, "-l", COFFEE)
# Pixels a side for each place of a convolutional tower's last map, as most have it.
STRIDE = 32


@pytest.fixture(scope="module")
def tiny():
    """The bundled model, by its engine's name."""
    spec = resolve_model(ModelRequest("tiny"))
    return {name: load_engine(spec, EngineOptions(engine=name)) for name in ("onnx", "torch")}


def half(file: Path, side: int) -> Image.Image:
    """The upright middle of a photo, half as wide as high."""
    with Image.open(file) as photo:
        width, height = photo.size
        left = (width - height // 2) // 2
        box = (left, 0, left + height // 2, height)
        return photo.convert("RGB").resize((side // 2, side), Image.Resampling.BICUBIC, box)


def two_halves(photos: Path, left: str, right: str, side: int = 256) -> Image.Image:
    """A square picture of two photos side by side, all of which the model sees."""
    picture = Image.new("RGB", (side, side))
    picture.paste(half(photos / FILES[left], side), (0, 0))
    picture.paste(half(photos / FILES[right], side), (side // 2, 0))
    return picture


def explained(engine, image, labels, **options):
    head = build_head(engine, LabelSet(labels))
    ref = ImageRef(0, "picture.png", b"")
    return explain(ref, image, engine, head, ExplainOptions(**options))


@pytest.mark.parametrize(
    ("engine", "method"), [("onnx", "occlusion"), ("torch", "occlusion"), ("torch", "gradient")]
)
@pytest.mark.parametrize(
    ("left", "right"),
    [(CAT, COFFEE), (COFFEE, CAT), (CAT, ROCKET), (ROCKET, CAT), (COFFEE, ROCKET)],
)
def test_each_labels_map_lies_on_its_own_half(tiny, photos, engine, method, left, right):
    picture = two_halves(photos, left, right)
    found = explained(tiny[engine], picture, (left, right), method=method)
    for heat_map in found.maps:
        positive = np.maximum(on_picture(heat_map.values, found.view, (256, 256)), 0)
        own = positive[:, :128] if heat_map.label == left else positive[:, 128:]
        assert own.sum() >= 0.6 * positive.sum() > 0


def test_the_best_labels_get_maps_and_all_labels_are_scored(tiny, photos):
    with Image.open(photos / "chelsea.png") as image:
        found = explained(tiny["onnx"], image, (COFFEE, CAT, ROCKET), grid=2, top_k=2)
    assert found.prediction.answer == CAT
    assert len(found.prediction.scores) == 3
    assert [heat_map.label for heat_map in found.maps] == [CAT, found.prediction.scores[1].label]
    assert found.maps[0].probability == found.prediction.best.probability
    assert found.picture.mode == "RGB"


def test_gradients_of_an_engine_without_them_are_refused(photos):
    with pytest.raises(UsageError, match="--engine torch"):
        explained(FakeEngine(), Image.new("RGB", (8, 8)), ("a", "bb"), method="gradient")


def test_an_explained_score_is_a_logit_less_the_mean_of_the_others():
    rows = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    image = rows.sum(axis=0).astype(np.float64)
    head = ZeroShotHead(tuple("abcd"), rows, 20.0, -3.0, "softmax")
    logits = 20.0 * rows @ image - 3.0
    expected = [logits[row] - np.delete(logits, row).mean() for row in range(4)]
    np.testing.assert_allclose(directions(head) @ image, expected, rtol=1e-5)
    # Each label on its own: the bias is no image's.
    alone = ZeroShotHead(("a",), rows[:1], 20.0, -3.0, "sigmoid")
    np.testing.assert_allclose(directions(alone) @ image, [logits[0] + 3.0], rtol=1e-5)


def test_occlusion_is_what_the_score_loses_under_each_patch():
    """The fake model's angle is an image's mean, so that each loss can be computed."""
    engine = FakeEngine()
    pixels = np.full((3, 40, 20), 0.8, np.float32)
    maps = occlusion_maps(engine, pixels, np.eye(2), grid=10, batch_size=32)
    # Three of ten places a side, cut off at the border.
    side = np.array([2] + [3] * 8 + [2]) / 10
    angle = 0.8 * (1 - np.outer(side, side)) * np.pi / 2
    whole = 0.8 * np.pi / 2
    expected = [np.cos(whole) - np.cos(angle), np.sin(whole) - np.sin(angle)]
    np.testing.assert_allclose(maps, expected, atol=1e-6)
    assert engine.batches == [1, 32, 32, 32, 4]


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(300, 200), (200, 300), (101, 64), (64, 64), (200, 700)])
@pytest.mark.parametrize("target", [(64, 64), (48, 96)])
def test_a_view_is_what_the_model_sees(mode, size, target):
    """A picture whose colours are its coordinates, prepared for the model."""
    across, down = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    colors = np.stack([across / size[0], down / size[1], np.ones_like(down)], axis=-1)
    image = Image.fromarray((colors * 200 + 50).round().astype(np.uint8))
    config = PreprocessConfig(target, (0, 0, 0), (1, 1, 1), "bilinear", mode)
    pixels = preprocess(image, config, ImageOptions())
    found = (pixels * 255 - 50) / 200
    view = View.of(size, config)
    x = view.left + (np.arange(target[1]) + 0.5) / target[1] * (view.right - view.left)
    y = view.top + (np.arange(target[0]) + 0.5) / target[0] * (view.bottom - view.top)
    inside = np.ix_((y > 0.02) & (y < 0.98), (x > 0.02) & (x < 0.98))
    assert inside[0].size
    assert inside[1].size
    np.testing.assert_allclose(found[0][inside], np.broadcast_to(x, target)[inside], atol=0.02)
    np.testing.assert_allclose(
        found[1][inside], np.broadcast_to(y[:, None], target)[inside], atol=0.02
    )


def test_a_map_is_laid_on_the_part_that_was_seen():
    values = np.array([[0.0, 0.0], [0.0, 4.0]])
    whole = on_picture(values, View(0.25, 0.0, 0.75, 1.0), (80, 40))
    assert whole.shape == (40, 80)
    assert (whole[:, :19] == 0).all()
    assert (whole[:, 61:] == 0).all()
    row, column = np.unravel_index(whole.argmax(), whole.shape)
    assert row >= 30
    assert 50 <= column < 60


def test_a_border_beside_the_picture_is_left_off():
    whole = on_picture(np.array([[0.0], [1.0], [0.0]]), View(0, -1.0, 1, 2.0), (30, 30))
    assert whole.min() > 0.4


# The command.


def test_a_pipe_gets_the_maps_as_numbers(clipcli: Command, photos):
    line = ("explain", "chelsea.png", *LABELS, "--grid", "2", *TINY)
    result = clipcli(*line, cwd=photos)
    assert (result.returncode, result.stderr) == (0, b"")
    assert len(json.loads(result.stdout)["maps"]) == 2
    assert result.stdout == clipcli(*line, "--json", cwd=photos).stdout


@pytest.mark.parametrize(("each_scale", "scales"), [(False, 1), (True, 3)])
def test_all_maps_have_one_scale_unless_each_shall_have_its_own(tiny, photos, each_scale, scales):
    with Image.open(photos / "chelsea.png") as image:
        labels = (COFFEE, CAT, ROCKET)
        found = explained(tiny["onnx"], image, labels, grid=3, each_scale=each_scale)
    assert len({one.highest for one in found.maps}) == scales
    assert max(one.highest for one in found.maps) == max(one.values.max() for one in found.maps)


def test_a_png_is_one_picture(clipcli: Command, photos, tmp_path):
    line = ("chelsea.png", *LABELS, "-o", tmp_path / "maps.png", "--grid", "2", *TINY)
    assert clipcli("explain", *line, "--each-scale", cwd=photos).returncode == 0
    with Image.open(tmp_path / "maps.png") as image:
        assert image.format == "PNG"
    (tmp_path / "folder.png").mkdir()
    line = ("chelsea.png", *LABELS, "-o", tmp_path / "folder.png", "--grid", "2", *TINY)
    assert clipcli("explain", *line, cwd=photos).returncode == 0
    assert (tmp_path / "folder.png" / "explanation.png").is_file()


@pytest.mark.parametrize("method", ["occlusion", "gradient"])
def test_json_holds_the_maps_as_numbers(clipcli: Command, photos, method):
    line = ("-", *LABELS, "-l", ROCKET, "-k", "2", "--grid", "3", "--method", method, "--json")
    photo = (photos / "chelsea.png").read_bytes()
    result = clipcli("explain", *line, *TINY, input=photo)
    record = json.loads(result.stdout)
    assert record["input"] == "-"
    assert record["answer"] == CAT
    assert record["method"] == method
    assert record["picture"] == {"width": 451, "height": 300}
    # The short side is resized to the model's, the long one as far as whole pixels go; the middle
    # of it is seen.
    side = MANIFEST["preprocess"]["size"][0]
    long = 451 * side // 300
    left = round((long - side) / 2) / long
    view = {"left": left, "top": 0, "right": left + side / long, "bottom": 1}
    assert record["view"] == pytest.approx(view)
    assert [entry["label"] for entry in record["maps"]] == [
        entry["label"] for entry in record["predictions"]
    ]
    sides = {(len(entry["values"]), len(entry["values"][0])) for entry in record["maps"]}
    # Gradients have a value for each place of the tower's last map, of which there are few.
    cells = 3 if method == "occlusion" else math.ceil(side / STRIDE)
    assert sides == {(cells, cells)}


def test_an_image_is_fetched_and_a_failure_has_a_record(clipcli: Command, photos):
    with serve({"/cat.png": answer((photos / "chelsea.png").read_bytes())}) as pages:
        host = pages.url().split("/")[2]
        line = (*LABELS, "--allow-host", host, "--grid", "2", "--json", *TINY)
        fetched = clipcli("explain", pages.url("/cat.png"), *line)
        gone = clipcli("explain", pages.url("/gone.png"), *line)
    assert json.loads(fetched.stdout)["answer"] == CAT
    assert gone.returncode == 4
    assert json.loads(gone.stdout)["error"]["code"] == "url_failed"


def test_pictures_are_written_to_a_folder(clipcli: Command, photos, tmp_path):
    line = ("chelsea.png", *LABELS, "-o", tmp_path / "new" / "maps", "--grid", "2", *TINY)
    result = clipcli("explain", *line, cwd=photos)
    assert result.returncode == 0
    names = ["01-a-photo-of-a-cat.png", "02-a-cup-of-coffee.png", "explanation.png"]
    assert sorted(file.name for file in (tmp_path / "new" / "maps").iterdir()) == names
    with Image.open(tmp_path / "new" / "maps" / names[0]) as image:
        assert image.size == (451, 300)


def test_maps_are_shown_in_characters_where_that_is_asked_for(clipcli: Command, photos):
    result = clipcli("explain", "chelsea.png", *LABELS, "--format", "human", *TINY, cwd=photos)
    text = result.stdout.decode()
    assert "Best match: 'a photo of a cat'" in text
    assert text.endswith("· little █ most speaks for the label\n")
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("env", "sign", "other"),
    [
        ({}, "▀", "▒"),
        ({"TERM": "xterm-kitty"}, "\x1b_Ga=T", "▀"),
        ({"NO_COLOR": "1"}, "▒", "▀"),
        ({"TERM": "dumb"}, "▒", "\x1b"),
    ],
)
def test_a_terminal_gets_maps_as_it_can_show_them(photos, env, sign, other):
    line = ("explain", "chelsea.png", *LABELS, *TINY)
    text = Terminal().run(CLIPCLI, *line, env=env, cwd=photos)
    after = text.split("Best match")[1]
    assert sign in after
    assert other not in after


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        (("gone.png", *LABELS), 4, "clipcli: gone.png: no such file"),
        (("*.png", *LABELS), 2, "explain one at a time"),
        (("*.gif", *LABELS), 4, "no file matches this pattern"),
        ((".", *LABELS), 2, ". is a folder: name one image in it"),
        (("chelsea.png", "-l", CAT), 2, "one label alone"),
        (("chelsea.png", *LABELS, "--method", "gradient", "--engine", "onnx"), 2, "torch only"),
        (("chelsea.png", *LABELS, "--method", "gradient", "--precision", "int8"), 2, "int8"),
        (("chelsea.png", *LABELS, "--format", "human", "--json"), 2, "exclude each other"),
        (("chelsea.png", *LABELS, "--format", "tsv"), 2, "'tsv' is not one of 'human', 'json'"),
        (("chelsea.png", *LABELS, "-o", "maps.jpg"), 2, "pictures are PNG: name FILE.png"),
        (("chelsea.png", *LABELS, "-o", "gone/maps.png"), 2, "there is no folder gone"),
        (("chelsea.png", *LABELS, "-o", "coffee.png/maps"), 2, "cannot make the folder"),
        (("chelsea.png", *LABELS, "--grid", "1"), 2, "--grid"),
    ],
)
def test_what_cannot_be_explained_says_why(clipcli: Command, photos, line, code, message):
    result = clipcli("explain", *line, *TINY, cwd=photos)
    assert result.returncode == code
    # A picture that failed has its record, as from `classify`.
    records = [json.loads(line)["status"] for line in result.stdout.splitlines()]
    assert records == ["error"] * (code == 4)
    assert message in result.stderr.decode()
    assert len(result.stderr.splitlines()) == 1
