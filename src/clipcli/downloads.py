"""Downloads from a model hub: checked, tried again where that may help, and bounded in time."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    get_session,
    hf_hub_download,
    hf_hub_url,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

from clipcli.errors import ClipcliWarning, ModelError
from clipcli.hashes import known_hash
from clipcli.hub_cache import (
    DEFAULT_REVISION,
    HubFile,
    MissingFileError,
    cache_root,
    cached_file,
)
from clipcli.pins import COMMIT, SHA256, Pins, pin, read_pins

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

_ATTEMPTS = 4
# Doubled from attempt to attempt.
_FIRST_PAUSE_SECONDS = 1.0
# A hub that is busy for longer is for the user to come back to.
_LONGEST_PAUSE_SECONDS = 120.0
# What a killed process left; a download that is under way is written to all the time.
_ABANDONED_AFTER_SECONDS = 3600.0
# Before it is said that another process is at it.
_PATIENCE_SECONDS = 1.0

_BUSY = {408, 429}
_CANNOT_WRITE = {errno.EACCES, errno.EPERM, errno.EROFS}


class _WrongBytesError(Exception):
    """What came is not what the hub, or the first download, says it is."""


def download(wanted: HubFile) -> Path:
    """Download a file into the hub's cache, unless another process does so meanwhile.

    Warns:
        ClipcliWarning: before each further attempt, and where another process must be waited for.

    Raises:
        MissingFileError: the repository holds no such file.
        ModelError: it cannot be had; the message says why.
    """
    # The client logs what it then raises, signed addresses included.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        with _only_one(wanted):
            file = None if wanted.is_moving else cached_file(wanted, offline=False)
            return file or _persist(wanted)
    except ModelError:
        raise
    # The hub's client lets errors of its HTTP library and of the file system through.
    except Exception as error:
        kind = MissingFileError if isinstance(error, RemoteEntryNotFoundError) else ModelError
        raise wanted.unavailable(_reason(error, wanted), kind) from error


@contextmanager
def _only_one(wanted: HubFile) -> Iterator[None]:
    """Keep other processes from downloading out of a repository, and from looking too early.

    The client has a lock for each file, which it lets go of before the file is checked.
    """
    file = cache_root() / ".locks" / wanted.folder.name / "clipcli.lock"
    with ExitStack() as stack:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(WeakFileLock(file, timeout=_PATIENCE_SECONDS))
        except TimeoutError:
            _tell(f"another process is downloading from {wanted.repository}: waiting for it")
            stack.enter_context(WeakFileLock(file))
        except OSError as error:
            # Where nobody can write, what is there already can still be used.
            if error.errno not in _CANNOT_WRITE:
                raise
        yield


def _persist(wanted: HubFile) -> Path:
    """Try until the file is here, or further attempts would not help."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with _impatient_client():
                return _attempt(wanted)
        except ModelError:
            raise
        except Exception as error:
            pause = _pause(_cause(error), attempt)
            if pause is None or attempt == _ATTEMPTS:
                raise
            reason = _reason(error, wanted)
        seconds = f" in {pause:.0f} s" if pause else ""
        _tell(f"{wanted.repository}: {wanted.filename}: {reason}; trying again{seconds}")
        time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _attempt(wanted: HubFile) -> Path:
    pins = read_pins(wanted.repository)
    known = None if wanted.is_moving else wanted.commit(pins)
    metadata = _ask(wanted, known)
    commit, etag = metadata.commit_hash or "", metadata.etag or ""
    if not COMMIT.fullmatch(commit) or (known and known != commit):
        raise wanted.unavailable("the answer names no commit, or another: it is not a model hub's")
    revision = wanted.revision or DEFAULT_REVISION
    exact = HubFile(wanted.repository, wanted.filename, commit)
    file = cached_file(exact, offline=False)
    if file is None:
        promised = _promised_hash(wanted, pins, commit, etag)
        _make_room(wanted, metadata.size, etag)
        file = Path(hf_hub_download(wanted.repository, wanted.filename, revision=commit))
        # The client compares sizes only.
        if promised and known_hash(file) != promised:
            _discard(file)
            raise _WrongBytesError
    pin(wanted.repository, revision, commit, {wanted.filename: known_hash(file)})
    return file


