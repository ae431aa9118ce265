"""All words that training uses: names of classes and pictures, captions, words that users type."""

import csv
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from scripts.train_tiny import wordnet
from scripts.train_tiny.caption_names import WORDS
from scripts.train_tiny.pictures import table

FOLDER = Path(__file__).parent
MOST = 38_900
LONGEST_WORD = 32
"""Longer phrases are captions: no template is put around them."""


@dataclass(frozen=True)
class Names:
    """What a thing may be called: its own names, the plainest first; broader ones, true as well."""

    own: tuple[str, ...]
    broader: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Own and broader names."""
        return self.own + self.broader


def imagenet() -> list[Names]:
    """Names of ImageNet's 1,000 classes, in their usual order."""
    return [Names(split(row["names"]), split(row["broader"])) for row in imagenet_table()]


def offsets() -> list[tuple[str, tuple[str, ...]]]:
    """Offset in WordNet's `data.noun` and own names of each of ImageNet's classes."""
    return [(row["class"].removeprefix("n"), split(row["names"])) for row in imagenet_table()]


def imagenet_table() -> list[dict[str, str]]:
    """Rows of `imagenet.tsv`."""
    with (FOLDER / "imagenet.tsv").open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def split(names: str) -> tuple[str, ...]:
    """Names of a table's cell."""
    return tuple(names.split("; ")) if names else ()


def user_words() -> list[str]:
    """Words without pictures here that users type."""
    return (FOLDER / "user_words.txt").read_text(encoding="utf-8").splitlines()


def trained_concepts(classes: list[Names], shown: list[tuple[str, ...]]) -> list[str]:
    """Every name of a class or of a picture to train on, each once."""
    return sorted({name for names in [*(one.all for one in classes), *shown] for name in names})


def concepts() -> list[str]:
    """Every name of a class or of any picture, and the users' words, each once."""
    named = [one.all for one in imagenet()] + [row.names for row in table()] + list(WORDS.values())
    return sorted({*user_words(), *(name for names in named for name in names)})


def captions(data: Path) -> dict[str, list[str]]:
    """Captions of Flickr8k's pictures by file name, without their full stops."""
    found = defaultdict(list)
    for line in (
        (data / "flickr" / "data" / "captions.txt").read_text(encoding="utf-8").splitlines()[1:]
    ):
        file, _, caption = line.partition(",")
        found[file].append(re.sub(r"[ .\"]+$", "", caption).strip(' "'))
    return dict(found)


def explained(words: list[str], wordnet_folder: Path) -> dict[str, str]:
    """Each word with the first part of its gloss in WordNet, where it has one.

    The meaning is that of the ImageNet class of this name, else the commonest one of a visible
    thing; of several words it may be the last one's.
    """
    nouns, senses = wordnet.nouns(wordnet_folder), wordnet.senses(wordnet_folder)
    classes = {name: offset for offset, names in reversed(offsets()) for name in names}

    def told(word: str) -> str:
        last = word.lower().split()[-1]
        found = (senses.get(each) for each in (word.lower(), singular(word.lower()), last))
        meanings = next((each for each in found if each), senses.get(singular(last), []))
        visible = [one for one in meanings if nouns[one].kind in wordnet.VISIBLE]
        meaning = [classes[word]] if word in classes else visible or meanings
        return f"{word}: {nouns[meaning[0]].gloss.split(';')[0]}" if meaning else word

    return {word: told(word) for word in words}


def singular(word: str) -> str:
    """The word without a plural's s."""
    return word.removesuffix("s")


def phrases(wordnet_folder: Path) -> list[str]:
    """All phrases that the text tower learns, each once: names first, then WordNet's likeliest."""
    return list(dict.fromkeys(concepts() + wordnet.likely_words(wordnet_folder)))[:MOST]
