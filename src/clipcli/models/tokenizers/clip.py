"""Texts to token ids, id for id as open_clip's `SimpleTokenizer` gives them.

Neither torch nor open_clip is imported: a start that needs a few prompts has no time for them.
"""

from __future__ import annotations

import json
import re
import string
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

CleanMode = Literal["lower", "whitespace", "canonicalize"]

_START, _END = "<start_of_text>", "<end_of_text>"
_WORD_END = "</w>"
_NO_RANK = 1 << 32  # above every token id

# What counts as a word is open_clip's decision (`SimpleTokenizer.pat` in its tokenizer.py).
_CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d"
_WORDS = _CONTRACTIONS + r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_ASCII_WORDS = _CONTRACTIONS + r"|[a-z]+|[0-9]|[^\sa-z0-9]+"

# What open_clip's pattern, into which it goes as it stands, takes for itself and for nothing else,
# and what no word of the vocabulary is: those are letters, a digit or signs, and never a mixture.
_SPECIAL_TOKEN = re.compile(r"<(?=[^<>]*[A-Za-z0-9])[A-Za-z0-9_/:;=@%&~!,\"'`-]+>")
_LONGEST_TOKEN = 64
_MOST_TOKENS = 4096

# The vocabulary spells bytes as visible characters (GPT-2's table): the printable ones of Latin-1
# stand for themselves, all others, in order, are the characters from 256 on.
_VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_HIDDEN = sorted(set(range(256)) - set(_VISIBLE))
_SPELLING = {byte: 256 + position for position, byte in enumerate(_HIDDEN)}
_ALPHABET = [chr(code) for code in (*_VISIBLE, *_SPELLING.values())]
_LETTERS = [*_ALPHABET, *(char + _WORD_END for char in _ALPHABET)]

VOCABULARY_SIZE = 49408
"""Tokens of CLIP's vocabulary, those for the start and the end of a text included."""

# Of the tokens before the start and the end of text, in the order of their ids, each with a line
# feed. Those two have other names in open_clip.
_VOCABULARY_SHA256 = "44dc0a51f765cdd67cd358ac126d31d0cfddccdab3d710081d3f90514a02915b"

# open_clip's file lists more merges than these tokens have room for.
_MERGES_FILE = "bpe_simple_vocab_16e6.txt.gz"
_MERGES_USED = VOCABULARY_SIZE - len(_LETTERS) - len((_START, _END))


@dataclass(frozen=True)
class TokenizerConfig:
    """What a model expects of its tokens.

    Attributes:
        context_length: Tokens in a row, those for the start and the end of the text included.
        clean: `"whitespace"` repairs the text and collapses white space, `"lower"` also lowers
            its case, `"canonicalize"` also removes ASCII punctuation.
        pad_id: The id that fills a row after the end of its text.
        special_tokens: Of the model's own, after CLIP's two; each is one token where it occurs.

    Raises:
        ValueError: For a context shorter than one token, an unknown way to clean, or a special
            token that cannot be used (see `check_special_tokens`).
    """

    context_length: int = 77
    clean: CleanMode = "lower"
    pad_id: int = 0
    special_tokens: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.context_length < 1:
            raise ValueError(f"context_length must be at least 1, not {self.context_length}")
        if self.clean not in get_args(CleanMode):
            raise ValueError(f"clean must be one of {get_args(CleanMode)}, not {self.clean!r}")
        check_special_tokens(self.special_tokens)

    @classmethod
    def from_open_clip(cls, text_cfg: Mapping[str, Any]) -> TokenizerConfig:
        """What a model expects, by open_clip's `text_cfg` of it.

        Raises:
            ValueError: It expects what no tokenizer can do.
        """
        options = text_cfg.get("tokenizer_kwargs") or {}
        return cls(
            text_cfg.get("context_length", 77),
            options.get("clean", "lower"),
            special_tokens=tuple(options.get("additional_special_tokens") or ()),
        )


def check_special_tokens(tokens: Sequence[str]) -> None:
    """Refuse special tokens that open_clip does not read as what they are.

    Raises:
        ValueError: There are too many, one is there twice, or one is not of the form `<name>`.
    """
    if len(tokens) > _MOST_TOKENS or len({_START, _END, *tokens}) < 2 + len(tokens):
        raise ValueError(f"there are more than {_MOST_TOKENS:,}, or one is there twice")
    for token in tokens:
        if not _SPECIAL_TOKEN.fullmatch(token) or len(token) > _LONGEST_TOKEN:
            reason = "it is none of the form '<name>', which is read as one token and no pattern"
            raise ValueError(f"{token[:_LONGEST_TOKEN]!r}: {reason}")


