"""The models that are at hand, every file of theirs read and compared with its sha256."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from clipcli.disk.hashes import hash_file
from clipcli.doctor.findings import Check, Outcome, attempt
from clipcli.engines.base import fingerprint
from clipcli.errors import UnavailableModelError
from clipcli.models import catalogue
from clipcli.models.hub.cache import (
    HubFile,
    cache_root,
    hash_in_name,
    is_repository,
)
from clipcli.models.hub.pins import Pins, read_pins
from clipcli.models.names import BUNDLED_MODEL, HUB_PREFIX, SAFE_NAMES, resolve_model
from clipcli.models.specs import ModelRequest

if TYPE_CHECKING:
    from clipcli.models.bundles import Bundle


def models() -> list[Check]:
    """What came with clipcli, what was prepared, and what lies in the hub's cache."""
    return [
        *attempt(BUNDLED_MODEL, _bundled),
        *attempt("prepared models", lambda: list(_prepared())),
        *attempt("the hub's cache", lambda: list(_downloaded())),
    ]


def _bundled() -> Sequence[Check]:
    from clipcli.models.bundles import open_bundle

    folder = resolve_model(ModelRequest(BUNDLED_MODEL)).folder
    assert folder is not None
    bundle = open_bundle(folder)
    weights = folder / catalogue.DEFAULT_WEIGHTS_FILE
    # The reference engine reads these; the manifest has their hash for another purpose.
    if hash_file(weights) != bundle.manifest.weights_sha256:
        detail = f"{weights} has changed: install clipcli anew"
        return [Check(BUNDLED_MODEL, Outcome.FAILED, detail)]
    return _bundle(bundle, "bundled")


def _prepared() -> Iterator[Check]:
    from clipcli.models.bundles import Damaged, prepared_bundles

    for found in prepared_bundles():
        if isinstance(found, Damaged):
            name = found.model or found.folder.name
            facts = {"kind": "prepared", "path": str(found.folder)}
            yield Check(name, Outcome.FAILED, str(found.error), facts)
        else:
            yield from attempt(found.manifest.model, partial(_bundle, found, "prepared"))


def _bundle(bundle: Bundle, kind: str) -> list[Check]:
    """Hash all of a bundle; a start looks only at how its files appear."""
    manifest = bundle.manifest
    facts = {
        "kind": kind,
        "precision": manifest.precision,
        "fingerprint": manifest.fingerprint,
        "bytes": bundle.size,
        "path": str(bundle.folder),
    }
    changed = [
        name
        for name, record in manifest.files.items()
        if hash_file(bundle.folder / name) != record.sha256
    ]
    if changed:
        detail = f"{bundle.folder}: changed since it was made: {', '.join(changed)}; pull it again"
        return [Check(manifest.model, Outcome.FAILED, detail, facts)]
    what = f"{kind}, {manifest.precision}, {manifest.fingerprint}"
    detail = f"{what}: {len(manifest.files)} files verified"
    return [Check(manifest.model, Outcome.OK, detail, facts)]


def _downloaded() -> Iterator[Check]:
    for name, file in _cached():
        yield from attempt(name, partial(_weights, name, file))


def _cached() -> Iterator[tuple[str, HubFile]]:
    """Models whose weights lie in the hub's cache, by the name that clipcli takes."""
    published = _published()
    for folder in sorted(cache_root().glob("models--*")):
        repository = folder.name.removeprefix("models--").replace("--", "/", 1)
        if not is_repository(repository):
            continue  # somebody else's folder: the hub has no such name
        pins = read_pins(repository)
        # What open_clip does not list may be an open_clip model all the same.
        other = [(f"{HUB_PREFIX}{repository}", name) for name in _weights_files(pins)]
        for name, filename in published.get(repository, other):
            file = HubFile(repository, filename)
            commit = file.commit(pins)
            if commit is not None and file.path(commit).is_file():
                yield name, file


def _weights_files(pins: Pins) -> list[str]:
    """What a repository's weights may be called.

    The names that transformers gives them say nothing, since every language model has them: they
    count where clipcli itself has noted that it used them.
    """
    names = {*SAFE_NAMES, *SAFE_NAMES.values()} - {catalogue.DEFAULT_WEIGHTS_FILE}
    used = {name.partition("/")[2] for name, sha256 in pins.files.items() if sha256}
    return [catalogue.DEFAULT_WEIGHTS_FILE, *sorted(names & used)]


def _published() -> dict[str, list[tuple[str, str]]]:
    """The hub's repository -> the names of the weights that it holds, each with its file."""
    found: dict[str, list[tuple[str, str]]] = {}
    for architecture in catalogue.architectures():
        for tag in catalogue.pretrained_tags(architecture).values():
            # A QuickGELU twin's tags are those of its architecture.
            if tag.architecture == architecture and tag.repository is not None:
                found.setdefault(tag.repository, []).append((tag.name, tag.filename))
    return found


def _weights(name: str, wanted: HubFile) -> list[Check]:
    """Compare a downloaded file with what was noted when it came, or with the hub's own name."""
    pins = read_pins(wanted.repository)
    commit = wanted.commit(pins)
    assert commit is not None
    path = wanted.path(commit)
    sha256 = hash_file(path)
    expected = pins.files.get(f"{commit}/{wanted.filename}") or hash_in_name(path)
    facts = {
        "kind": "downloaded",
        "fingerprint": _fingerprint(name, sha256),
        "sha256": sha256,
        "commit": commit,
        "bytes": path.stat().st_size,
        "path": str(path),
    }
    if expected is None:
        return [Check(name, Outcome.NOT_RUN, f"{path}: nothing is known of its sha256", facts)]
    if sha256 != expected:
        detail = f"{path} has the sha256 {sha256} and should have {expected}: delete it"
        return [Check(name, Outcome.FAILED, detail, facts)]
    identity = facts["fingerprint"] or f"sha256 {sha256}"
    return [Check(name, Outcome.OK, f"downloaded, {identity}: weights verified", facts)]


def _fingerprint(name: str, sha256: str) -> str | None:
    """The fingerprint with which torch would run the weights, where it needs no other file."""
    from clipcli.images.preprocessing import PreprocessConfig

    try:
        spec = resolve_model(ModelRequest(name, offline=True))
    except UnavailableModelError:  # weights alone, without their configuration
        return None
    if spec.hub_tokenizer:  # the identity then holds the tokenizer's hash, too
        return None
    config: dict[str, Any] = dict(spec.config)
    size = config["vision_cfg"].get("image_size", 224)  # open_clip's own default
    pixels = PreprocessConfig.from_open_clip(spec.preprocess, size)
    return fingerprint(sha256, config, pixels, "fp32")
