"""Which commit of a hub's repository is used, and what its files were when they first came."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from clipcli.disk.atomic import read_own, write_text
from clipcli.disk.paths import pins_folder

COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Pins:
    """What is known of one repository.

    Attributes:
        commits: branch or tag -> the commit that it meant when the hub was last asked.
        files: `commit/file name` -> sha256 of its content; None for a file that is not there.
    """

    commits: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str | None] = field(default_factory=dict)


def read_pins(repository: str) -> Pins:
    """What is known of a repository: nothing, where nothing was noted or can be read."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        content = json.loads(read_own(_file(repository)))
        commits, files = content["commits"].items(), content["files"].items()
        return Pins(
            {name: commit for name, commit in commits if COMMIT.fullmatch(commit)},
            {name: sha256 for name, sha256 in files if sha256 is None or SHA256.fullmatch(sha256)},
        )
    return Pins()


def pin(repository: str, revision: str, commit: str, files: Mapping[str, str | None]) -> None:
    """Note what a revision means and what its files are, beside what is known already.

    Args:
        repository: `organisation/name`.
        revision: branch or tag; a commit stands for itself and is not noted.
        commit: of the repository, 40 hexadecimal digits.
        files: file name -> sha256, or None where the commit holds no such file.
    """
    # Of two processes that note at once the later may undo the earlier's note, which is then noted
    # at the file's next use; a lock would be every start's burden.
    known = read_pins(repository)
    commits = {} if revision == commit else {revision: commit}
    of_commit = {f"{commit}/{name}": sha256 for name, sha256 in files.items()}
    noted = Pins({**known.commits, **commits}, {**known.files, **of_commit})
    # Where nothing can be written, the hub's own cache still says which commit is used.
    with suppress(OSError):
        if noted != known:
            file = _file(repository)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(asdict(noted), indent=1) + "\n")


def _file(repository: str) -> Path:
    return pins_folder() / f"{repository.replace('/', '--')}.json"
