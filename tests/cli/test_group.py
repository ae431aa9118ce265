"""The command group: commands that are imported when they run, and no sooner."""

from __future__ import annotations

import pytest
from startup import PROGRAM, loaded_modules

from clipcli.cli.group import LazyCommand
from clipcli.cli.main import cli

COMMANDS = tuple(sorted(cli.commands))


def commands_loaded(*arguments: str) -> set[str]:
    modules, _code = loaded_modules(PROGRAM, *arguments)
    return {name for name in COMMANDS if f"clipcli.cli.commands.{name}" in modules}


def test_the_help_of_all_commands_imports_none_of_them():
    # `completion` is there for the name of its variable alone.
    assert commands_loaded("--help") <= {"completion"}


@pytest.mark.parametrize("command", ["eval", "explain", "models"])
def test_a_command_is_imported_without_the_others(command):
    assert commands_loaded(command, "--help") - {"completion"} == {command}


def test_without_a_command_word_only_classify_is_imported():
    assert commands_loaded("x.png", "-l", "a") - {"completion"} == {"classify"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name):
    entry = cli.commands[name]
    assert isinstance(entry, LazyCommand)
    command = entry.load()
    assert command.name == name
    assert command.help is not None
    assert entry.help == " ".join(command.help.split("\n\n")[0].split())
