"""One named file of a model hub's repository -> its path in the local cache."""

from __future__ import annotations

from pathlib import Path

from clipcli.hub_cache import (
    WAY_OUT,
    HubFile,
    MissingFileError,
    cached_file,
    told_to_stay_offline,
)

__all__ = ["WAY_OUT", "MissingFileError", "hub_file"]


def hub_file(
    repository: str, filename: str, *, revision: str | None = None, offline: bool = False
) -> Path:
    """Find a file in the hub's cache, or download it.

    The first download notes the repository's commit and the file's sha256. From then on this
    commit is used, without asking the hub; so is what another tool has cached.

    Args:
        repository: `organisation/name`.
        filename: exactly one file; nothing else is tried in its place.
        revision: a branch or a tag, which the hub is asked for each time, or a commit of 40
            hexadecimal digits. `main` moves on to today's commit, later runs included.
        offline: look into the cache only. So does HF_HUB_OFFLINE.

    Returns:
        Its path, whose folder has the commit's name (but for a file in a folder of its own).

    Raises:
        MissingFileError: there is no such file, or it is not cached and offline is set.
        ModelError: it cannot be downloaded, or is not what it was when it came.
    """
    wanted = HubFile(repository, filename, revision)
    offline = offline or told_to_stay_offline()
    if offline or not wanted.is_moving:
        file = cached_file(wanted, offline=offline)
        if file is not None:
            return file
    if offline:
        raise wanted.unavailable("it is not in the cache, and offline is set", MissingFileError)

    from clipcli.downloads import download

    return download(wanted)
