"""Prepared models: a folder with a manifest, two ONNX graphs, their weights and a tokenizer."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipcli.errors import ModelError
from clipcli.models import HubWeights, ModelSpec
from clipcli.paths import bundles_folder

if TYPE_CHECKING:
    from clipcli.models import Activation
    from clipcli.tokenizer import CleanMode

MANIFEST_FILE = "manifest.json"
STAMP_FILE = "stamp.json"
IMAGE_GRAPH = "image.onnx"
TEXT_GRAPH = "text.onnx"
TOKENIZER_FILE = "tokenizer.json"

FORMAT = 1
"""Of the manifest; another number is another clipcli's bundle."""

_PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class FileRecord:
    """One file of a bundle as it was when the bundle was made.

    Attributes:
        size: in bytes.
        sha256: in hexadecimal.
    """

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds, and how it came about.

    Attributes:
        format: `FORMAT` of the clipcli that wrote it.
        model: canonical name.
        fingerprint: of the weights, the configuration and the precision.
        precision: `fp32` or `int8`.
        weights_sha256: of the safetensors file that it was made from.
        config: open_clip's `model_cfg`.
        preprocess: the fields of a `PreprocessConfig`.
        embed_dim: width of the embeddings.
        context_length: of a prompt, in tokens.
        short_context: whether the text graph takes prompts shorter than the context.
        clean: how the tokenizer cleans texts.
        logit_scale: multiplies cosines.
        logit_bias: is added to them.
        activation: how logits become probabilities.
        versions: of clipcli, torch, open_clip and onnxruntime, and the processor's architecture.
        parity: figures of the check against torch.
        files: name -> what was written.
    """

    format: int
    model: str
    fingerprint: str
    precision: str
    weights_sha256: str
    config: Mapping[str, Any]
    preprocess: Mapping[str, Any]
    embed_dim: int
    context_length: int
    short_context: bool
    clean: CleanMode
    logit_scale: float
    logit_bias: float
    activation: Activation
    versions: Mapping[str, str]
    parity: Mapping[str, float]
    files: Mapping[str, FileRecord]

    def to_json(self) -> str:
        """The manifest as it is written to disk."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what `to_json` wrote.

        Raises:
            ValueError: it is not a manifest of this format.
        """
        fields = json.loads(text)
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:
            raise ValueError("not a manifest of this version")
        try:
            files = {name: FileRecord(**record) for name, record in fields.pop("files").items()}
            return cls(**fields, files=files)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"incomplete: {error}") from error


@dataclass(frozen=True)
class Bundle:
    """A prepared model on disk."""

    folder: Path
    manifest: Manifest

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(record.size for record in self.manifest.files.values())

    @property
    def is_native(self) -> bool:
        """Whether its graphs were optimised by this runtime for this kind of processor."""
        from onnxruntime import __version__

        versions = self.manifest.versions
        here = __version__, platform.machine()
        return (versions.get("onnxruntime"), versions.get("machine")) == here


def bundle_folder(spec: ModelSpec, precision: str) -> Path:
    """Where the bundle of a model is, or would be.

    A folder that was prepared in place (as the bundled model is) holds its own fp32 graphs.
    """
    if precision == "fp32" and spec.folder is not None and (spec.folder / MANIFEST_FILE).is_file():
        return spec.folder
    slug = re.sub(r"[^A-Za-z0-9.-]+", "_", spec.name).strip("_")
    return bundles_folder() / f"{slug}-{precision}-{_key(spec)}"


def find_bundle(spec: ModelSpec, precision: str) -> Bundle | None:
    """The prepared form of a model, or None where there is none.

    Raises:
        ModelError: there is one, and it is damaged.
    """
    folder = bundle_folder(spec, precision)
    return open_bundle(folder) if (folder / MANIFEST_FILE).is_file() else None


def open_bundle(folder: Path) -> Bundle:
    """Read a bundle's manifest and see that its files are those that were written.

    A file that looks to the file system as it did is not read; another is hashed. The files that
    came with clipcli itself are its installer's care: of them only the sizes are looked at.

    Raises:
        ModelError: a file is missing, cut short or changed; the message names the repair.
    """
    try:
        manifest = Manifest.from_json((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(folder, f"its {MANIFEST_FILE} cannot be used ({error})") from error
    stamps = None if folder.is_relative_to(_PACKAGE) else _read_stamps(folder)
    for name, record in manifest.files.items():
        _check_file(folder, name, record, stamps)
    return Bundle(folder, manifest)


def prepared_bundles() -> Iterator[Bundle | Path]:
    """All that `clipcli pull` made, by name; a damaged one is its folder."""
    folder = bundles_folder()
    names = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in names:
        if path.name.startswith(".") or not path.is_dir():
            continue
        try:
            yield open_bundle(path)
        except ModelError:
            yield path


def install(temporary: Path, folder: Path) -> None:
    """Move a finished bundle into its place, whole, whoever else does so at the same time."""
    stamp(temporary)
    while True:
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
            # A folder cannot replace one that holds something: that one steps aside first.
            remove(folder)
        else:
            return


def remove(folder: Path) -> None:
    """Take a bundle out of its place at once, then delete it at leisure."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        folder.rename(aside)
    except FileNotFoundError:
        return
    shutil.rmtree(aside, ignore_errors=True)


def stamp(folder: Path) -> None:
    """Note how the files look to the file system, so that a start need not hash them."""
    manifest = Manifest.from_json((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    stamps = {name: _stamp(folder / name) for name in manifest.files}
    (folder / STAMP_FILE).write_text(json.dumps(stamps), encoding="utf-8")


def record_file(path: Path) -> FileRecord:
    """Size and hash of a file."""
    with path.open("rb") as file:
        return FileRecord(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _key(spec: ModelSpec) -> str:
    """Tells apart what has one name: another configuration, another checkpoint of that name."""
    origin: list[object]
    if isinstance(spec.weights, HubWeights):
        origin = [spec.weights.repository, spec.weights.filename]
    else:
        try:
            origin = [str(spec.weights.resolve()), *_stamp(spec.weights)]
        except OSError:  # no such file: loading it will say so
            origin = [str(spec.weights)]
    text = json.dumps([dict(spec.config), dict(spec.preprocess), origin], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _read_stamps(folder: Path) -> Mapping[str, object]:
    try:
        stamps = json.loads((folder / STAMP_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}


def _check_file(
    folder: Path, name: str, record: FileRecord, stamps: Mapping[str, object] | None
) -> None:
    path = folder / name
    try:
        if path.stat().st_size != record.size:
            raise _damaged(folder, f"{name} is not as long as it was")
        looks_changed = stamps is not None and _stamp(path) != stamps.get(name)
        if looks_changed and record_file(path) != record:
            raise _damaged(folder, f"{name} has changed")
    except OSError as error:
        raise _damaged(folder, f"{name} cannot be read ({error.strerror})") from error


def _damaged(folder: Path, reason: str) -> ModelError:
    return ModelError(
        f"the prepared model in {folder} is damaged: {reason}."
        " Repair it with 'clipcli pull MODEL', or use --engine torch"
    )
