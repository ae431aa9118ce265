"""What a prepared model's folder holds, and how it came about: its `manifest.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipcli.disk.hashes import hash_file
from clipcli.models.fields import (
    FLAG,
    NULL,
    TABLE,
    TEXT,
    Rule,
    Rules,
    check,
    choice,
    number,
    parse_json,
    shown,
    whole,
)
from clipcli.models.specs import ModelSpec

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
        fields = parse_json(text)
        # A later clipcli may mean something else by a field of the same name.
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:
            raise ValueError("not a manifest of this version")
        _check(fields)
        files = {name: FileRecord(**record) for name, record in fields.pop("files").items()}
        return cls(**fields, files=files)


def _check(fields: Mapping[str, Any]) -> None:
    """See that each field has its kind, and that none contradicts the configuration.

    Folders of prepared models are passed on, too.
    """
    from clipcli.models.model_fields import check_model, check_preprocess

    optional = ("hub_tokenizer", "unrelated_cosines")
    check(fields, _RULES, "", needed=[name for name in _RULES if name not in optional])
    for name, record in fields["files"].items():
        if not _FILE_NAME.fullmatch(name):
            raise ValueError(f"files has {shown(name)}, which is no name within the folder")
        check(record, _RECORD, f"files.{name}", needed=_RECORD)
    check_model(fields["config"])
    check_preprocess(fields["preprocess"])
    if not isinstance(fields["preprocess"].get("size"), list):
        raise ValueError("preprocess.size is missing: it must be height and width")
    _check_agreement(fields)


def _check_agreement(fields: Mapping[str, Any]) -> None:
    """Compare what the manifest says of the model with the configuration that it was made from."""
    spec = ModelSpec(fields["model"], fields["config"], fields["preprocess"], Path())
    said = {
        "embed_dim": fields["config"]["embed_dim"],
        "context_length": spec.context_length,
        "short_context": spec.short_context,
        "clean": spec.text_cleaning,
        "activation": spec.activation,
    }
    for name, value in said.items():
        if fields[name] != value:
            raise ValueError(f"{name} is {shown(fields[name])}, and by its config {shown(value)}")
    tokenizer = fields.get("hub_tokenizer")
    if (tokenizer is None) != (spec.hub_tokenizer is None):
        raise ValueError("hub_tokenizer does not go with its config's hf_tokenizer_name")
    if tokenizer is not None:
        check(tokenizer, _TOKENIZER, "hub_tokenizer", needed=_TOKENIZER)
        if tokenizer["context_length"] != spec.context_length:
            raise ValueError("hub_tokenizer.context_length is not its config's")


def record_file(path: Path) -> FileRecord:
    """Size and hash of a file."""
    return FileRecord(path.stat().st_size, hash_file(path))


def _digits(count: int) -> Rule:
    """Lower-case hexadecimal digits."""
    pattern = re.compile(f"[0-9a-f]{{{count}}}")
    wanted = f"{count} hexadecimal digits"
    return Rule(wanted, lambda value: isinstance(value, str) and bool(pattern.fullmatch(value)))


_RULES: Rules = {
    "format": whole(FORMAT, FORMAT),
    "model": TEXT,
    "fingerprint": _digits(32),
    "precision": choice("fp32", "int8"),
    "weights_sha256": _digits(64),
    "config": TABLE,
    "preprocess": TABLE,
    "embed_dim": whole(1, 1 << 16),
    "context_length": whole(1, 1 << 16),
    "short_context": FLAG,
    "clean": TEXT,
    "logit_scale": number(-1e6, 1e6),
    "logit_bias": number(-1e6, 1e6),
    "activation": TEXT,
    "versions": TABLE,
    "parity": TABLE,
    "files": TABLE,
    "hub_tokenizer": TABLE | NULL,
    "unrelated_cosines": Rule(
        "a table of cosines",
        lambda value: isinstance(value, dict) and all(map(number(-1, 1).holds, value.values())),
    ),
}
_RECORD: Rules = {"size": whole(0, 1 << 50), "sha256": _digits(64)}
_TOKENIZER: Rules = {
    "context_length": whole(1, 1 << 16),
    "pad_id": whole(0, 1 << 24),
    "clean": TEXT,
    "strip_id": whole(0, 1 << 24) | NULL,
}
