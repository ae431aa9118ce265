"""Completion in the shell: the scripts, and what they are offered at each place."""

from __future__ import annotations

import subprocess

import pytest
from command import Command

from clipcli.cli.main import cli


def offered(clipcli: Command, line: str) -> list[str]:
    """What a shell would offer at the end of a command line; files as `file`, folders as `dir`."""
    words = line.split(" ")
    env = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    result = clipcli(env={**env, "_CLIPCLI_COMPLETE": "bash_complete"})
    assert (result.returncode, result.stderr) == (0, b"")
    pairs = [item.split(",", 1) for item in result.stdout.decode().splitlines()]
    return [value if kind == "plain" else kind for kind, value in pairs]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_printed_for_each_shell(clipcli, shell):
    result = clipcli("completion", shell)
    assert (result.returncode, result.stderr) == (0, b"")
    assert f"_CLIPCLI_COMPLETE={shell}_complete" in result.stdout.decode()


def test_bash_accepts_its_script(clipcli):
    script = clipcli("completion", "bash").stdout
    subprocess.run(["bash", "-n"], input=script, check=True)


@pytest.mark.parametrize("start", ["clipcli --mo", "clipcli cat.jpg --mo", "clipcli classify --mo"])
def test_options_complete_with_and_without_the_command_word(clipcli, start):
    assert offered(clipcli, start) == ["--model"]


def test_the_first_word_may_be_a_command_or_a_file(clipcli):
    commands = sorted(cli.commands)
    assert offered(clipcli, "clipcli ") == [*commands, "file"]
    assert offered(clipcli, "clipcli comp") == ["completion", "file"]
    assert offered(clipcli, "clipcli cat.jpg ") == ["file"]


def test_the_groups_own_options_are_offered_beside_those_of_classify(clipcli):
    assert {"--version", "--help", "--label", "--format"} <= set(offered(clipcli, "clipcli --"))


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("clipcli --device ", ["auto", "cpu", "cuda", "mps"]),
        ("clipcli cat.jpg --format js", ["json", "jsonl"]),
        ("clipcli cat.jpg --labels ", ["cifar10", "cifar100", "imagenet", "file"]),
        ("clipcli cat.jpg --labels im", ["imagenet", "file"]),
        ("clipcli classify -t ", ["openai7", "openai80"]),
        ("clipcli --model ti", ["tiny", "dir"]),
        ("clipcli cat.jpg --model ViT-B-32-q", ["ViT-B-32-quickgelu", "dir"]),
        ("clipcli completion ", ["bash", "zsh", "fish"]),
        ("clipcli cat.jpg --engine ", ["auto", "onnx", "torch"]),
        ("clipcli pull ViT-B-32 --precision ", ["fp32", "int8"]),
        ("clipcli cache --cl", ["--clear"]),
        ("clipcli models --rem", ["--remove"]),
    ],
)
def test_values_of_options_complete(clipcli, line, values):
    assert offered(clipcli, line) == values
