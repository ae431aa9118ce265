"""Downloads from a model hub: checked, tried again where that may help, and bounded in time."""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from filelock import FileLock
from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    get_session,
    hf_hub_download,
    hf_hub_url,
)
from huggingface_hub.errors import RemoteEntryNotFoundError

from clipcli.disk.hashes import known_hash
from clipcli.disk.paths import is_nowhere
from clipcli.errors import ClipcliWarning, ModelError
from clipcli.models.hub.cache import (
    DEFAULT_REVISION,
    HubError,
    HubFile,
    MissingFileError,
    cache_root,
    cached_file,
)
from clipcli.models.hub.errors import WrongBytesError, absence, is_busy, pause_after, reason
from clipcli.models.hub.pins import COMMIT, SHA256, Pins, pin, read_pins
from clipcli.process import Shared

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

_T = TypeVar("_T")

_ATTEMPTS = 4
# What a killed process left; a download that is under way is written to all the time.
_ABANDONED_AFTER_SECONDS = 3600.0
_NO_HUB = "the answer is not a model hub's: its commit or its etag is amiss"
_ETAG = re.compile(r"[\w.+=-]+", re.ASCII)
# Before it is said that another process is at it.
_PATIENCE_SECONDS = 1.0


class _Offer(NamedTuple):
    """What the hub says of a file: its commit, its etag, its size in bytes where it knows that."""

    commit: str
    etag: str
    size: int | None


def download(wanted: HubFile) -> Path:
    """Download a file into the hub's cache, unless another process does so meanwhile.

    Warns:
        ClipcliWarning: before each further attempt, and where another process must be waited for.

    Raises:
        MissingFileError: the repository holds no such file.
        ModelError: it cannot be had; the message says why.
    """
    if is_nowhere(wanted.folder):
        raise wanted.unavailable("there is no home folder to keep it in: set HF_HOME to a folder")
    with _errors_explained(wanted), _only_one(wanted):
        return cached_file(wanted, offline=False) or _persist(_fetch, wanted)


def current_commit(wanted: HubFile) -> str:
    """Ask the hub which commit a revision means today; the file need not be there.

    Raises:
        ModelError: the hub does not say.
    """
    with _errors_explained(wanted):
        return _persist(_ask_for_commit, wanted)


@contextmanager
def _errors_explained(wanted: HubFile) -> Iterator[None]:
    """Turn whatever goes wrong into the one error that says so."""
    try:
        with _quiet_client():
            yield
    except ModelError:
        raise
    # The hub's client lets errors of its HTTP library and of the file system through.
    except Exception as error:
        kind = MissingFileError if isinstance(error, RemoteEntryNotFoundError) else HubError
        raise wanted.unavailable(reason(error, wanted), kind, absence(error)) from error


@Shared
@contextmanager
def _quiet_client() -> Iterator[None]:
    """Keep the client to the files that it is asked for, and to its errors.

    It logs what it then raises, signed addresses included. And by itself it asks the hub which
    agents there are, to name the one that may be using it, and tells the version of torch; it
    looks at this constant each time.
    """
    logger = logging.getLogger("huggingface_hub")
    client: Any = constants
    level, telemetry_off = logger.level, client.HF_HUB_DISABLE_TELEMETRY
    logger.setLevel(logging.ERROR)
    client.HF_HUB_DISABLE_TELEMETRY = True
    try:
        yield
    finally:
        logger.setLevel(level)
        client.HF_HUB_DISABLE_TELEMETRY = telemetry_off


@contextmanager
def _only_one(wanted: HubFile) -> Iterator[None]:
    """Keep other processes from downloading out of a repository, and from looking too early.

    The client has a lock for each file, which it lets go of before the file is checked.
    """
    file = cache_root() / ".locks" / wanted.folder.name / "clipcli.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(file, timeout=_PATIENCE_SECONDS))
        except TimeoutError:
            _tell(f"another process is downloading from {wanted.repository}: waiting for it")
            stack.enter_context(FileLock(file))
        yield


