"""What newcomers type in their first minute: understood, or answered with what they meant."""

from __future__ import annotations

import pytest
from command import PHOTOS

CAT = str(PHOTOS / "chelsea.png")

ANSWERED = {
    "p.jpg cat dog": "did you mean: clipcli p.jpg -l cat -l dog",
    "p.jpg -l cat dog": "did you mean: clipcli p.jpg -l cat -l dog",
    "p.jpg -l cat,dog": "did you mean: clipcli p.jpg -l cat -l dog",
    "-l cat,dog p.jpg": "did you mean: clipcli p.jpg -l cat -l dog",
    "cat dog": "did you mean: clipcli IMAGE -l cat -l dog",
    "p.jpg --labels cat,dog": "write -l cat -l dog",
    "p.jpg --labels cat dog": "write -l cat",
    "p.jpg --labels imagnet": "did you mean --labels imagenet?",
    "clasify p.jpg -l cat -l dog": "did you mean 'clipcli classify'?",
    "Classify p.jpg -l cat -l dog": "did you mean 'clipcli classify'?",
    "evaluate photos": "did you mean 'clipcli eval'?",
    "model": "did you mean 'clipcli models'?",
    "download ViT-B/32": "did you mean 'clipcli pull'?",
    "p.jpg --lable cat -l dog": "Did you mean one of: '--isolate', '--label', '--labels'?",
    "p.jpg -l cat -l dog --tsv --csv": "keep one of them",
    "-0 -l cat -l dog": "--files-from FILE, or - for standard input",
    "- --labels -": "standard input can be read only once",
    "--files-from - --labels -": "standard input can be read only once",
    "p.jpg --labels - --labels -": "standard input can be read only once",
    "explain - --labels -": "standard input can be read only once",
    "-l cat -l dog": "no images: name files",
    "p.jpg -l cat -l dog --expect cat --expect bird": "--expect 'bird' is none of the labels",
}


@pytest.mark.parametrize("line", ANSWERED)
def test_a_slip_is_answered_with_the_line_that_was_meant(clipcli, tmp_path, line):
    result = clipcli(*line.split(), cwd=tmp_path, input=b"a cat\na dog\n")
    assert (result.returncode, result.stdout) == (2, b"")
    (told,) = result.stderr.decode().splitlines()
    assert ANSWERED[line] in told


@pytest.mark.parametrize(
    ("line", "start"),
    [
        ("help", "Usage: clipcli IMAGE"),
        ("help eval", "Usage: clipcli eval "),
        ("help classify", "Usage: clipcli classify "),
        ("version", "clipcli 0."),
    ],
)
def test_what_other_programs_call_help_is_help(clipcli, line, start):
    result = clipcli(*line.split())
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.decode().startswith(start)


def test_a_file_wins_over_the_command_that_its_name_is_near(clipcli, tmp_path):
    (tmp_path / "clasify").write_bytes((PHOTOS / "chelsea.png").read_bytes())
    result = clipcli("clasify", "-l", "a cat", "-l", "a dog", "-m", "tiny", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.parametrize(("option", "start"), [("--csv", "index,input,"), ("--tsv", f"{CAT}\t")])
def test_formats_and_the_model_have_short_forms(clipcli, option, start):
    result = clipcli(CAT, "-l", "a cat", "-l", "a dog", "-m", "tiny", option)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.decode().startswith(start)


def test_labels_come_on_standard_input(clipcli):
    result = clipcli(CAT, "--labels", "-", "-m", "tiny", input=b"a photo of a cat\na rocket\n")
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"\ta photo of a cat\t" in result.stdout


def test_several_expected_labels_are_one_or_the_other(clipcli):
    line = (CAT, "-l", "a photo of a cat", "-l", "a rocket", "-l", "a car", "-m", "tiny")
    assert clipcli(*line, "--expect", "a car", "--expect", "a photo of a cat").returncode == 0
    result = clipcli(*line, "--expect", "a car", "--expect", "a rocket")
    assert result.returncode == 6
    assert b"expected 'a car' or 'a rocket', got 'a photo of a cat'" in result.stderr


def test_an_expected_label_is_met_by_one_that_is_the_same_text(clipcli):
    labels = ("-l", "A photo of a CAT", "-l", "a photo of a cat", "-l", "a rocket")
    result = clipcli(CAT, *labels, "-m", "tiny", "--expect", "a photo of a cat")
    assert result.returncode == 0
    assert b"are the same text to this model and share its probability" in result.stderr


def test_a_word_that_is_no_file_may_be_a_label(clipcli, tmp_path):
    result = clipcli(CAT, "-l", "cat", "-l", "dog", "a bird", "-m", "tiny", cwd=tmp_path)
    assert result.returncode == 3
    assert b"a bird: no such file (if it is a label: -l 'a bird')" in result.stderr


def test_a_list_of_names_on_the_dash_is_told_from_an_image(clipcli):
    result = clipcli("-", "-l", "cat", "-l", "dog", "-m", "tiny", input=b"cat.jpg\ndog.jpg\n")
    assert result.returncode == 4
    assert b"is read with --files-from -" in result.stderr
