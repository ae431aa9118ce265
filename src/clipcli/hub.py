"""One named file of a model hub's repository -> its path in the local cache."""

from __future__ import annotations

import os
import re
from pathlib import Path

from clipcli.errors import ModelError

WAY_OUT = (
    "Give the weights with --checkpoint FILE.safetensors or a local open_clip folder with"
    " --model ./FOLDER, or use the bundled model: --model tiny"
)


class MissingFileError(ModelError):
    """The repository holds no such file, or (offline) it is not in the cache."""


def hub_file(repository: str, filename: str, *, offline: bool) -> Path:
    """Find a file in the hub's cache, or download it.

    A cached file is used without asking the hub.

    Args:
        repository: `organisation/name`.
        filename: exactly one file; nothing else is tried in its place.
        offline: look into the cache only.

    Raises:
        ModelError: it is not cached and cannot be downloaded. The message says what was tried.
    """
    cached = _cached_file(repository, filename)
    if cached is not None:
        return cached

    import logging

    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError, RemoteEntryNotFoundError

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        found = try_to_load_from_cache(repository, filename)
        if isinstance(found, str):
            return Path(found)
        if offline or constants.HF_HUB_OFFLINE:
            reason = "it is not in the cache, and offline is set"
            raise _unavailable(repository, filename, reason, MissingFileError)
        return _download(repository, filename)
    except HFValidationError as error:
        raise ModelError(
            f"{repository!r} is not a repository's name: use hf-hub:org/name"
        ) from error
    except ModelError:
        raise
    # The hub's client lets errors of its HTTP library and of the file system through.
    except Exception as error:
        kind = MissingFileError if isinstance(error, RemoteEntryNotFoundError) else ModelError
        raise _unavailable(repository, filename, _reason(error), kind) from error


def _cached_file(repository: str, filename: str) -> Path | None:
    """A file in the usual place of the hub's cache, or None where only its client may find it."""
    # By hand: the client takes a quarter of a second to import.
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repository):
        return None
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    root = os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")
    folder = Path(os.path.expanduser(root), f"models--{repository.replace('/', '--')}")
    try:
        commit = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    file = folder / "snapshots" / commit / filename
    return file if commit and os.path.isfile(file) else None


def _download(repository: str, filename: str) -> Path:
    import hashlib

    from huggingface_hub import hf_hub_download

    etag = _probe(repository, filename)
    file = Path(hf_hub_download(repository, filename))
    # A large file's etag is its sha256; the client itself compares sizes only.
    if re.fullmatch("[0-9a-f]{64}", etag):
        with file.open("rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        if sha256 != etag:
            file.resolve().unlink()
            file.unlink(missing_ok=True)
            reason = "what was downloaded does not have the sha256 that the hub names"
            raise _unavailable(repository, filename, reason)
    return file


def _probe(repository: str, filename: str) -> str:
    """Ask once for a file's etag; empty where the hub is there and busy.

    The client's own download tries for half a minute before it says that there is no network.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return get_hf_file_metadata(hf_hub_url(repository, filename)).etag or ""
    except HfHubHTTPError as error:
        if error.response.status_code == 429 or error.response.status_code >= 500:
            return ""  # the download waits and tries again
        raise


def _reason(error: Exception) -> str:
    """Why a file cannot be had, in a line."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
    )

    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    match error:
        case GatedRepoError():
            return "the repository is gated: ask for access on its page, then `hf auth login`"
        case RepositoryNotFoundError():
            return "there is no such repository, or it is private (then `hf auth login`)"
        case RemoteEntryNotFoundError():
            return "the repository holds no such file"
        case HfHubHTTPError():
            return f"the hub answered {error.response.status_code}"
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _unavailable(
    repository: str, filename: str, reason: str, kind: type[ModelError] = ModelError
) -> ModelError:
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(repository, filename)
    return kind(f"cannot get the model: {url}: {reason}. {WAY_OUT}")
