"""Completion in the shell: the scripts, and what they are offered at each place."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from command import Command
from shells import Shell

from clipcli.cli.main import cli


def offered(clipcli: Command, line: str) -> list[str]:
    """What a shell would offer at the end of a command line; files as `file`, folders as `dir`."""
    env = {"_CLIPCLI_WORDS": line.replace(" ", "\n") + "\n.", "_CLIPCLI_COMPLETE": "bash_complete"}
    result = clipcli(env=env)
    assert (result.returncode, result.stderr) == (0, b"")
    pairs = [item.split(",", 1) for item in result.stdout.decode().split()]
    return [value if kind == "plain" else kind for kind, value in pairs]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_printed_for_each_shell(clipcli, shell):
    result = clipcli("completion", shell)
    assert (result.returncode, result.stderr) == (0, b"")
    assert f"_CLIPCLI_COMPLETE={shell}_complete" in result.stdout.decode()


def test_bash_accepts_its_script(clipcli):
    script = clipcli("completion", "bash").stdout
    subprocess.run(["bash", "-n"], input=script, check=True)


@pytest.mark.parametrize(
    "start", ["clipcli --mod", "clipcli cat.jpg --mod", "clipcli classify --mod"]
)
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
        ("clipcli -m ViT-B-32:op", ["ViT-B-32:openai"]),
        ("clipcli -m nothing:x", []),
        ("clipcli pull ViT-B-32-q", ["ViT-B-32-quickgelu", "dir"]),
        ("clipcli eval x --compare-models ti", ["tiny", "dir"]),
        ("clipcli eval x --compare-templates openai8", ["openai80"]),
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


@pytest.fixture(scope="module")
def shells(clipcli, tmp_path_factory):
    """Each shell that is installed, in a folder with some files."""
    folder = tmp_path_factory.mktemp("completed")
    for name in (
        "photos/cat one.jpg",
        "imaginary.txt",
        "tin,foil.txt",
        "a b.png",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (folder / "tinted").mkdir()
    found = {
        name: Shell(name, clipcli("completion", name).stdout, folder)
        for name in ("bash", "zsh", "fish")
        if shutil.which(name)
    }
    yield found
    for shell in found.values():
        shell.close()


COMPLETED = {
    "clipcli ev": ["eval"],
    "clipcli x --mod": ["x", "--model"],
    "clipcli x --labels imagen": ["x", "--labels", "imagenet"],
    "clipcli x --labels imagin": ["x", "--labels", "imaginary.txt"],
    "clipcli x --labels tin,f": ["x", "--labels", "tin,foil.txt"],
    "clipcli x -m tiny": ["x", "-m", "tiny"],
    "clipcli x -m ViT-L-14-quick": ["x", "-m", "ViT-L-14-quickgelu"],
    "clipcli x -m ViT-B-32:laion2b_e": ["x", "-m", "ViT-B-32:laion2b_e16"],
    "clipcli x -m ViT-B/32:laion2b_e": ["x", "-m", "ViT-B/32:laion2b_e16"],
    "clipcli x --model=ViT-B-32:laion2b_e": ["x", "--model=ViT-B-32:laion2b_e16"],
    "clipcli pull ViT-L-14-quick": ["pull", "ViT-L-14-quickgelu"],
    "clipcli photos/ca": ["photos/cat one.jpg"],
    "clipcli 'a b.png' --form": ["a b.png", "--format"],
    "clipcli a\\ b": ["a b.png"],
    "clipcli x -l 'a b' --labels cifar100": ["x", "-l", "a b", "--labels", "cifar100"],
    "true; clipcli x --form": ["x", "--format"],
    "clipcli 'a b.png' --device=cp": ["a b.png", "--device=cpu"],
    "clipcli -l cat photos/": ["-l", "cat", "photos/cat one.jpg"],
    "clipcli --preprocess plain --color=": ["--preprocess", "plain", "--color="],
    "clipcli completion ba": ["completion", "bash"],
}


@pytest.mark.parametrize("line", COMPLETED)
@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_a_tab_completes_in_the_shell_itself(shells, name, line):
    if name not in shells:
        pytest.skip(f"{name} is not installed")
    assert shells[name].completed(line) == COMPLETED[line]


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_a_script_is_read_in_silence(shells, name):
    """Zsh's without compinit, too, as it is in a new user's shell."""
    if name not in shells:
        pytest.skip(f"{name} is not installed")
    after = shells[name].greeting.rpartition('RE""ADY')[2]
    assert not re.search("error|not found|unknown|command", after)
