"""What a prepared model's folder holds, and how it came about: its `manifest.json`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipcli.disk.hashes import hash_file

if TYPE_CHECKING:
    from clipcli.models.specs import Activation
    from clipcli.models.tokenizers.clip import CleanMode

FORMAT = 1
"""Of the manifest; another number is another clipcli's bundle."""

# A name within the folder: a manifest that somebody sends must not have other files read.
_FILE_NAME = re.compile(r"\w[\w.-]*", re.ASCII)


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
        weights_sha256: of the weights file that it was made from.
        config: open_clip's `model_cfg`.
        preprocess: the fields of a `PreprocessConfig`.
        embed_dim: width of the embeddings.
        context_length: of a prompt, in tokens.
        short_context: whether the text graph takes prompts shorter than the context.
        clean: how CLIP's own tokenizer cleans texts.
        logit_scale: multiplies cosines.
        logit_bias: is added to them.
        activation: how logits become probabilities.
        versions: of clipcli, torch, open_clip and onnxruntime, and the processor's architecture.
        parity: figures of the check against torch.
        files: name -> what was written.
        hub_tokenizer: the fields of a `HubTokenizerConfig`, where the tokenizer is not CLIP's own.
        unrelated_cosines: quantiles of the cosines of pictures and strange words; empty in bundles
            of earlier versions.
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
    hub_tokenizer: Mapping[str, Any] | None = None
    unrelated_cosines: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """The manifest as it is written to disk."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what `to_json` wrote.

        Raises:
            ValueError: it is not a manifest of this format, or holds what no model has.
        """
        try:
            fields = json.loads(text)
        except RecursionError as error:
            raise ValueError("not JSON of any use") from error
        # A later clipcli may mean something else by a field of the same name.
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:
            raise ValueError("not a manifest of this version")
        try:
            files = {name: FileRecord(**record) for name, record in fields.pop("files").items()}
            manifest = cls(**fields, files=files)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"incomplete: {error}") from error
        manifest._check()
        return manifest

    def _check(self) -> None:
        """See that everything has its kind: folders of prepared models are passed on, too."""
        for name, is_right in _CHECKS.items():
            value = getattr(self, name)
            if not is_right(value):
                raise ValueError(f"an unusable {name}: {value!r}")
        if self.hub_tokenizer is not None:
            from clipcli.models.tokenizers.hub import HubTokenizerConfig

            try:
                HubTokenizerConfig(**self.hub_tokenizer)
            except TypeError as error:
                raise ValueError(f"an unusable hub_tokenizer: {error}") from error


def record_file(path: Path) -> FileRecord:
    """Size and hash of a file."""
    return FileRecord(path.stat().st_size, hash_file(path))


def _is_count(value: object) -> bool:
    return type(value) is int and value > 0  # True is an int, too


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _is_pixels(value: Any) -> bool:  # noqa: ANN401
    """Whether it has a size and, where there are any, a mean and a std of three channels."""
    if not isinstance(value, dict):
        return False
    size, channels = value.get("size"), [value.get(name) or [0] * 3 for name in ("mean", "std")]
    return (
        (isinstance(size, list) and len(size) == 2 and all(map(_is_count, size)))
        and all(isinstance(numbers, list) and len(numbers) == 3 for numbers in channels)
        and all(_is_number(number) for numbers in channels for number in numbers)
    )


def _are_files(value: Mapping[str, FileRecord]) -> bool:
    return all(
        _FILE_NAME.fullmatch(name) and type(record.size) is int and isinstance(record.sha256, str)
        for name, record in value.items()
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("model", "fingerprint", "precision", "weights_sha256", "clean"), _is_text),
    **dict.fromkeys(("config", "versions", "parity"), _is_table),
    **dict.fromkeys(("embed_dim", "context_length"), _is_count),
    **dict.fromkeys(("logit_scale", "logit_bias"), _is_number),
    "preprocess": _is_pixels,
    "unrelated_cosines": lambda value: _is_table(value) and all(map(_is_number, value.values())),
    "activation": lambda value: value in ("softmax", "sigmoid"),
    "files": _are_files,
}
