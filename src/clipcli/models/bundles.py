"""Prepared models: a folder with a manifest, two ONNX graphs, their weights and a tokenizer."""

from __future__ import annotations

import glob
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from clipcli.assets import asset
from clipcli.disk.folders import replace_folder
from clipcli.disk.hashes import known_hash, note_hash
from clipcli.disk.paths import bundles_folder
from clipcli.errors import ModelError, settled
from clipcli.models.catalogue import DEFAULT_WEIGHTS_FILE
from clipcli.models.configurations import MANIFEST_FILE
from clipcli.models.manifests import FileRecord, Manifest
from clipcli.models.names import BUNDLED_MODEL
from clipcli.models.specs import HubWeights, ModelSpec

IMAGE_GRAPH = "image.onnx"
TEXT_GRAPH = "text.onnx"
TOKENIZER_FILE = "tokenizer.json"

_BUNDLED_WEIGHTS = asset(BUNDLED_MODEL, DEFAULT_WEIGHTS_FILE)
_GRAPHS_AND_TOKENIZER = {IMAGE_GRAPH, TEXT_GRAPH, TOKENIZER_FILE}
_LONGEST_SLUG = 80
# Where two folders cannot change places, one is away for a moment.
_AWAY_SECONDS, _LOOK_AGAIN_SECONDS = 1.0, 0.01
_LOOKS = 20  # it may be back and away again between two questions

_T = TypeVar("_T")


@dataclass(frozen=True)
class Bundle:
    """A prepared model on disk."""

    folder: Path
    manifest: Manifest

    @property
    def is_bundled(self) -> bool:
        """Whether it came with clipcli; its installer took care of it."""
        return self.folder.is_relative_to(asset())

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(record.size for record in self.manifest.files.values())


@dataclass(frozen=True)
class Damaged:
    """What `clipcli pull` made and something else has spoiled.

    Attributes:
        folder: of the bundle.
        model: its canonical name, where that can still be read.
        error: what is wrong with it.
    """

    folder: Path
    model: str | None
    error: ModelError


def check_preparable(spec: ModelSpec) -> None:
    """Refuse a model that a bundle cannot hold.

    Raises:
        ModelError: its text tower is not one of open_clip's own.
    """
    if spec.needs_transformers:
        reason = "its text tower is one of the package transformers"
        raise ModelError(f"{spec.name} cannot be prepared: {reason}; it runs with --engine torch")


def bundle_folder(spec: ModelSpec, precision: str) -> Path:
    """Where the bundle of a model is, or would be.

    The bundled model's fp32 graphs lie beside its weights, and belong to no other weights. A
    bundle that was named itself is where it is.
    """
    if spec.bundle is not None:
        return spec.bundle
    if spec.weights == _BUNDLED_WEIGHTS and precision == "fp32":
        return _BUNDLED_WEIGHTS.parent
    # A local folder has as many names as there are ways to it; its own name is one of them.
    name = spec.name if spec.folder is None else spec.folder.resolve().name
    slug = re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_.")[:_LONGEST_SLUG]
    return bundles_folder() / f"{slug}-{precision}-{_key(spec)}"


def find_bundle(spec: ModelSpec, precision: str) -> Bundle | None:
    """The prepared form of a model, or None where there is none.

    Raises:
        ModelError: there is one, and it is damaged or of another precision.
    """
    folder = bundle_folder(spec, precision)
    try:
        bundle = open_bundle(folder)
    except ModelError:
        if folder.is_dir():
            raise
        bundle = None
    if bundle is not None and bundle.manifest.precision != precision:
        found = bundle.manifest.precision
        raise ModelError(f"{folder} is prepared in {found}: add --precision {found}")
    return bundle


def open_bundle(folder: Path) -> Bundle:
    """Read a bundle's manifest and see that its files are those that were written.

    A file that looks to the file system as it did is not read; another is hashed. The files that
    came with clipcli itself are its installer's care: of them only the sizes are looked at. What
    is noted of files goes into clipcli's own cache: the folder may be a stranger's.

    Raises:
        ModelError: a file is missing, cut short or changed; the message names the repair.
    """
    return steadily(folder, lambda: _opened(folder))


def _opened(folder: Path) -> Bundle:
    try:
        manifest = _read_manifest(folder)
    except (OSError, ValueError) as error:
        raise _damaged(folder, f"its {MANIFEST_FILE} cannot be used ({error})") from error
    bundle = Bundle(folder, manifest)
    for name, record in manifest.files.items():
        _check_file(bundle, name, record)
    return bundle


