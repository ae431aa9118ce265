"""What a slip of the pen should have been, for the messages that tell of it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from clipcli.errors import FailureCode, UnavailableModelError
from clipcli.images.sources import STDIN, is_url

if TYPE_CHECKING:
    from clipcli.heads.results import Failure

# A path has a folder, an ending or a pattern's characters; a word of a label has none of them.
_PATH_MARKS = re.compile(r"[/\\*?\[\]]|\.\w+$")
# What people call a command that has another name here.
_OTHER_NAMES = {"download": "pull", "list": "models", "check": "doctor"}
# `www.example.com/cat.jpg`: a browser takes addresses without their scheme.
_BARE_ADDRESS = re.compile(
    r"(?:www\.[\w.-]+|[\w-]+(?:\.[\w-]+)*\.[a-z]{2,6})(?::\d+)?/.*", re.IGNORECASE
)
_NEAR = 0.75
# Fewer letters are the beginning of anything.
_SHORTEST_BEGINNING = 3
# With the value that makes it advice.
_OPTION = re.compile(r"(--[a-z][a-z-]*[a-z])(?: torch| cpu)?")
_COMMAND = re.compile(r"""(['"`]clipcli .*?['"`])""")
# With these another model is refused, or is not the one that is missing.
_OF_ONE_MODEL = {"--embeddings", "--resume", "--retry-failed", "--compare-models"}


def labels_meant(images: Sequence[str], labels: Iterable[str]) -> str:
    """The command line that was meant where labels stand among the images, or in one word.

    `clipcli p.jpg cat dog`, `-l cat dog` and `-l cat,dog` are all slips for `-l cat -l dog`.

    Args:
        images: as they were given.
        labels: those that were given as labels.

    Returns:
        A question to end a message with; empty where nothing of the kind is seen.
    """
    meant = [part for label in labels for part in _parts(label)]
    words = [image for image in images if _is_word(image)]
    meant += [part for word in words for part in _parts(word)]
    if len(meant) < 2:
        return ""
    rest = [image for image in images if image not in words] or ["IMAGE"]
    options = [part for label in meant for part in ("-l", label)]
    return f"; did you mean: clipcli {shlex.join(rest + options)}"


def way_out(failure: Failure) -> str:
    """What to try with an image that failed for a slip, to end its message with; or nothing."""
    if failure.code is FailureCode.NOT_FOUND and _is_word(failure.name):
        return f" (if it is a label: -l {shlex.quote(failure.name)})"
    if failure.code is FailureCode.NOT_FOUND and _is_bare_address(failure.name):
        return f" (if it is an address: https://{failure.name})"
    if failure.code is FailureCode.NOT_AN_IMAGE and failure.name == STDIN:
        return " (a list of images' names on standard input is read with --files-from -)"
    return ""


def model_ways_out(
    error: UnavailableModelError, options: Collection[str], words: Sequence[str]
) -> str:
    """Why a model cannot be had, with those ways out that are ways out here.

    Args:
        error: that says so.
        options: of the command that runs.
        words: of the command line.
    """
    given = {word.partition("=")[0] for word in words}
    here = set(options) - ({"--model"} if given & _OF_ONE_MODEL else set())
    ways_out = [way_out for way_out in error.ways_out if _options_in(way_out) <= here]
    if "--model" not in options:  # as `clipcli pull` itself
        ways_out = [re.sub("`clipcli pull .*`", "the same command", one) for one in ways_out]
    text = str(UnavailableModelError(error.reason, tuple(ways_out)))
    # click took it from there.
    return text if "--offline" in given else text.replace("--offline", "CLIPCLI_OFFLINE")


def with_owners(text: str, options: Collection[str]) -> str:
    """A text in which options that the command at hand lacks have the name of one that has them.

    Args:
        text: of an error of the model, whose rooms speak of the options of `classify`.
        options: of the command that runs.
    """
    parts = _COMMAND.split(text)
    for place in range(0, len(parts), 2):  # between whole commands

        def owned(match: re.Match[str]) -> str:
            return match[0] if match[1] in options else f"{match[0]} of `clipcli classify`"

        parts[place] = _OPTION.sub(owned, parts[place])
    return "".join(parts)


def _options_in(way_out: str) -> set[str]:
    """The options of the command at hand that a text names; another command's are its own."""
    return set(_OPTION.findall(_COMMAND.sub("", way_out)))


def command_meant(word: str, commands: Iterable[str]) -> str | None:
    """The command whose name a word is a slip for; None where it may as well be an image."""
    if not _is_word(word):
        return None
    from difflib import get_close_matches

    commands = list(commands)
    near = get_close_matches(word.lower(), commands, 1, _NEAR)
    begun = [
        name
        for name in commands
        if min(len(name), len(word)) >= _SHORTEST_BEGINNING
        and (word.startswith(name) or name.startswith(word))
    ]
    return next(iter([*near, *begun]), _OTHER_NAMES.get(word.lower()))


def _is_bare_address(name: str) -> bool:
    host, _, _ = name.partition("/")
    return _BARE_ADDRESS.fullmatch(name) is not None and not os.path.isdir(host)


def _is_word(text: str) -> bool:
    is_name = text == STDIN or is_url(text) or _PATH_MARKS.search(text)
    return not is_name and not os.path.lexists(text)


def _parts(label: str) -> list[str]:
    """A label, or those that commas separate in it."""
    return [part.strip() for part in label.split(",") if part.strip()] or [label]
