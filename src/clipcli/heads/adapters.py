"""Adapters on disk: a folder each, of tensors and of what is to be known about them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipcli.disk.paths import adapters_folder, is_nowhere
from clipcli.errors import UsageError, one_line
from clipcli.heads.adapter_description import Description

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clipcli.engines.base import ModelInfo
    from clipcli.heads.labels import LabelSet

DESCRIPTION_FILE = "adapter.json"
TENSORS_FILE = "adapter.safetensors"
LORA_PREFIX = "lora."
"""Of the names of tensors that change the model's own weights."""

_LARGEST_DESCRIPTION = 1 << 26
_NAME = re.compile(r"\w[\w.+-]{0,79}")


@dataclass(frozen=True, eq=False)
class Adapter:
    """An adapter that was read.

    Attributes:
        name: as the user calls it.
        folder: where it lies.
        sha256: of its description, which holds that of its tensors.
        description: of what it is.
        tensors: by name; `weights` (L, d) and `texts` (L, d) make its head, `pictures` (n, d) and
            `classes` (n,) tell what its classes look like.
    """

    name: str
    folder: Path
    sha256: str
    description: Description
    tensors: Mapping[str, NDArray[Any]]

    @property
    def labels(self) -> LabelSet:
        """The labels to choose from."""
        return self.description.label_set

    def check_base(self, info: ModelInfo) -> None:
        """See that a model is the one that was adapted.

        Raises:
            UsageError: it is another.
        """
        made = self.description
        known = (made.fingerprint, self.fingerprint)  # the model itself, or already adapted
        if info.fingerprint in known and made.embed_dim == info.embed_dim:
            return
        which = f"{made.model} (fingerprint {made.fingerprint})"
        if made.model == info.name:
            way_out = "the same weights and --precision as then, or adapt this model"
            other = f"these weights of it (fingerprint {info.fingerprint})"
        else:
            way_out = f"--model {made.model}, or adapt this model"
            other = info.name
        raise UsageError(f"--adapter {self.name} adapts {which}, not {other}: use {way_out}")

    @property
    def fingerprint(self) -> str:
        """Of the model with this adapter."""
        both = f"{self.description.fingerprint} {self.sha256}"
        return hashlib.sha256(both.encode()).hexdigest()[:32]

    def answering(self, info: ModelInfo) -> ModelInfo:
        """The model as the answers' own: with this adapter it is another one."""
        return replace(info, fingerprint=self.fingerprint)

    @property
    def lora(self) -> Mapping[str, NDArray[Any]]:
        """What changes the model's own weights, by name; nothing where they stay."""
        return {
            name.removeprefix(LORA_PREFIX): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(LORA_PREFIX)
        }

    @property
    def has_probe(self) -> bool:
        """Whether the labels have other weights than their texts."""
        return bool((self.tensors["weights"] != self.tensors["texts"]).any())

    @property
    def lora_scale(self) -> float:
        """What the changes are multiplied with."""
        return float(self.description.hyperparameters["scale"])


def adapter_folder(name: str) -> Path:
    """Where the adapter of a name lies, or would: a name with a slash is a path.

    Raises:
        UsageError: no adapter can be called so, or there is no place for it.
    """
    if "/" in name or os.sep in name:
        return Path(name)
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"no adapter can be called {name!r}: use letters, digits and . _ + -, or a path with a"
            " slash (./NAME)"
        )
    folder = adapters_folder()
    if is_nowhere(folder):
        raise UsageError(
            f"there is no place for an adapter {name}: name a path with a slash (./{name})"
        )
    return folder / name


def read_adapter(name: str) -> Adapter:
    """Read an adapter, and see that it is whole.

    Raises:
        UsageError: there is none of that name, or it is not usable.
    """
    folder = adapter_folder(name)
    if not (folder / DESCRIPTION_FILE).is_file():
        raise UsageError(_missing(name, folder))
    try:
        return _read(name, folder)
    except UsageError as error:
        raise _damaged(folder, str(error)) from error
    except (OSError, ValueError) as error:
        raise _damaged(folder, getattr(error, "strerror", None) or one_line(error)) from error


