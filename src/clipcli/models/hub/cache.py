"""One named file of a model hub's repository, and where the hub's cache holds it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from clipcli.disk.atomic import read_own
from clipcli.disk.hashes import known_hash
from clipcli.disk.paths import nowhere
from clipcli.errors import ModelError
from clipcli.models.hub.pins import COMMIT, SHA256, Pins, pin, read_pins

DEFAULT_REVISION = "main"

# Two hyphens stand for the slash in the cache's names of folders.
_REPOSITORY = re.compile(r"(?!.*(?:--|\.\.))(?:\w[\w.-]*/)?\w[\w.-]*", re.ASCII)
_REVISION = re.compile(r"\w(?:[\w+-]|[./](?=\w))*", re.ASCII)
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_TRUE = {"1", "ON", "YES", "TRUE"}


class Absence(NamedTuple):
    """Why a file does not come that may come another time.

    Attributes:
        why: a sentence, "the hub cannot be reached".
        until: what must have changed then, "once with a network".
    """

    why: str
    until: str


class HubError(ModelError):
    """A file of the hub cannot be had; the text begins with its address.

    Args:
        message: all of it.
        file: `organisation/name/file`.
        reason: without the address.
        absence: where it may be had another time.
    """

    def __init__(
        self, message: str, *, file: str = "", reason: str = "", absence: Absence | None = None
    ) -> None:
        super().__init__(message)
        self.file = file
        self.reason = reason
        self.absence = absence
        self.hint = ""

    def add_hint(self, hint: str) -> None:
        """Add what else may help to the text."""
        self.args = (f"{self}. {hint}",)
        self.hint = hint


class MissingFileError(HubError):
    """The repository holds no such file, or (offline) it is not in the cache."""


@dataclass(frozen=True)
class HubFile:
    """Exactly one file: nothing else is ever taken in its place.

    Attributes:
        repository: `organisation/name`.
        filename: in the repository.
        revision: a branch, a tag or a commit; None for the commit that came first.

    Raises:
        ModelError: no such repository or revision can be.
    """

    repository: str
    filename: str
    revision: str | None = None

    def __post_init__(self) -> None:
        if not is_repository(self.repository):
            raise ModelError(f"{self.repository!r} is not a repository's name: use hf-hub:org/name")
        if self.revision is not None and not _REVISION.fullmatch(self.revision):
            reason = "use a branch, a tag, or a commit of 40 hexadecimal digits"
            raise ModelError(f"{self.revision!r} is not a revision: {reason}")

    @property
    def is_moving(self) -> bool:
        """Whether the hub must be asked what the revision means today."""
        return self.revision is not None and not COMMIT.fullmatch(self.revision)

    @property
    def folder(self) -> Path:
        """The repository's in the hub's cache."""
        return cache_root() / f"models--{self.repository.replace('/', '--')}"

    def commit(self, pins: Pins) -> str | None:
        """The commit that the revision means as far as is known here."""
        name = self.revision or DEFAULT_REVISION
        if COMMIT.fullmatch(name):
            return name
        commit = pins.commits.get(name) or self._reference(name)
        return commit if commit and COMMIT.fullmatch(commit) else None

    def path(self, commit: str) -> Path:
        """Where the cache holds the file, or would."""
        return self.folder / "snapshots" / commit / self.filename

    def unavailable(
        self, reason: str, kind: type[HubError] = HubError, absence: Absence | None = None
    ) -> HubError:
        """The error that says why the file cannot be had."""
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        revision = self.revision or DEFAULT_REVISION
        url = f"{endpoint}/{self.repository}/resolve/{revision}/{self.filename}"
        # A mirror's address may hold a password.
        address = re.sub(r"//[^/@\s]*@", "//", url)
        file = f"{self.repository}/{self.filename}"
        return kind(f"{address}: {reason}", file=file, reason=reason, absence=absence)

    def _reference(self, name: str) -> str:
        """What another tool noted in the hub's cache."""
        try:
            return read_own(self.folder / "refs" / name).strip()
        except (OSError, ValueError):
            return ""


def is_repository(name: str) -> bool:
    """Whether a repository of the hub can have this name."""
    return _REPOSITORY.fullmatch(name) is not None


def cache_root() -> Path:
    """The folder of the hub's cache, as the hub's client finds it; `nowhere` without a home."""
    # By hand, as all of this room: the client takes a quarter of a second to import.
    get = os.environ.get
    home = get("HF_HOME", os.path.join(get("XDG_CACHE_HOME", "~/.cache"), "huggingface"))
    root = get("HF_HUB_CACHE", get("HUGGINGFACE_HUB_CACHE", os.path.join(home, "hub")))
    folder = os.path.expandvars(os.path.expanduser(root))
    # The client would make a folder of that name wherever it is.
    return nowhere() if folder.startswith("~") else Path(folder)


def told_to_stay_offline() -> str:
    """The environment's variable that forbids the hub's client every connection, or nothing."""
    name = next((name for name in _OFFLINE if os.environ.get(name)), "")
    return name if os.environ.get(name, "").upper() in _TRUE else ""


def cached_file(wanted: HubFile, *, offline: bool) -> Path | None:
    """A file that the cache holds as it should be, or None where it must be downloaded.

    Raises:
        MissingFileError: it is known that the repository has no such file.
        ModelError: it is not what it was when it came, or cannot be read.
    """
    pins = read_pins(wanted.repository)
    commit = wanted.commit(pins)
    if commit is None:
        return None
    recorded = pins.files.get(f"{commit}/{wanted.filename}", "")
    if recorded is None:
        raise wanted.unavailable(f"the repository holds no such file at {commit}", MissingFileError)
    file = wanted.path(commit)
    if not os.path.isfile(file):
        return None
    try:
        sha256 = known_hash(file)
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror})") from error
    # Of a small file that another tool downloaded nothing is known; what it is now is noted.
    if sha256 == (recorded or hash_in_name(file) or sha256):
        pin(
            wanted.repository,
            wanted.revision or DEFAULT_REVISION,
            commit,
            {wanted.filename: sha256},
        )
        return file
    if recorded or offline:
        raise ModelError(
            f"{file} has changed since it was downloaded: its sha256 is {sha256} and was"
            f" {recorded or hash_in_name(file)}. Delete it, and it is downloaded again"
        )
    return None  # a download that nobody has checked; it is repaired, or refused, by another


def hash_in_name(file: Path) -> str | None:
    """The sha256 that a cached file should have: the cache names large files by it."""
    # One step only: what lies there may be a link into a store that names things otherwise.
    name = os.path.basename(os.readlink(file)) if file.is_symlink() else ""
    return name if SHA256.fullmatch(name) else None