def steadily(folder: Path, look: Callable[[], _T]) -> _T:
    """What a look at a bundle's files gives, taken again where they were replaced meanwhile.

    Args:
        folder: of the bundle.
        look: opens some of its files, and may be called again; what it raises of a bundle that
            has stayed the same is raised.
    """
    while True:
        before = _identity(folder)
        try:
            found = look()
        except Exception:
            after = _identity(folder)
            if after == before and (after is not None or not _comes_back(folder)):
                raise
        else:
            # Files of two bundles do not go together, even where they are of one model.
            if _identity(folder) == before:
                return found


def _identity(folder: Path) -> object:
    """What tells a bundle from another in its place; None where there is none."""
    try:
        status = folder.stat(), (folder / MANIFEST_FILE).stat()
    except OSError:
        return None
    return [(one.st_dev, one.st_ino, one.st_ctime_ns) for one in status]


def _comes_back(folder: Path) -> bool:
    """Whether a bundle that is not there is there after all, or again."""
    deadline = time.monotonic() + _AWAY_SECONDS
    for _ in range(_LOOKS):
        while any(folder.parent.glob(f".{glob.escape(folder.name)}.*.old")):
            if _identity(folder) is not None or time.monotonic() > deadline:
                break
            time.sleep(_LOOK_AGAIN_SECONDS)
        if _identity(folder) is not None:
            return True
    return False


def prepared_bundles() -> Iterator[Bundle | Damaged]:
    """All that `clipcli pull` made, by name."""
    folder = bundles_folder()
    names = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in names:
        if path.name.startswith(".") or not path.is_dir():
            continue
        try:
            yield open_bundle(path)
        except ModelError as error:
            if not path.is_dir():
                continue  # removed since
            model = None
            with suppress(OSError, ValueError):
                model = _read_manifest(path).model
            yield Damaged(path, model, settled(error))


def install(temporary: Path, folder: Path) -> None:
    """Move a finished bundle into its place, whole, whoever else does so at the same time.

    The new one is in place before the old one goes.
    """
    manifest = _read_manifest(temporary)
    for name, record in manifest.files.items():
        note_hash(temporary / name, record.sha256, folder / name)
    replace_folder(temporary, folder)


def _key(spec: ModelSpec) -> str:
    """A key for what has one name: another configuration, another checkpoint of that name."""
    origin: list[object]
    if isinstance(spec.weights, HubWeights):
        # Not at the top: the bundled model and local ones have nothing to do with the hub.
        from clipcli.models.hub.cache import HubFile
        from clipcli.models.hub.pins import read_pins

        wanted = HubFile(spec.weights.repository, spec.weights.filename, spec.weights.revision)
        # The commit and not its name: a branch that has moved on has left its bundle behind.
        origin = [wanted.repository, wanted.filename, wanted.commit(read_pins(wanted.repository))]
    else:
        try:
            origin = [str(spec.weights.resolve()), *_stamp(spec.weights)]
        except OSError:  # no such file: loading it will say so
            origin = [str(spec.weights)]
    text = json.dumps([dict(spec.config), dict(spec.preprocess), origin], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _read_manifest(folder: Path) -> Manifest:
    manifest = Manifest.from_json((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    if not manifest.files.keys() >= _GRAPHS_AND_TOKENIZER:
        raise ValueError("incomplete")
    return manifest


def _stamp(path: Path) -> list[int]:
    """How a file looks to the file system, so that a start need not hash it."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _check_file(bundle: Bundle, name: str, record: FileRecord) -> None:
    """See that a file is the one that was written."""
    path = bundle.folder / name
    try:
        if path.stat().st_size != record.size:
            raise _damaged(bundle.folder, f"{name} is not as long as it was")
        if not bundle.is_bundled and known_hash(path) != record.sha256:
            raise _damaged(bundle.folder, f"{name} has changed")
    except OSError as error:
        raise _damaged(bundle.folder, f"{name} cannot be read ({error.strerror})") from error


def _damaged(folder: Path, reason: str) -> ModelError:
    return ModelError(f"the prepared model in {folder} is damaged: {reason}. {repair(folder)}")


def repair(folder: Path) -> str:
    """What to do about a prepared model that cannot be used, as a sentence."""
    if "-int8-" in folder.name:  # as `bundle_folder` calls it
        return "Repair it with 'clipcli pull MODEL --precision int8', or use --precision fp32"
    return "Repair it with 'clipcli pull MODEL', or use --engine torch"
