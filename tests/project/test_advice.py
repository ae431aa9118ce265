"""Advice that can be followed: messages name only options that the command at hand has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

import clipcli
from clipcli.cli.advice import with_owners
from clipcli.cli.group import LazyCommand
from clipcli.cli.program import cli

PACKAGE = Path(clipcli.__file__).parent
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]")
# A whole command has its own options; a tool that is not clipcli has others.
WHOLE_COMMAND = re.compile(r"""(['"`])clipcli .*?\1|`[a-z]+ .*?`""")

OWNER = re.compile(r"`clipcli ([a-z]+)")

RUNS = ("classify", "embed", "eval", "explain")
MODELS = (*RUNS, "pull")
LABELS = ("classify", "eval", "explain")
# A room -> the commands that show its messages. The longest name that fits counts.
ROOMS = {
    "": RUNS,
    "adaptation": ("adapt",),
    "api": RUNS,
    "cli": ("classify",),
    "cli.arguments.adapt": ("adapt",),
    "cli.arguments.checks": (*RUNS, "convert"),
    "cli.arguments.embed": ("embed",),
    "cli.arguments.eval": ("eval",),
    "cli.arguments.explain": ("explain",),
    "cli.arguments.search": ("search",),
    "cli.commands.adapt": ("adapt",),
    "cli.commands.cache": ("cache",),
    "cli.commands.completion": ("completion",),
    "cli.commands.convert": ("convert",),
    "cli.commands.doctor": ("doctor",),
    "cli.commands.embed": ("embed",),
    "cli.commands.eval": ("eval",),
    "cli.commands.explain": ("explain",),
    "cli.commands.models": ("models",),
    "cli.commands.pull": ("pull",),
    "cli.commands.search": ("search",),
    "cli.options.lora": ("adapt",),
    "cli.running": RUNS,
    "cli.running.adaptation": ("adapt",),
    "cli.running.monitor": ("classify", "embed"),
    "doctor": ("doctor",),
    "embeddings": ("classify",),
    "embeddings.search": ("search",),
    "engines": RUNS,
    "engines.torch": MODELS,
    "engines.torch.gradients": ("explain",),
    "evaluation": ("eval",),
    "evaluation.table": ("classify",),  # what is found with eval is used there
    "explanation": ("explain",),
    "heads": LABELS,
    "heads.adapted": ("classify",),
    "heads.adapters": ("classify", "embed", "eval"),
    "heads.thresholds": ("classify",),
    "images": RUNS,
    "images.isolation": ("classify", "embed", "eval"),
    "images.sources": ("classify", "embed"),
    "models": MODELS,
    "models.unavailable": RUNS,  # `model_ways_out` leaves out what other commands lack
    "outputs": ("classify",),
    "runs.options": ("classify", "embed", "eval"),
    "runs.resume": ("classify",),
}
# Of single messages, in a room whose others are shown elsewhere, too.
MESSAGES = {
    "--report \0 is no name of a page: give one that ends in .html": ("classify", "eval"),
    "no published weights: needs --checkpoint": MODELS,
    "published only as a pickle: needs --allow-pickle": MODELS,
    "add it with -l, or leave out -l and --labels": ("adapt", "eval"),
    "gradients: use --method occlusion, or \0": ("explain",),
}
# Options of which `with_owners` says whose they are, where a command lacks them.
OWNED = {"--engine", "--device", "--batch-size"}


@cache
def command(name: str) -> click.Command:
    found = cli.commands[name]
    return found.load() if isinstance(found, LazyCommand) else found


@cache
def options(name: str) -> frozenset[str]:
    of_command = [*command(name).params, *command(name).get_params(click.Context(command(name)))]
    return frozenset(
        word for parameter in of_command for word in (*parameter.opts, *parameter.secondary_opts)
    )


EVERY_OPTION = {word for name in cli.commands for word in options(name)} | {"--version"}


def named(text: str) -> set[str]:
    """The options that a text says of the command at hand."""
    owners = [options(owner) for owner in OWNER.findall(text) if owner in cli.commands]
    return set(OPTION.findall(WHOLE_COMMAND.sub("", text))).difference(*owners)


def is_declaration(node: ast.AST) -> bool:
    """Whether a node declares an option, whose help is looked at where it is shown."""
    if not isinstance(node, ast.Call):
        return False
    called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
    return called in {"option", "argument", "command", "group", "LazyCommand"}


def texts(node: ast.AST) -> Iterator[tuple[int, str]]:
    """The texts of a module that are neither its documentation nor an option's."""
    for child in ast.iter_child_nodes(node):
        if is_declaration(child) or (isinstance(child, ast.Expr) and is_text(child.value)):
            continue
        if isinstance(child, ast.JoinedStr):
            parts = (part.value if is_text(part) else "\0" for part in child.values)
            yield child.lineno, "".join(map(str, parts))
            for part in child.values:
                yield from texts(part)
        elif isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.lineno, child.value
        else:
            yield from texts(child)


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


FILES = sorted(PACKAGE.rglob("*.py"))
TOLD = [
    (".".join(file.relative_to(PACKAGE).with_suffix("").parts), line, text)
    for file in FILES
    for line, text in texts(ast.parse(file.read_text(encoding="utf-8")))
    # An option alone is a word of a command, or of a shell's script, and no advice.
    if OPTION.search(text) and not OPTION.fullmatch(text) and "complete" not in text
]


def room(module: str) -> tuple[str, ...]:
    fitting = (name for name in ROOMS if f"{module}.".startswith(f"{name}.") or not name)
    return ROOMS[max(fitting, key=len)]


@pytest.mark.parametrize(("module", "line", "text"), TOLD, ids=[f"{t[0]}-{t[1]}" for t in TOLD])
def test_a_message_names_options_that_are_there_where_it_is_shown(module, line, text):
    assert set(OPTION.findall(text)) <= EVERY_OPTION, f"{module}, line {line}: no such option"
    for name in MESSAGES.get(text, room(module)):
        absent = named(text) - options(name) - (OWNED if name == "pull" else set())
        assert not absent, f"{module}, line {line}: `clipcli {name}` has no {absent}: {text!r}"


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_help_names_options_of_its_own_command(name):
    helps = [getattr(parameter, "help", "") or "" for parameter in command(name).params]
    paragraphs = [*helps, command(name).help or "", command(name).epilog or ""]
    for text in paragraphs:
        # Examples are lines of their own, and commands.
        prose = "\n".join(line for line in text.splitlines() if "clipcli " not in line)
        assert named(" ".join(prose.split())) <= options(name), text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("or use --engine torch", "or use --engine torch of `clipcli classify`"),
        ("add --precision int8", "add --precision int8"),
        (
            "run 'clipcli embed x --engine torch' first",
            "run 'clipcli embed x --engine torch' first",
        ),
        (
            "--device cpu, or `clipcli x --y`",
            "--device cpu of `clipcli classify`, or `clipcli x --y`",
        ),
    ],
)
def test_an_option_of_another_command_is_told_as_such(text, told):
    assert with_owners(text, options("pull")) == told
    assert with_owners(text, options("classify")) == text
