"""A model hub's files -> their paths in the local cache; its revisions -> commits."""

from __future__ import annotations

from pathlib import Path

from clipcli.models.hub.cache import (
    Absence,
    HubError,
    HubFile,
    MissingFileError,
    cached_file,
    told_to_stay_offline,
)
from clipcli.models.hub.pins import pin, read_pins

_OFFLINE = "--offline"
"""The option that forbids all downloads, where no variable does."""


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
    # The environment's word counts as the option's: a machine without a network is set up once.
    offline = offline or bool(told_to_stay_offline())
    if revision is not None:
        revision = hub_commit(repository, filename, revision, offline=offline)
    wanted = HubFile(repository, filename, revision)
    file = cached_file(wanted, offline=offline)
    if file is not None:
        return file
    if offline:
        raise _not_here(wanted)

    from clipcli.models.hub.downloads import download

    return download(wanted)


def hub_commit(repository: str, filename: str, revision: str, *, offline: bool = False) -> str:
    """The commit that a revision means: today, or (offline) when the hub was last asked.

    Args:
        repository: `organisation/name`.
        filename: any of its files; it need not be there.
        revision: a branch, a tag, or a commit, which is returned as it is. `main` moves on for
            those, too, who do not name a revision.
        offline: ask nobody.

    Returns:
        40 hexadecimal digits.

    Raises:
        MissingFileError: the hub was never asked, and offline is set.
        ModelError: the hub does not say.
    """
    wanted = HubFile(repository, filename, revision)
    # A commit means the same for ever, and needs nobody to say so.
    if not wanted.is_moving:
        return revision
    if offline or told_to_stay_offline():
        commit = wanted.commit(read_pins(repository))
        if commit is None:
            raise _not_here(wanted)
        return commit

    from clipcli.models.hub.downloads import current_commit

    commit = current_commit(wanted)
    # For those who ask offline later.
    pin(repository, revision, commit, {})
    return commit


def _not_here(wanted: HubFile) -> HubError:
    forbids = told_to_stay_offline() or _OFFLINE
    absence = Absence(f"offline is set ({forbids})", f"once without {forbids}")
    reason = f"it is not in the cache, and {absence.why}"
    return wanted.unavailable(reason, MissingFileError, absence)