def _ask(wanted: HubFile, known: str | None) -> HfFileMetadata:
    """What the hub says of a file before it is downloaded.

    The client's own download tries for minutes before it says that there is no network.
    """
    revision = known or wanted.revision or DEFAULT_REVISION
    try:
        return get_hf_file_metadata(
            hf_hub_url(wanted.repository, wanted.filename, revision=revision)
        )
    except RemoteEntryNotFoundError:
        # Of a commit in use this stays true. Another may have the file tomorrow.
        if known and known in read_pins(wanted.repository).commits.values():
            pin(wanted.repository, known, known, {wanted.filename: None})
        raise


def _promised_hash(wanted: HubFile, pins: Pins, commit: str, etag: str) -> str | None:
    """The sha256 that the content must have, where that is known."""
    named = etag if SHA256.fullmatch(etag) else None  # a large file's etag is its sha256
    recorded = pins.files.get(f"{commit}/{wanted.filename}")
    if named and recorded and named != recorded:
        reason = f"the hub names the sha256 {named}, and at the first download it was {recorded}"
        raise wanted.unavailable(reason)
    return recorded or named


def _make_room(wanted: HubFile, size: int | None, etag: str) -> None:
    """Delete what a killed download left of this file, and see that the disk can hold a new one."""
    blobs = wanted.folder / "blobs"
    for left in blobs.glob(f"{etag}.*.incomplete"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_AFTER_SECONDS:
                left.unlink()
    if size is None or (blobs / etag).is_file():
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
    if _is_busy(response):
        response.raise_for_status()


def _pause(error: BaseException, attempt: int) -> float | None:
    """Seconds until another attempt, or None where that would not help."""
    backoff = _FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)
    if isinstance(error, _WrongBytesError):
        return 0.0 if attempt == 1 else None
    answer = getattr(error, "response", None)
    if answer is not None:
        asked = _retry_after(answer)
        pause = backoff if asked is None else asked
        return pause if _is_busy(answer) and pause <= _LONGEST_PAUSE_SECONDS else None
    # By name: which HTTP library raises them depends on the client's version. Of a hub that is
    # silent or not there the client has made sure.
    names = {base.__name__ for base in type(error).__mro__}
    if "ConnectError" in names:
        return None
    # A size that is not the promised one is an OSError of no number.
    is_short = type(error) is OSError and error.errno is None
    is_cut = names & {"NetworkError", "RemoteProtocolError", "RuntimeError"}
    return backoff if is_short or is_cut else None


def _is_busy(response: Any) -> bool:  # noqa: ANN401
    return response.status_code in _BUSY or response.status_code >= 500


def _retry_after(response: Any) -> float | None:  # noqa: ANN401
    """Seconds that the hub asks to wait."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None


def _cause(error: Exception) -> BaseException:
    """What the client's "not found here either" came from."""
    is_wrapped = isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None
    return error.__cause__ or error if is_wrapped else error


def _reason(error: Exception, wanted: HubFile) -> str:
    """Why a file cannot be had, in a line."""
    cause = _cause(error)
    for kind, words in _REASONS.items():
        if isinstance(cause, kind):
            return words
    if isinstance(cause, RevisionNotFoundError):
        name = wanted.revision or wanted.commit(read_pins(wanted.repository)) or DEFAULT_REVISION
        return f"the repository has no revision {name}: --revision main takes today's"
    answer = getattr(cause, "response", None)
    if answer is not None:
        asked = _retry_after(answer)
        wish = f", and asks to wait {asked:.0f} s" if asked else ""
        return f"the hub answered {answer.status_code}{wish}"
    if isinstance(cause, OSError) and cause.errno in _CANNOT_WRITE:
        where = cause.filename or cache_root()
        return f"cannot write {where} ({cause.strerror}): set HF_HOME to a folder of your own"
    # A signed address is a key.
    text = re.sub(r"(://[^\s?]*)\?\S*", r"\1", " ".join(str(cause).split()))
    return text.rstrip(".") or type(cause).__name__


_REASONS: Mapping[type[Exception], str] = {
    GatedRepoError: "the repository is gated: ask for access on its page, then `hf auth login`",
    RepositoryNotFoundError: "there is no such repository, or it is private (then `hf auth login`)",
    RemoteEntryNotFoundError: "the repository holds no such file",
    _WrongBytesError: "what was downloaded does not have the sha256 that it should have",
    HFValidationError: "no repository can have this name",
}


def _tell(text: str) -> None:
    warnings.warn(ClipcliWarning(text), stacklevel=2)
