"""What the user asked for (`ModelRequest`), and the model that it means (`ModelSpec`)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from clipcli.models.tokenizers.clip import CleanMode

DEFAULT_MODEL = "ViT-B/32"
Activation = Literal["softmax", "sigmoid"]


@dataclass(frozen=True)
class ModelRequest:
    """What the user asked for.

    Attributes:
        name: as in the README's table of model names.
        checkpoint: a weights file that replaces those of a named architecture.
        quick_gelu: which activation the checkpoint was trained with; None where its name tells.
        offline: nothing is downloaded.
        allow_pickle: weights may be a pickled state dict, of which only tensors are read.
        revision: of the model hub's repository: a branch, a tag or a commit.
        allow_remote_names: what a local folder's configuration names on the model hub (a text
            tower, a tokenizer) may be fetched from there, as data only.
    """

    name: str = DEFAULT_MODEL
    # A path of the user's, and never one that a model's own files name.
    checkpoint: Path | None = None
    quick_gelu: bool | None = None
    offline: bool = False
    allow_pickle: bool = False
    revision: str | None = None
    allow_remote_names: bool = False

    @property
    def pull_command(self) -> str:
        """What prepares the model, to be pasted into a terminal."""
        words = ["clipcli", "pull", self.name]
        if self.checkpoint is not None:
            words += ["--checkpoint", str(self.checkpoint)]
        if self.quick_gelu is not None:
            words.append("--quick-gelu" if self.quick_gelu else "--no-quick-gelu")
        if self.allow_pickle:
            words.append("--allow-pickle")
        if self.allow_remote_names:
            words.append("--allow-remote-names")
        if self.revision is not None:
            words += ["--revision", self.revision]
        return shlex.join(words)


@dataclass(frozen=True)
class HubWeights:
    """A weights file in a repository of the model hub.

    Attributes:
        repository: `organisation/name`.
        filename: of the safetensors file; of a pickle where there is only that.
        revision: a branch, a tag or a commit; None for the commit that came first.
        pickle: of the same weights, read only where that is allowed and there is nothing else.
    """

    repository: str
    filename: str
    revision: str | None = None
    pickle: str | None = None


@dataclass(frozen=True)
class ModelSpec:
    """One model, its weights not yet looked for.

    Attributes:
        name: the canonical name, the same however the model was asked for.
        config: open_clip's `model_cfg`, with `quick_gelu` as the weights need it.
        preprocess: open_clip's `preprocess_cfg`, where it differs from open_clip's defaults.
        weights: where the safetensors file is.
        folder: of the model's other files (a tokenizer's), where it has one.
        bundle: the prepared model that was named itself, by its folder.
        vocabulary: a file that must hold CLIP's own, or nothing can tell which tokens it reads.
        request: what the user asked for.
        allow_pickle: as in the request.
        allow_remote_names: as in the request.
    """

    name: str
    config: Mapping[str, Any]
    preprocess: Mapping[str, Any]
    weights: Path | HubWeights
    folder: Path | None = None
    bundle: Path | None = None
    vocabulary: Path | None = None
    # Two ways to ask for one model are one model.
    request: ModelRequest = field(default=ModelRequest("MODEL"), compare=False)
    allow_pickle: bool = field(default=False, compare=False)
    allow_remote_names: bool = field(default=False, compare=False)

    @property
    def activation(self) -> Activation:
        """How scores become probabilities; models with a bias were trained with a sigmoid."""
        # Not by the model's name: whoever trains a SigLIP of their own has it in the configuration,
        # too.
        return "softmax" if self.config.get("init_logit_bias") is None else "sigmoid"

    @property
    def short_context(self) -> bool:
        """Whether positions after the end of a text change nothing, so that they may be cut off.

        True of text towers with a causal mask that pool at the end-of-text token and append no
        class token (as CoCa's do, behind the padding).
        """
        text = self.config["text_cfg"]
        # `argmax` takes the highest id for the end of the text: so it is in CLIP's vocabulary.
        pooling = {"eos"} if self.hub_tokenizer else {"argmax", "eos"}
        if text.get("eos_id") == 0:
            pooling -= {"eos"}  # the first place of the padding
        return (
            not (text.get("no_causal_mask") or text.get("embed_cls") or text.get("hf_model_name"))
            and text.get("pool_type", "argmax") in pooling
        )

    @property
    def context_length(self) -> int:
        """Tokens of a prompt, those for its start and its end included."""
        length: int = self.config["text_cfg"].get("context_length", 77)
        return length

    @property
    def text_cleaning(self) -> CleanMode:
        """What the tokenizer does to a text first."""
        settings = self.config["text_cfg"].get("tokenizer_kwargs") or {}
        cleaning: CleanMode = settings.get("clean", "lower")
        return cleaning

    @property
    def hub_tokenizer(self) -> str | None:
        """The hub's repository with its tokenizer, for models that do not read as CLIP does."""
        return self.config["text_cfg"].get("hf_tokenizer_name") or None

    @property
    def needs_transformers(self) -> bool:
        """Whether its text tower is one of the transformers library."""
        return bool(self.config["text_cfg"].get("hf_model_name"))