@dataclass(frozen=True, eq=False)
class Tokens:
    """Texts as a model reads them.

    Attributes:
        ids: Token ids, shape `(n, context_length)`, padded on the right.
        lengths: Tokens in each row before its padding, shape `(n,)`, start and end included.
        truncated: The positions of the texts that did not fit and were cut.
    """

    ids: NDArray[np.int64]
    lengths: NDArray[np.int64]
    truncated: tuple[int, ...]


class ClipTokenizer:
    """CLIP's byte-pair encoding, with open_clip's cleaning before it.

    Args:
        config: The model's context length, cleaning and padding.
        tokenizer_file: What `write_tokenizer_file` wrote; without it, the vocabulary comes from
            the merges in the installed open_clip package.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file holds no CLIP vocabulary.
        ModuleNotFoundError: There is neither a file nor an installed open_clip.

    Example:
        >>> ClipTokenizer(TokenizerConfig(context_length=8))(["a photo of a cat"]).ids
        array([[49406,   320,  1125,   539,   320,  2368, 49407,     0]])
    """

    def __init__(self, config: TokenizerConfig, tokenizer_file: Path | None = None) -> None:
        vocabulary = _read_vocabulary(tokenizer_file) if tokenizer_file else _vocabulary()
        self.config = config
        self.start_id, self.end_id = vocabulary[_START], vocabulary[_END]
        special = {_START: self.start_id, _END: self.end_id}
        special |= {token: len(vocabulary) + row for row, token in enumerate(config.special_tokens)}
        self._special = "|".join(special)

        # Prompts share their words: a template's come again with every label.
        @lru_cache(maxsize=1 << 16)
        def word_ids(word: str) -> tuple[int, ...]:
            return (special[word],) if word in special else _encode_word(word, vocabulary)

        self._word_ids = word_ids

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """Encode `n` texts, one row each; a single string is one text.

        A text that does not fit keeps its first tokens, with the end of text as the last one.

        Raises:
            ValueError: For a text that cannot be cleaned (see `encode`).
        """
        import numpy as np

        if isinstance(texts, str):
            texts = [texts]
        context_length = self.config.context_length
        ids = np.full((len(texts), context_length), self.config.pad_id, dtype=np.int64)
        lengths = np.empty(len(texts), dtype=np.int64)
        truncated = []
        for row, text in enumerate(texts):
            tokens = [self.start_id, *self.encode(text), self.end_id]
            if len(tokens) > context_length:
                truncated.append(row)
                tokens = [*tokens[: context_length - 1], self.end_id]
            ids[row, : len(tokens)] = tokens
            lengths[row] = len(tokens)
        return Tokens(ids, lengths, tuple(truncated))

    def encode(self, text: str) -> list[int]:
        """Return all ids of one text, without start, end and padding.

        Raises:
            ValueError: The text holds an HTML character reference of more than 4,300 digits,
                which Python refuses to read as a number (open_clip fails on it, too).
        """
        words = _split(clean_text(text, self.config.clean), self._special)
        return [token for word in words for token in self._word_ids(word)]


