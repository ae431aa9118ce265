"""Names that at least two of a picture's five captions use."""

import re
from collections import Counter
from pathlib import Path

TABLE = Path(__file__).with_name("caption_words.tsv")
AGREED = 2


def table() -> dict[str, tuple[str, ...]]:
    """Names that a word of a caption stands for."""
    rows = [line.split("\t") for line in TABLE.read_text(encoding="utf-8").splitlines()[1:]]
    return {word: tuple(names.split("; ")) for word, names in rows}


WORDS = table()


def names_of(captions: list[str]) -> tuple[str, ...]:
    """Names that the captions of one picture agree on, each once."""
    used = Counter(
        word for caption in captions for word in set(re.findall("[a-z]+", caption.lower()))
    )
    names = [
        name for word, count in used.items() if count >= AGREED for name in WORDS.get(word, ())
    ]
    return tuple(dict.fromkeys(names))
