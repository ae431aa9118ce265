"""The README cannot drift: its commands are run, its test command is CI's."""

from __future__ import annotations

import re
import subprocess

import pytest
from command import ROOT, Command

from clipcli.cli.main import cli
from scripts.readme_commands import rewritten, run, shown_commands

README = (ROOT / "README.md").read_text(encoding="utf-8")

_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


@pytest.mark.parametrize("shown", list(shown_commands(README)), ids=lambda shown: shown.command)
def test_a_command_of_the_readme_prints_what_is_shown(shown) -> None:
    printed, expected = run(shown.command), shown.output

    # A blank line may set the next command apart, and another processor rounds otherwise.
    assert _NUMBER.sub("#", printed).rstrip("\n") == _NUMBER.sub("#", expected).rstrip("\n")
    numbers = [[float(number) for number in _NUMBER.findall(text)] for text in (printed, expected)]
    assert numbers[0] == pytest.approx(numbers[1], abs=1e-4)


def test_the_readme_shows_commands() -> None:
    assert len(list(shown_commands(README))) >= 5
    assert "@@" not in README


def test_rewriting_changes_only_what_is_shown_below_a_command() -> None:
    text = "before\n```console\n$ echo one\nstale\n\n$ echo two \\\n  three\n```\n$ echo four\n"

    assert rewritten(text) == (
        "before\n```console\n$ echo one\none\n\n"
        "$ echo two \\\n  three\ntwo three\n```\n$ echo four\n"
    )


def _shell_commands() -> list[str]:
    return re.findall(r"^```sh\n(python3 -m venv .*)\n```$", README, re.MULTILINE)


def test_ci_runs_the_two_commands_of_the_readme_word_for_word() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    commands = _shell_commands()

    assert len(commands) == 2
    for command in commands:
        assert command in script.replace("pip install --quiet", "pip install")


def test_ci_is_a_valid_script_that_makes_its_own_environment() -> None:
    script = ROOT / ".ci" / "run"

    subprocess.run(["bash", "-n", script], check=True)
    assert "rm -rf .venv\npython3 -m venv .venv\n" in script.read_text(encoding="utf-8")


def test_every_option_that_the_readme_names_exists(clipcli: Command) -> None:
    commands = [[], *([command] for command in cli.commands)]
    offered = "".join(clipcli(*command, "--help").stdout.decode() for command in commands)
    prose = re.sub(r"^```(?:sh|yaml)\n.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", prose))

    assert named
    assert named - set(re.findall(r"--[a-z][a-z-]+", offered)) <= {"--null"}


def test_every_option_is_named_in_the_readme(clipcli: Command) -> None:
    pages = "".join(clipcli(command, "--help").stdout.decode() for command in cli.commands)
    options = set(re.findall(r"^\s+(?:-\w, )?(--[a-z-]+)", pages, re.MULTILINE))

    assert {option for option in options if option not in README} == set()