def write_tokenizer_file(path: Path) -> None:
    """Write the installed open_clip's vocabulary as a Hugging Face `tokenizer.json`.

    Only the BPE model of single words is in it; cleaning and splitting stay in this module.

    Raises:
        OSError: The file cannot be written.
        ModuleNotFoundError: open_clip is not installed.
    """
    model = {
        "type": "BPE",
        "end_of_word_suffix": _WORD_END,
        "vocab": _vocabulary(),
        "merges": _merges(),
    }
    text = json.dumps({"version": "1.0", "added_tokens": [], "model": model}, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")


def _read_vocabulary(path: Path) -> dict[str, int]:
    try:
        vocabulary: dict[str, int] = json.loads(path.read_bytes())["model"]["vocab"]
        complete = vocabulary.keys() >= {*_LETTERS, _START, _END}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a tokenizer file ({error})") from error
    if not complete:
        raise ValueError(f"{path}: not a CLIP vocabulary (letters or special tokens are missing)")
    return vocabulary


def _vocabulary() -> dict[str, int]:
    merged = (merge.replace(" ", "") for merge in _merges())
    return {token: position for position, token in enumerate((*_LETTERS, *merged, _START, _END))}


def _merges() -> list[str]:
    """Return the merges in open_clip's package, best first, each as `left right`."""
    import gzip
    from importlib.util import find_spec

    package = find_spec("open_clip")  # finds a package's folder without importing the package
    if package is None or package.origin is None:
        raise ModuleNotFoundError("open_clip is not installed", name="open_clip")
    packed = (Path(package.origin).parent / _MERGES_FILE).read_bytes()
    lines = gzip.decompress(packed).decode("utf-8").split("\n")
    return lines[1 : 1 + _MERGES_USED]  # the first line is the file's version


def clean_text(text: str, mode: CleanMode) -> str:
    """Clean a text as the function of that name in open_clip's `get_clean_fn` does.

    Args:
        text: As it was given.
        mode: As in `TokenizerConfig`.

    Raises:
        ValueError: As in `ClipTokenizer.encode`.
    """
    # There is nothing to repair in plain ASCII: a start with such labels is spared ftfy's import.
    if not _is_printable_ascii(text) or "&" in text:
        text = _repair(text)
    if mode == "canonicalize":
        text = text.replace("_", " ").translate(str.maketrans("", "", string.punctuation))
    text = " ".join(text.split())
    return text if mode == "whitespace" else text.lower()


def _repair(text: str) -> str:
    import html

    import ftfy

    try:
        # Twice, since captions from the web hold such as `&amp;quot;`.
        repaired: str = html.unescape(html.unescape(ftfy.fix_text(text)))
    except ValueError as error:
        raise ValueError(f"a text cannot be cleaned ({error}): {text[:40]!r}") from error
    return repaired


def _split(text: str, special: str) -> list[str]:
    # In plain ASCII both patterns find the same words, and `re` costs a start nothing.
    if _is_printable_ascii(text):
        return re.findall(f"{special}|{_ASCII_WORDS}", text, re.IGNORECASE)
    import regex

    words: list[str] = regex.findall(f"{special}|{_WORDS}", text, regex.IGNORECASE)
    return words


def _is_printable_ascii(text: str) -> bool:
    return text.isascii() and text.isprintable()


# By hand: to import the package `tokenizers` and let it read its file takes 113 ms of each start.
def _encode_word(word: str, vocabulary: dict[str, int]) -> tuple[int, ...]:
    """Return one word's token ids: neighbours merge, best rank first, until none can.

    A token's id serves as its merge's rank, and a word that is a token needs no merging, because
    the letters of every token in this vocabulary merge to that token and by one way only.
    """
    spelled = word.encode("utf-8").decode("latin-1").translate(_SPELLING)
    if spelled + _WORD_END in vocabulary:
        return (vocabulary[spelled + _WORD_END],)
    parts = [*spelled[:-1], spelled[-1] + _WORD_END]
    while True:
        ranks = [vocabulary.get(left + right, _NO_RANK) for left, right in pairwise(parts)]
        ranks.append(_NO_RANK)  # the last part has no right neighbour
        best = min(ranks)
        if best == _NO_RANK:
            return tuple(vocabulary[part] for part in parts)
        parts = _merge(parts, ranks, best)


def _merge(parts: list[str], ranks: list[int], best: int) -> list[str]:
    """Join all neighbours of the best rank, from the left."""
    merged = []
    position = 0
    while position < len(parts):
        width = 2 if ranks[position] == best else 1
        merged.append("".join(parts[position : position + width]))
        position += width
    return merged


def check_vocabulary(file: Path) -> None:
    """See that a `tokenizer.json` or `vocab.json` holds CLIP's own vocabulary.

    Its merges need no look: with the ids of this vocabulary there is one way only to merge.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds another vocabulary, or none.
    """
    import hashlib

    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not readable as JSON ({error})") from error
    try:
        # In a vocab.json `model` is a word like others, with a number for its value.
        model = content.get("model")
        vocabulary = model["vocab"] if isinstance(model, dict) else content
        words = sorted(vocabulary, key=vocabulary.__getitem__)[: VOCABULARY_SIZE - 2]
        ids = sorted(vocabulary.values())
        added = content.get("added_tokens") if isinstance(model, dict) else None
        strange = [each for each in added or () if vocabulary.get(each["content"]) != each["id"]]
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} holds no vocabulary") from error
    digest = hashlib.sha256("".join(f"{word}\n" for word in words).encode()).hexdigest()
    if digest != _VOCABULARY_SHA256 or ids != [*range(VOCABULARY_SIZE)]:
        raise ValueError(f"{file} is not CLIP's own vocabulary, the only one that clipcli has")
    if strange:
        raise ValueError(f"{file} adds a token to CLIP's own: {str(strange[0]['content'])[:40]!r}")
