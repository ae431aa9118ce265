"""One named file of a model hub's repository -> its path in the local cache."""

from __future__ import annotations

import logging
from pathlib import Path

from clipcli.errors import ModelError

WAY_OUT = (
    "Try again with a network, give the weights with --checkpoint FILE.safetensors or a local"
    " open_clip folder with --model ./FOLDER, or use the bundled model: --model tiny"
)


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
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        cached = try_to_load_from_cache(repository, filename)
        if isinstance(cached, str):
            return Path(cached)
        if offline or constants.HF_HUB_OFFLINE:
            raise _unavailable(repository, filename, "it is not in the cache, and offline is set")
        _probe(repository, filename)
        return Path(hf_hub_download(repository, filename))
    except HFValidationError as error:
        raise ModelError(
            f"{repository!r} is not a repository's name: use hf-hub:org/name"
        ) from error
    except ModelError:
        raise
    # The hub's client lets errors of its HTTP library and of the file system through.
    except Exception as error:
        raise _unavailable(repository, filename, _reason(error)) from error


def _probe(repository: str, filename: str) -> None:
    """Ask once whether the hub can be reached.

    The client's own download tries for half a minute before it says that there is no network.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    try:
        get_hf_file_metadata(hf_hub_url(repository, filename))
    except HfHubHTTPError:
        return  # reached: the download retries or explains it


def _reason(error: BaseException) -> str:
    """The first line of an error's text, or of the one that caused it."""
    for candidate in (error.__cause__, error):
        lines = str(candidate or "").strip().splitlines()
        if lines:
            return lines[0].strip().rstrip(".")
    return type(error).__name__


def _unavailable(repository: str, filename: str, reason: str) -> ModelError:
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(repository, filename)
    return ModelError(f"cannot get the model: {url}: {reason}. {WAY_OUT}")
