"""Numbers on the command line: each has a bound above, which is told as a usage error."""

from __future__ import annotations

import re

import click
import pytest

from clipcli.cli.main import cli

COMMANDS = {name: lazy.load() for name, lazy in cli.commands.items()}
NUMBERS = [
    (name, parameter.opts[-1], parameter.type)
    for name, command in COMMANDS.items()
    for parameter in command.params
    if isinstance(parameter.type, click.types.IntRange | click.types.FloatRange)
]
WHOLE = [(name, option) for name, option, kind in NUMBERS if isinstance(kind, click.IntRange)]
FRACTIONS = [
    (name, option) for name, option, kind in NUMBERS if not isinstance(kind, click.IntRange)
]
_LORA = {
    option: ["--method", "lora"]
    for option in ("--rank", "--alpha", "--last", "--steps", "--learning-rate")
}
WITH = {
    "--decode-timeout": ["--isolate"],
    "--duplicate-similarity": ["--duplicates"],
    **_LORA,
}


@pytest.fixture
def line(photos, tmp_path):
    """A command line that is in order, but for one option."""
    photo = str(photos / "chelsea.png")
    data = tmp_path / "data.csv"
    data.write_text(f"{photo},cat\n{photos / 'coffee.png'},dog\n")
    arguments = {
        "classify": [photo, "-l", "a", "-l", "b"],
        "explain": [photo, "-l", "a", "-l", "b"],
        "embed": [photo, "-o", str(tmp_path / "e.npz")],
        "eval": [str(data)],
        "search": ["a", str(photos), "-r"],
        "adapt": [str(data), "-o", str(tmp_path / "adapter")],
    }

    def make(command: str, option: str, value: str) -> list[str]:
        rest = [*arguments[command], "--model", "tiny", *WITH.get(option, [])]
        return [command, *rest, option, value]

    return make


def test_there_are_numbers():
    assert len(WHOLE) > 20
    assert len(FRACTIONS) > 4
    assert not [
        (name, parameter.opts)
        for name, command in COMMANDS.items()
        for parameter in command.params
        if type(parameter.type) in (click.types.IntParamType, click.types.FloatParamType)
    ]


@pytest.mark.parametrize("value", ["1000000000000000", "1" + "0" * 40])
@pytest.mark.parametrize(("command", "option"), WHOLE)
def test_a_number_beyond_all_measure_is_a_usage_error(clipcli, line, command, option, value):
    result = clipcli(*line(command, option, value))

    assert (result.returncode, result.stdout) == (2, b"")
    (message,) = result.stderr.decode().splitlines()
    assert re.match(r"clipcli: .*(range|use|at most|does not fit|must be)", message), message
    assert "unexpected" not in message


@pytest.mark.parametrize("value", ["nan", "inf", "1e300"])
@pytest.mark.parametrize(("command", "option"), FRACTIONS)
def test_what_is_no_number_of_seconds_or_no_share_is_a_usage_error(
    clipcli, line, command, option, value
):
    result = clipcli(*line(command, option, value))

    assert (result.returncode, result.stdout) == (2, b"")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("value", ["1e-300", "5e-324"])
@pytest.mark.parametrize(
    ("command", "option"), [(name, option) for name, option in FRACTIONS if "temp" in option]
)
def test_what_would_make_logits_infinite_is_a_usage_error(clipcli, line, command, option, value):
    result = clipcli(*line(command, option, value))
    assert (result.returncode, result.stdout) == (2, b"")


@pytest.mark.parametrize("name", ["CLIPCLI_THREADS"])
def test_the_environment_s_numbers_have_bounds_too(clipcli, line, monkeypatch, name):
    result = clipcli(*line("classify", "-k", "1"), env={name: "10000"})
    assert result.returncode == 2
    assert b"--threads 10000: use" in result.stderr