def _persist(attempt_at: Callable[[HubFile], _T], wanted: HubFile) -> _T:
    """Try until it succeeds, or further attempts would not help."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with _impatient_client():
                return attempt_at(wanted)
        except ModelError:
            raise
        except Exception as error:
            pause = pause_after(error, attempt)
            if pause is None or attempt == _ATTEMPTS:
                raise
            why = reason(error, wanted)
        seconds = f" in {pause:.0f} s" if pause else ""
        _tell(f"{wanted.repository}: {wanted.filename}: {why}; trying again{seconds}")
        time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _ask_for_commit(wanted: HubFile) -> str:
    try:
        commit = _ask(wanted, wanted.revision or DEFAULT_REVISION).commit_hash
    except RemoteEntryNotFoundError as error:
        commit = _commit_without(error)
    if commit is None or not COMMIT.fullmatch(commit):
        raise wanted.unavailable(_NO_HUB)
    return commit


def _fetch(wanted: HubFile) -> Path:
    pins = read_pins(wanted.repository)
    offer = _offer(wanted, wanted.commit(pins))
    promised = _promised_hash(wanted, pins, offer)
    _make_room(wanted, offer)
    file = Path(hf_hub_download(wanted.repository, wanted.filename, revision=offer.commit))
    sha256 = known_hash(file)
    # The client compares sizes only.
    if promised and sha256 != promised:
        _discard(file)
        raise WrongBytesError
    revision = wanted.revision or DEFAULT_REVISION
    pin(wanted.repository, revision, offer.commit, {wanted.filename: sha256})
    return file


def _offer(wanted: HubFile, known: str | None) -> _Offer:
    """What the hub says of a file before it is downloaded.

    Args:
        wanted: the file.
        known: the commit that is in use already, if there is one; the hub must name the same.
    """
    try:
        metadata = _ask(wanted, known or wanted.revision or DEFAULT_REVISION)
    except RemoteEntryNotFoundError as error:
        commit = _commit_without(error)
        if commit is not None:
            # Nor will it ever have one: a commit does not change.
            pin(wanted.repository, commit, commit, {wanted.filename: None})
        raise
    offer = _Offer(metadata.commit_hash or "", metadata.etag or "", metadata.size)
    # The client makes names of files of both.
    is_usable = COMMIT.fullmatch(offer.commit) and _ETAG.fullmatch(offer.etag)
    if not is_usable or known not in (None, offer.commit):
        raise wanted.unavailable(_NO_HUB)
    return offer


def _ask(wanted: HubFile, revision: str) -> HfFileMetadata:
    """Ask the hub for a file's headers alone.

    The client's own download tries for minutes before it says that there is no network.
    """
    url = hf_hub_url(wanted.repository, wanted.filename, revision=revision)
    return get_hf_file_metadata(url)


def _commit_without(error: RemoteEntryNotFoundError) -> str | None:
    """The commit of which a hub says that it has no such file."""
    commit = error.response.headers.get(constants.HUGGINGFACE_HEADER_X_REPO_COMMIT, "")
    return commit if COMMIT.fullmatch(commit) else None


def _promised_hash(wanted: HubFile, pins: Pins, offer: _Offer) -> str | None:
    """The sha256 that the content must have, where that is known."""
    # A large file's etag is its sha256; a small one's is git's, of another kind.
    named = offer.etag if SHA256.fullmatch(offer.etag) else None
    recorded = pins.files.get(f"{offer.commit}/{wanted.filename}")
    if named and recorded and named != recorded:
        raise wanted.unavailable(
            f"the hub names the sha256 {named}, and at the first download it was {recorded}"
        )
    return recorded or named


def _make_room(wanted: HubFile, offer: _Offer) -> None:
    """Delete what a killed download left of this file, and see that the disk can hold a new one."""
    blobs = wanted.folder / "blobs"
    for left in blobs.glob(f"{offer.etag}.*.incomplete"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_AFTER_SECONDS:
                left.unlink()
    size = offer.size
    if size is None or (blobs / offer.etag).is_file():
        return
    root = cache_root()
    existing = next(folder for folder in (root, *root.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(existing).free
    if size > free:
        raise wanted.unavailable(
            f"it needs {size / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free in {existing}:"
            " make room, or set HF_HOME to a folder on another disk"
        )


def _discard(file: Path) -> None:
    """Delete a cached file, together with what its link leads to."""
    blob = file.parent / os.readlink(file) if file.is_symlink() else file
    for path in (file.resolve(), blob, file):
        path.unlink(missing_ok=True)


@Shared
@contextmanager
def _impatient_client() -> Iterator[None]:
    """Leave all waiting to `_persist`.

    The client itself waits as long as a hub asks it to, and a minute for each of six answers to
    a question that `_ask` has had answered already.
    """
    session = get_session()
    hooks = session.event_hooks
    session.event_hooks = {
        "request": [*hooks["request"], _hurry],
        "response": [*hooks["response"], _refuse_to_wait],
    }
    try:
        yield
    finally:
        session.event_hooks = hooks


def _hurry(request: Any) -> None:  # noqa: ANN401  of an HTTP library that is the client's choice
    if request.method == "HEAD":
        longest = constants.HF_HUB_ETAG_TIMEOUT
        request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), longest)


def _refuse_to_wait(response: Any) -> None:  # noqa: ANN401
    if is_busy(response):
        response.raise_for_status()


def _tell(text: str) -> None:
    warnings.warn(ClipcliWarning(text), stacklevel=2)