def _read(name: str, folder: Path) -> Adapter:
    text = _content(folder / DESCRIPTION_FILE, _LARGEST_DESCRIPTION)
    description = Description.from_json(text.decode("utf-8"))
    # Whatever the labels are, before anything is built of them.
    _ = description.label_set
    data = _content(folder / TENSORS_FILE, description.tensors_bytes)
    if hashlib.sha256(data).hexdigest() != description.tensors_sha256:
        raise ValueError(f"{TENSORS_FILE} is not the one that was written")
    tensors = _loaded(data)
    _check_tensors(tensors, description)
    return Adapter(name, folder, hashlib.sha256(text).hexdigest(), description, tensors)


def _content(file: Path, most: int) -> bytes:
    with file.open("rb") as opened:
        data = opened.read(most + 1)
    if len(data) > most:
        raise ValueError(f"{file.name} is longer than it should be")
    return data


def _loaded(data: bytes) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(data)
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"{TENSORS_FILE} is no safetensors file ({one_line(error)})") from error


def _check_tensors(tensors: Mapping[str, NDArray[Any]], made: Description) -> None:
    import numpy as np

    count, width = len(made.labels), made.embed_dim
    wanted = {
        "weights": ((count, width), np.float32),
        "texts": ((count, width), np.float32),
        "pictures": ((len(made.pictures), width), np.float32),
        "classes": ((len(made.pictures),), np.int64),
    }
    for name, (shape, kind) in wanted.items():
        if name not in tensors or tensors[name].shape != shape or tensors[name].dtype != kind:
            raise ValueError(f"{TENSORS_FILE} has no tensor {name} of the shape {shape}")
    _check_lora(tensors, made)
    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise ValueError(f"{TENSORS_FILE}: {name} is not finite")
    found = np.bincount(tensors["classes"], minlength=count) if len(made.pictures) else [0] * count
    if list(found) != list(made.counts):
        raise ValueError(f"{TENSORS_FILE}: classes are not those that were counted")


def _check_lora(tensors: Mapping[str, NDArray[Any]], made: Description) -> None:
    changes = any(name.startswith(LORA_PREFIX) for name in tensors)
    scale = made.hyperparameters.get("scale")
    has_scale = isinstance(scale, int | float) and isfinite(scale) and scale > 0
    if (made.method == "lora") != changes or (changes and not has_scale):
        raise ValueError(f"{TENSORS_FILE} is not what its method, {made.method}, makes")


def adapter_names() -> list[str]:
    """What the adapters in clipcli's own folder are called."""
    folder = adapters_folder()
    # Hidden ones are on their way in or out.
    names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    whole = (name for name in names if (folder / name / DESCRIPTION_FILE).is_file())
    return sorted(name for name in whole if _NAME.fullmatch(name))


def kept_adapters() -> Iterator[Adapter | tuple[Path, UsageError]]:
    """The adapters in clipcli's own folder, by name; those that are not usable with the reason."""
    for name in adapter_names():
        try:
            yield read_adapter(name)
        except UsageError as error:
            yield adapters_folder() / name, error


def _missing(name: str, folder: Path) -> str:
    if folder.is_dir():
        return f"--adapter {name}: {folder} holds no {DESCRIPTION_FILE}, so it is no adapter"
    known = [path.name for path in sorted(folder.parent.glob(f"*/{DESCRIPTION_FILE}"))]
    names = ", ".join(
        file.parent.name for file in sorted(folder.parent.glob(f"*/{DESCRIPTION_FILE}"))
    )
    there = f" (there are: {names})" if known else ""
    return (
        f"there is no adapter {name}{there}: 'clipcli adapt DATA -o {name}' makes it from pictures"
    )


def _damaged(folder: Path, reason: str) -> UsageError:
    return UsageError(
        f"the adapter in {folder} is not usable: {reason}; make it anew with 'clipcli adapt'"
    )
