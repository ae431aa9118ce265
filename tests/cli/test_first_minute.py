"""What newcomers type in their first minute: understood, or answered with what they meant."""

from __future__ import annotations

import os
import pty
import subprocess

import pytest
from command import PATIENCE, PHOTOS, clean_environment, installed_command

CAT = str(PHOTOS / "chelsea.png")

ANSWERED = {
    "p.jpg cat dog": "did you mean: clipcli p.jpg -l cat -l dog",
    "p.jpg -l cat dog": "did you mean: clipcli p.jpg -l cat -l dog",
    "p.jpg -l cat,dog": "did you mean: clipcli p.jpg -l cat -l dog",
    "-l cat,dog p.jpg": "did you mean: clipcli p.jpg -l cat -l dog",
    "p.jpg cat,dog": "did you mean: clipcli p.jpg -l cat -l dog",
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
    "pull": "Missing argument 'MODEL'; for example: clipcli pull ViT-B/32",
    "embed p.jpg": "for example: clipcli embed photos/ -r -o photos.npz",
    "convert x.pt": "for example: clipcli convert ViT-B-32.pt ViT-B-32.safetensors",
    "completion": "for example: clipcli completion bash >> ~/.bashrc",
    "eval": "for example: clipcli eval photos/",
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


@pytest.mark.parametrize(
    ("name", "is_address"),
    [
        ("www.example.com/cat.jpg", True),
        ("example.org/photos/cat.jpg", True),
        ("upload.example.org:8080/cat.jpg", True),
        ("cat.jpg", False),
        ("photos/cat.jpg", False),
        ("./example.org/cat.jpg", False),
        ("kept.org/cat.jpg", False),  # a folder that is there
    ],
)
def test_an_address_without_its_scheme_is_told_with_it(clipcli, tmp_path, name, is_address):
    (tmp_path / "kept.org").mkdir()
    result = clipcli(name, "-l", "cat", "-l", "dog", "-m", "tiny", cwd=tmp_path)
    assert result.returncode == 4
    hint = f" (if it is an address: https://{name})" if is_address else ""
    assert result.stderr.decode() == f"clipcli: {name}: no such file{hint}\n"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("- -l cat -l dog", "the bytes of an image"),
        ("--files-from - -l cat -l dog", "names of images"),
        ("p.jpg --labels -", "labels"),
        ("explain - -l cat -l dog", "the bytes of an image"),
        ("explain p.jpg --labels -", "labels"),
        ("embed - -o x.npz", "the bytes of an image"),
        ("embed --files-from - -o x.npz", "names of images"),
    ],
)
def test_who_is_to_type_is_told_so(tmp_path, line, what):
    screen, terminal = pty.openpty()
    command = [installed_command(), *line.split(), "-m", "tiny"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=clean_environment(),
        stdin=terminal,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        told = process.stderr.readline().decode()
        os.write(screen, b"\x04")
        process.communicate(timeout=PATIENCE)
    os.close(screen)
    os.close(terminal)
    assert told == f"clipcli: reading {what} from the keyboard: Ctrl-D ends them, Ctrl-C leaves\n"
