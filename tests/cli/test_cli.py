"""The command line without a model: usage errors, help, environment, and what goes where."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from collections import Counter
from importlib.resources import files

import pytest
from command import PHOTOS, clean_environment, installed_command

from clipcli.cli.console import Console
from clipcli.cli.main import cli
from clipcli.cli.running.engine import _advise
from clipcli.engines.choice import EngineChoice
from clipcli.errors import ClipcliWarning, FailureCode
from clipcli.heads.results import Failure
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest
from clipcli.runs.tally import Tally

TWO = ("-l", "cat", "-l", "dog")
COMMANDS = tuple(sorted(cli.commands))
HELP_PAGES = [("--help",), *((command, "--help") for command in COMMANDS)]


@pytest.mark.parametrize("page", HELP_PAGES, ids=" ".join)
def test_every_help_page_shows_an_example_on_a_line_of_its_own(clipcli, page):
    result = clipcli(*page)
    assert (result.returncode, result.stderr) == (0, b"")
    assert re.search(r"^ +(\w+: +)?clipcli \w+", result.stdout.decode(), re.MULTILINE)
    assert b"\\b" not in result.stdout


def test_every_option_has_a_help_text(clipcli):
    text = clipcli("classify", "--help").stdout.decode().partition("\nImages:")[2]
    sections = text.partition("\n  Exit codes")[0].split("\n\n")
    options = [option for part in sections for option in re.split(r"\n  (?=-)", part)[1:]]
    assert len(options) >= 50
    assert [option for option in options if not re.search(r"(  |\n) *[\w\[]", option)] == []


def test_without_arguments_the_help_comes_and_the_code_is_2(clipcli):
    result = clipcli()
    assert (result.returncode, result.stderr) == (2, b"")
    assert result.stdout == clipcli("--help").stdout


def test_the_version_is_one_line(clipcli):
    assert re.fullmatch(rb"clipcli \d+\.\d+\.\d+\n", clipcli("--version").stdout)


def test_python_m_clipcli_is_the_command(clipcli):
    command = [sys.executable, "-m", "clipcli", "--help"]
    result = subprocess.run(command, capture_output=True, check=True, env=clean_environment())
    assert result.stdout == clipcli("--help").stdout


def tally(done: int, failed: int) -> Tally:
    return Tally(done=done, failed=Counter([FailureCode.EMPTY.value] * failed))


USAGE_ERRORS = {
    "x.png -l cat": "one label alone always has probability 1: name an alternative to 'cat'",
    "x.png -l cat -l cat": "label given more than once: 'cat'",
    "x.png -l cat -l ": "a label is empty",
    "x.png": "no labels: name some with -l TEXT or --labels FILE",
    "-l cat -l dog": "no images: name files, URLs, - for standard input, or --files-from",
    "x.png -l a -l b -t photo": "template 'photo' has no {} where the label goes",
    "x.png --labels gone.txt": "cannot read labels from 'gone.txt' (No such file or directory)",
    "x.png -l a -l b --expect c": "--expect 'c' is none of the labels: 'a', 'b'",
    "x.png -l a -l b --expect unknown": "--expect unknown needs --min-probability",
    "x.png -l unknown -l b --min-probability .5": "a label 'unknown' cannot be told from",
    "x.png -l a -l b --device tpu": "'tpu' is no device: use auto, cpu, mps, cuda or cuda:N",
    "x.png -l a -l b --device cpu --precision fp16": "fp16 needs a GPU: on a CPU use",
    "x.png -l a -l b --engine onnx --device cuda": "--engine onnx runs on the CPU: leave out",
    "x.png -l a -l b --engine onnx --precision bf16": "--engine onnx has fp32 and int8: for bf16",
    "x.png -l a -l b --engine torch --precision int8": "int8 runs on the CPU, from a prepared",
    "x.png -l a -l b --device cuda --precision int8": "int8 runs on the CPU, from a prepared",
    "x.png -l a -l b --top-k 0": "Invalid value for '-k' / '--top-k': 0 is not in the range",
    "x.png -l a -l b --bogus": "No such option '--bogus'",
    "x.png -l a -l b --format csv --json": "--format, --tsv, --csv, --json and --jsonl exclude",
    "x.png -l a -l b --json --jsonl": "--format, --tsv, --csv, --json and --jsonl exclude",
    "- -l a -l b --files-from -": "standard input can be read only once",
    "- - -l a -l b": "standard input can be read only once",
    "x.png -l a -l b --min-probability nan": "--min-probability is a number from 0 to 1",
    "pull ViT-B-32 --checkpoint x.safetensors": "ViT-B-32 has weights trained with QuickGELU",
    "models --remove nope": "no prepared model is called nope",
    "x.png -l a -l b -0": "-0 goes with a list: --files-from FILE",
    "-l a -l b --files-from gone": "cannot read --files-from gone (No such file or directory)",
    "completion tcsh": "Invalid value for '{bash|zsh|fish}': 'tcsh' is not one of",
    "completion": "Missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish",
    "pull": "Missing argument 'MODEL'",
    "pull tiny --precision bf16": "Invalid value for '--precision'",
    "cache --clean": "No such option '--clean'",
}


@pytest.mark.parametrize(("line", "message"), USAGE_ERRORS.items())
def test_a_usage_error_is_one_line_with_a_way_out_and_exit_2(clipcli, tmp_path, line, message):
    result = clipcli(*line.split(" "), cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, b"")
    (told,) = result.stderr.decode().splitlines()
    assert told.startswith(f"clipcli: {message}")
    first = line.split(" ")[0]
    command = first if first in COMMANDS else "classify"
    assert told.endswith(f" (see 'clipcli {command} --help')")


def test_a_label_of_undecodable_bytes_is_refused(clipcli):
    result = clipcli("x.png", "-l", b"\xff", "-l", "cat")
    assert result.returncode == 2
    assert b"not UTF-8" in result.stderr


def test_a_model_that_does_not_exist_gives_exit_5_and_the_nearest_names(clipcli):
    result = clipcli("x.png", *TWO, "--model", "tinny")
    assert (result.returncode, result.stdout) == (5, b"")
    (told,) = result.stderr.decode().splitlines()
    assert told.startswith("clipcli: there is no model 'tinny' (did you mean tiny?)")


@pytest.mark.parametrize(
    ("options", "precision"),
    [(("--precision", "int8"), "int8"), (("--engine", "onnx", "--model", "{folder}"), "fp32")],
)
def test_a_model_that_must_be_prepared_and_is_not_gives_exit_5_and_the_command(
    clipcli, tmp_path, options, precision
):
    for file in (files("clipcli") / "assets" / "tiny").iterdir():
        if file.name.startswith("open_clip"):
            (tmp_path / file.name).symlink_to(str(file))
    filled = [option.format(folder=tmp_path) for option in options]
    result = clipcli("x.png", *TWO, *filled, env={"CLIPCLI_MODEL": "tiny"})
    assert (result.returncode, result.stdout) == (5, b"")
    (told,) = result.stderr.decode().splitlines()
    assert re.search(rf": run 'clipcli pull \S+ --precision {precision}' first$", told)


@pytest.mark.parametrize(("quiet", "told"), [(False, 1), (True, 0)])
def test_where_pulling_the_model_would_help_a_line_says_so(capsys, quiet, told):
    console = Console()
    console.quiet = quiet
    spec = resolve_model(ModelRequest("ViT-B/32"))
    _advise(EngineChoice("torch", None, "it is not prepared", worth_preparing=True), spec, console)
    assert capsys.readouterr().err.count("clipcli: 'clipcli pull ViT-B/32' once makes") == told


@pytest.mark.parametrize("arguments", [("-l", "cat"), ("--top-k", "0"), (*TWO, "--model", "nope")])
def test_a_traceback_is_shown_with_debug_and_only_then(clipcli, arguments):
    assert b"Traceback" not in clipcli("x.png", *arguments).stderr
    lines = clipcli("x.png", *arguments, "--debug").stderr.splitlines()
    assert lines[0].startswith(b"Traceback")
    assert lines[-1].startswith(b"clipcli: ")


# Each variable's effect, seen without a model: the error that its value leads to.
ENVIRONMENT = {
    "MODEL": ("nope", 5, "there is no model 'nope'"),
    "DEVICE": ("tpu", 2, "'tpu' is no device"),
    "PRECISION": ("fp8", 2, "'--precision' (env var: 'CLIPCLI_PRECISION'): 'fp8'"),
    "ENGINE": ("tpu", 2, "'--engine' (env var: 'CLIPCLI_ENGINE'): 'tpu'"),
    "FORMAT": ("xml", 2, "'--format' (env var: 'CLIPCLI_FORMAT'): 'xml'"),
    "THREADS": ("0", 2, "'--threads' (env var: 'CLIPCLI_THREADS'): 0"),
    "OFFLINE": ("1", 5, "offline is set"),
}


@pytest.mark.parametrize(("name", "effect"), ENVIRONMENT.items())
def test_an_environment_variable_sets_its_option(clipcli, tmp_path, name, effect):
    value, code, message = effect
    env = {f"CLIPCLI_{name}": value, "HF_HOME": str(tmp_path)}
    result = clipcli("x.png", *TWO, env=env)
    assert result.returncode == code
    assert message in result.stderr.decode()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MODEL", ("--model", "absent")),
        ("DEVICE", ("--device", "cpu", "--model", "absent")),
        ("PRECISION", ("--precision", "bf16", "--model", "absent")),
        ("ENGINE", ("--engine", "torch", "--model", "absent")),
        ("FORMAT", ("--format", "csv", "--model", "absent")),
        ("FORMAT", ("--json", "--model", "absent")),
        ("THREADS", ("--threads", "1", "--model", "absent")),
    ],
)
def test_an_option_wins_over_its_variable(clipcli, name, options):
    value = "tsv" if options[0] == "--json" else ENVIRONMENT[name][0]
    result = clipcli("x.png", *TWO, *options, env={f"CLIPCLI_{name}": value})
    assert result.returncode == 5
    assert "there is no model 'absent'" in result.stderr.decode()


def test_an_empty_variable_is_as_good_as_none(clipcli):
    env = {f"CLIPCLI_{name}": "" for name in ENVIRONMENT}
    result = clipcli("x.png", *TWO, "--model", "absent", env=env)
    assert result.returncode == 5


def test_a_full_disk_is_told_in_one_line():
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [installed_command(), "--help"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert result.returncode == 1
    (told,) = result.stderr.decode().splitlines()
    assert told == (
        "clipcli: the results cannot be written to standard output (No space left on device): make"
        " room where it leads, then give the same command again"
    )


def test_a_closed_reader_gives_141_and_silence():
    reader, writer = os.pipe()
    os.close(reader)
    command = [installed_command(), "--help"]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (result.returncode, result.stderr) == (141, b"")


@pytest.mark.parametrize("stream", ["<&-", ">&-", "2>&-"])
def test_closed_standard_streams_change_no_exit_code(stream):
    arguments = f"{installed_command()} x.png -l cat -l dog --model nope"
    result = subprocess.run(
        ["bash", "-c", f"{arguments} {stream}"], capture_output=True, check=False
    )
    assert result.returncode == 5
    assert b"Traceback" not in result.stderr


@pytest.mark.parametrize(
    "line",
    [
        "{photo} -l 'a cat' -l 'a dog' -m tiny",
        "{photo} -l 'a cat' -l 'a dog' -m tiny --json",
        "explain {photo} -l 'a cat' -l 'a dog' -m tiny --grid 2",
        "--help",
        "--version",
        "models",
        "cache",
        "completion bash",
    ],
)
@pytest.mark.parametrize("output", [">&-", "1</dev/null"])
def test_results_that_nobody_can_have_are_told_in_one_line_and_exit_with_1(line, output):
    command = f"{installed_command()} {line.format(photo=PHOTOS / 'chelsea.png')} {output}"
    result = subprocess.run(
        ["bash", "-c", command], capture_output=True, check=False, env=clean_environment()
    )
    assert (result.returncode, result.stdout) == (1, b"")
    (told,) = result.stderr.decode().splitlines()
    assert told.startswith("clipcli: the results cannot be written (")


def test_without_standard_output_results_still_go_to_a_file(tmp_path):
    line = f"{PHOTOS / 'chelsea.png'} -l 'a cat' -l 'a dog' -m tiny -o {tmp_path / 'out.json'}"
    result = subprocess.run(
        ["bash", "-c", f"{installed_command()} {line} >&-"],
        capture_output=True,
        check=False,
        env=clean_environment(),
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert json.loads((tmp_path / "out.json").read_text())[0]["answer"] == "a cat"


def test_quiet_keeps_failures_and_drops_warnings_notes_and_summary(capsys):
    console = Console()
    console.quiet = console.verbose = True
    with console.warnings():
        warnings.warn("something", ClipcliWarning, stacklevel=1)
        console.note("loading")
        console.failure(Failure(0, "x.png", FailureCode.EMPTY, "the file is empty"))
        console.summary(tally(1, 1), 2.5)
    assert capsys.readouterr().err == "clipcli: x.png: the file is empty\n"


def test_warnings_of_clipcli_are_lines_and_those_of_libraries_are_not_shown(capsys):
    with Console().warnings():
        warnings.warn("the prompt is cut", ClipcliWarning, stacklevel=1)
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
    assert capsys.readouterr().err == "clipcli: warning: the prompt is cut\n"


@pytest.mark.parametrize(
    ("done", "failed", "line"),
    [
        (1, 0, ""),
        (0, 1, ""),  # its own line says it all
        (2, 1, "clipcli: 2 done, 1 failed (empty 1)\n"),
        (0, 0, "clipcli: there are no images: the list, or this --shard of it, names none\n"),
        (100, 0, ""),
        (1000, 1, "clipcli: 1,000 done, 1 failed (empty 1), 2.5 images/s\n"),
    ],
)
def test_the_summary_comes_where_it_says_something_new(capsys, done, failed, line):
    Console().summary(tally(done, failed), 2.5)
    assert capsys.readouterr().err == line


def test_names_cannot_drive_the_terminal(capsys):
    Console().failure(Failure(0, "\x1b[2J\udcff\n", FailureCode.EMPTY, "empty"))
    assert capsys.readouterr().err == "clipcli: \\x1b[2J\N{REPLACEMENT CHARACTER}\\n: empty\n"
