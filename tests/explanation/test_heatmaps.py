"""Explanations as pictures, for files and for terminals."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from clipcli.errors import ClipcliWarning
from clipcli.explanation import heatmaps
from clipcli.explanation.explain import Explanation, HeatMap
from clipcli.explanation.terminal_maps import terminal_maps
from clipcli.explanation.views import View
from clipcli.heads.results import LabelScore, Prediction
from clipcli.outputs.terminal.pictures import Graphics
from clipcli.outputs.terminal.screens import Screen

CENTRE = View(0.25, 0.0, 0.75, 1.0)
GREY = 100
LEFT_HOT = np.array([[1.0, 0.1], [0.5, -1.0]])


def explanation(*labels: str, values: np.ndarray = LEFT_HOT, size=(80, 40)) -> Explanation:
    scores = tuple(LabelScore(label, 1 / len(labels), 0.2) for label in labels)
    return Explanation(
        Prediction(0, "cat.png", scores, labels[0]),
        Image.new("RGB", size, (GREY, GREY, GREY)),
        CENTRE,
        tuple(
            HeatMap(label, 1 / len(labels), values, max(0.0, float(values.max())))
            for label in labels
        ),
    )


def colourfulness(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image, int)
    return pixels.max(axis=2) - pixels.min(axis=2)


def test_heat_is_where_the_map_is_highest_and_what_is_not_seen_is_dark():
    shown = explanation("cat")
    image = heatmaps.overlay(shown.picture, shown.maps[0], CENTRE)
    pixels, color = np.asarray(image, int), colourfulness(image)
    assert image.size == (80, 40)
    assert (pixels[:, :20] == round(0.35 * GREY)).all()
    assert (pixels[:, 60:] == round(0.35 * GREY)).all()
    assert (pixels[38, 58] == GREY).all()  # what speaks against the label has no colour
    # Brightest in the cell of the highest value, which is the view's top left.
    assert pixels.sum(axis=2)[3:10, 23:30].min() > pixels.sum(axis=2)[28:38].max()
    assert color[25:35, 25:30].min() > 20


@pytest.mark.parametrize("values", [np.zeros((3, 3)), -np.ones((3, 3))])
def test_a_map_that_nothing_speaks_for_has_no_colour(values):
    shown = explanation("cat", values=values)
    image = heatmaps.overlay(shown.picture, shown.maps[0], CENTRE)
    assert colourfulness(image).max() == 0
    text = terminal_maps(shown, None)
    assert "█" not in text.splitlines()[1]
    assert "nothing in the picture speaks for 'cat'" in text
    told, silent = heatmaps.figure(shown), heatmaps.figure(explanation("cat"))
    caption = (slice(16 + 150 + 22, 16 + 150 + 46), slice(16 + 316, 16 + 2 * 316))
    assert (np.asarray(told)[caption] < 128).sum() > (np.asarray(silent)[caption] < 128).sum()


def test_large_pictures_are_drawn_smaller():
    shown = explanation("cat", size=(3000, 1500))
    assert heatmaps.overlay(shown.picture, shown.maps[0], CENTRE).size == (1024, 512)
    assert shown.picture.size == (3000, 1500)


def test_more_heat_is_a_lighter_colour():
    colors = heatmaps.colors(np.linspace(0, 1, 50))
    lightness = colors @ (0.2126, 0.7152, 0.0722)  # of sRGB, as in Rec. 709
    assert (np.diff(lightness) > 0).all()


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("a photo of a cat", "03-a-photo-of-a-cat.png"),
        ("../../etc/passwd", "03-etc-passwd.png"),
        ("/", "03-label.png"),
        ("a\0b\nc\\d", "03-a-b-c-d.png"),
        ("寿司", "03-寿司.png"),
        ("CON", "03-con.png"),
        ("x" * 300, f"03-{'x' * 40}.png"),
    ],
)
def test_any_label_makes_a_safe_file_name(label, name):
    assert heatmaps.file_name(3, label) == name


def test_labels_that_differ_only_in_signs_have_files_of_their_own(tmp_path):
    files = heatmaps.write(tmp_path, explanation("a/b", "a b", "A.B"))
    assert [file.name for file in files] == [
        *("01-a-b.png", "02-a-b.png", "03-a-b.png"),
        "explanation.png",
    ]
    assert sorted(tmp_path.iterdir()) == files
    for file in files:
        with Image.open(file) as image:
            image.verify()


def test_maps_of_one_picture_have_one_scale():
    """A label that is nearly nothing does not glow as one that is nearly all."""
    bright = HeatMap("cat", 0.99, LEFT_HOT, 1.0)
    faint = HeatMap("dog", 0.01, LEFT_HOT / 10, 1.0)
    alone = HeatMap("dog", 0.01, LEFT_HOT / 10, 0.1)
    picture = explanation("cat").picture
    heat = [
        int(colourfulness(heatmaps.overlay(picture, one, CENTRE)).max())
        for one in (bright, faint, alone)
    ]
    assert heat[0] == heat[2] > 20 > heat[1] == 0
    assert [one.is_empty for one in (bright, faint, alone)] == [False, True, False]


def test_a_file_gets_the_figure_alone(tmp_path):
    target = tmp_path / "maps.PNG"
    assert heatmaps.write(target, explanation("a", "b")) == [target]
    with Image.open(target) as image:
        assert image.format == "PNG"
        assert image.size == heatmaps.figure(explanation("a", "b")).size
    with pytest.warns(ClipcliWarning, match="captions of maps.PNG show boxes"):
        heatmaps.write(target, explanation("кошка"))


def test_letters_that_the_captions_cannot_show_are_told(tmp_path):
    with pytest.warns(ClipcliWarning, match="captions of explanation.png show boxes"):
        heatmaps.write(tmp_path, explanation("Kätzchen, café", "кошка"))


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (3, 1), (4, 2), (8, 3)])
def test_the_figure_holds_the_picture_and_every_overlay(count, rows):
    sheet = heatmaps.figure(explanation(*(f"label {number}" for number in range(count))))
    panels = min(4, count + 1)
    assert sheet.size == (16 + panels * 316, 16 + rows * (150 + 46 + 16) + 40)
    # Each panel's left quarter is the dark of what is not seen; the picture's own is not.
    corners = [(16 + 316 * (place % 4), 16 + 212 * (place // 4)) for place in range(count + 1)]
    levels = [sheet.getpixel((left + 30, top + 75))[0] for left, top in corners]
    assert levels == [GREY] + [round(0.35 * GREY)] * count


def test_a_long_label_is_cut_to_its_panel():
    sheet = heatmaps.figure(explanation("a very long label " * 10, "b"))
    paper = np.asarray(sheet)[16 + 150 + 4 : 16 + 150 + 40, 16 + 316 + 300 : 16 + 2 * 316]
    assert (paper == 255).all()


def test_characters_show_the_map_where_there_are_no_colours():
    lines = terminal_maps(explanation("cat", "a dog \x1b[2J with a long name"), None).splitlines()
    assert lines[0] == "cat 0.5000                 a dog \\x1b[2J wit… 0.5000"
    assert lines[-1] == "· little █ most speaks for the label"
    top, bottom = lines[1], lines[-2]
    assert top[:6].isspace()
    assert top[7] == "█"
    assert bottom.rstrip()[-1] == "·"
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(("columns", "in_a_row"), [(80, 3), (53, 2), (20, 1)])
def test_maps_stand_side_by_side_as_far_as_there_is_room(columns, in_a_row):
    shown = explanation("a", "b", "c", "d")
    text = terminal_maps(shown, Screen(Graphics.TRUE_COLOR, columns))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    titles = re.findall(r"^[a-d] .*$", plain, re.MULTILINE)
    assert len(titles) == -(-4 // in_a_row)
    assert len(re.findall(r"[a-d] 0\.2500", titles[0])) == in_a_row
    assert text.count("▀") == 4 * 24 * 6 + 4 * 6


def test_a_terminal_that_draws_gets_the_figure():
    text = terminal_maps(explanation("a", "b"), Screen(Graphics.KITTY, 80))
    assert "\x1b_Ga=T" in text
    assert "▀" not in text
