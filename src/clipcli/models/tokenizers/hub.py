"""Texts to token ids by a tokenizer of the model hub, id for id as open_clip's `HFTokenizer`.

Some models (SigLIP, CLIPA) come with a `tokenizer.json` of their own. Its reader is the package
`tokenizers`; neither transformers nor torch is imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from clipcli.models.tokenizers.clip import VOCABULARY_SIZE, CleanMode, Tokens, clean_text

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
SETTINGS_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"

_KNOWN_OPTIONS = {"clean", "strip_sep_token"}
_SIDES = ("padding_side", "truncation_side")
# What transformers' classes call these tokens where a repository's files do not name them.
_USUAL_NAMES = {"pad_token": ("<pad>", "[PAD]"), "sep_token": ("</s>", "[SEP]")}
# These of transformers' classes pad on the left where a repository's files do not say a side.
_LEFT_SIDED = ("Gemma", "Llama", "CodeLlama", "Cohere", "Siglip2", "XLNet")


@dataclass(frozen=True)
class HubTokenizerConfig:
    """What a model expects of its tokens; plain values, fit for a manifest.

    Attributes:
        context_length: Tokens in a row, those that the tokenizer adds included.
        pad_id: The id that fills a row after the end of its text.
        clean: What is done to a text first, as in `TokenizerConfig`.
        strip_id: The separator's id, where the model reads 0 in its place.

    Raises:
        ValueError: For a context shorter than one token, or an unknown way to clean.
    """

    context_length: int
    pad_id: int
    clean: CleanMode = "whitespace"
    strip_id: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.context_length, int) or self.context_length < 1:
            raise ValueError(f"context_length must be at least 1, not {self.context_length!r}")
        if self.clean not in get_args(CleanMode):
            raise ValueError(f"clean must be one of {get_args(CleanMode)}, not {self.clean!r}")


class HubTokenizer:
    """A tokenizer of the model hub, with open_clip's cleaning before it.

    Args:
        config: The model's context length, cleaning and padding.
        tokenizer_file: Its `tokenizer.json`.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file holds no tokenizer, or one that adds more tokens than fit.
    """

    def __init__(self, config: HubTokenizerConfig, tokenizer_file: Path) -> None:
        self.config, self.file = config, tokenizer_file
        self._tokenizer = _read_tokenizer(tokenizer_file)
        added = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        if added > config.context_length:
            context = f"a context of {config.context_length}"
            raise ValueError(
                f"{tokenizer_file}: adds {added} tokens to a text, too many for {context}"
            )
        # A repository's file may bring padding along, to another length than the model's.
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(config.context_length)

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Encode `n` texts, one row each; a single string is one text.

        A text that does not fit keeps its first tokens and those that the tokenizer adds.

        Raises:
            ValueError: For a text that cannot be cleaned or encoded.
        """
        import numpy as np

        if isinstance(texts, str):
            texts = [texts]
        ids = np.full((len(texts), self.config.context_length), self.config.pad_id, dtype=np.int64)
        lengths = np.empty(len(texts), dtype=np.int64)
        truncated = []
        for row, text in enumerate(texts):
            tokens, was_cut = self._encode(text)
            ids[row, : len(tokens)] = tokens
            lengths[row] = len(tokens)
            if was_cut:
                truncated.append(row)
        # As CLIPA was trained: open_clip puts 0 in the separator's place after padding.
        if self.config.strip_id is not None:
            ids[ids == self.config.strip_id] = 0
        return Tokens(ids, lengths, tuple(truncated))

    def _encode(self, text: str) -> tuple[list[int], bool]:
        # One by one: a batch would start threads of its own, whatever --threads says.
        cleaned = clean_text(text, self.config.clean)
        try:
            encoding = self._tokenizer.encode(cleaned)
        except Exception as error:
            raise ValueError(f"a text cannot be encoded ({error}): {text[:40]!r}") from error
        return encoding.ids, bool(encoding.overflowing)


def read_config(text_cfg: Mapping[str, Any], folder: Path) -> HubTokenizerConfig:
    """Find out what a model expects of its tokens.

    Args:
        text_cfg: open_clip's, of the model.
        folder: With the tokenizer's `tokenizer.json`, `tokenizer_config.json` and (in older
            repositories) `special_tokens_map.json`.

    Raises:
        OSError: One of the first two files cannot be read.
        ValueError: A file is not what its name says, no token is for padding, or the model wants
            something that only the transformers library does.
    """
    options = text_cfg.get("tokenizer_kwargs") or {}
    unknown = [name for name in sorted(options) if name not in _KNOWN_OPTIONS]
    if text_cfg.get("tokenizer_mode"):
        unknown.append(f"tokenizer_mode {text_cfg['tokenizer_mode']!r}")
    if unknown:
        raise ValueError(f"only transformers knows the tokenizer's {', '.join(unknown)}")
    tokenizer = _read_tokenizer(folder / TOKENIZER_FILE)
    settings = _read_settings(folder)
    _check_settings(tokenizer, settings)
    strip = options.get("strip_sep_token", False)
    pad_id = _special_id(tokenizer, settings, "pad_token")
    # Of the transformers library's towers open_clip's configuration does not say it.
    size = text_cfg.get("vocab_size", VOCABULARY_SIZE)
    if pad_id >= size and not text_cfg.get("hf_model_name"):
        raise ValueError(f"its pad_token is number {pad_id}, and text_cfg.vocab_size is {size}")
    return HubTokenizerConfig(
        context_length=text_cfg.get("context_length", 77),
        pad_id=pad_id,
        clean=options.get("clean") or _own_cleaning(settings),
        strip_id=_special_id(tokenizer, settings, "sep_token") if strip else None,
    )


def _own_cleaning(settings: Mapping[str, Any]) -> CleanMode:
    """What transformers' own class does to a text beside what is in the `tokenizer.json`."""
    name = str(settings.get("tokenizer_class", ""))
    if name.startswith("Siglip2"):
        return "lower"
    return "canonicalize" if name.startswith("Siglip") else "whitespace"


def names_special_tokens(folder: Path) -> bool:
    """Whether `tokenizer_config.json` alone names the special tokens; in older repositories not.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not what its name says.
    """
    return "added_tokens_decoder" in _read_json(folder / SETTINGS_FILE)


def _read_tokenizer(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    content = path.read_bytes()
    try:
        return Tokenizer.from_str(content.decode("utf-8"))
    except Exception as error:  # the package raises no class of its own
        raise ValueError(f"{path}: not a tokenizer file ({error})") from error


def _read_settings(folder: Path) -> Mapping[str, Any]:
    settings = _read_json(folder / SETTINGS_FILE)
    special_tokens = folder / SPECIAL_TOKENS_FILE
    if names_special_tokens(folder) or not special_tokens.is_file():
        return settings
    return {**settings, **_read_json(special_tokens)}


def _read_json(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    try:
        settings = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: not a table of settings")
    return settings


def _check_settings(tokenizer: Tokenizer, settings: Mapping[str, Any]) -> None:
    """Refuse settings that would make transformers change what `tokenizer.json` does."""
    left_sided = str(settings.get("tokenizer_class", "")).startswith(_LEFT_SIDED)
    sides = {"padding_side": "left" if left_sided else "right", **settings}
    for name in _SIDES:
        if sides.get(name, "right") != "right":
            raise ValueError(f"only transformers knows a {name} of {sides[name]!r}")
    added = tokenizer.encode("").tokens
    for name in ("bos_token", "eos_token"):
        wanted = settings.get(f"add_{name}")
        if wanted is not None and wanted != (_content(settings.get(name)) in added):
            raise ValueError(f"{SETTINGS_FILE} and {TOKENIZER_FILE} disagree about add_{name}")


def _special_id(tokenizer: Tokenizer, settings: Mapping[str, Any], name: str) -> int:
    """The id of a token that the settings name, or of the one that usually has that part."""
    if name in settings:
        names = [_content(settings[name])]
    else:
        special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
        names = [usual for usual in _USUAL_NAMES[name] if usual in special]
    if not names or names[0] is None:
        raise ValueError(f"the tokenizer has no {name}")
    number = tokenizer.token_to_id(names[0])
    if number is None:
        raise ValueError(f"the tokenizer's {name} {names[0]!r} is not in its vocabulary")
    return number


def _content(token: object) -> str | None:
    """A token's text: it is written as such, or as a table of its properties."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None
