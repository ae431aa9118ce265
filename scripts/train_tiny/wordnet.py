"""WordNet 3.0's nouns: which words a synset has, and what is broader than it."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

KINDS = (
    *("Tops", "act", "animal", "artifact", "attribute", "body", "cognition", "communication"),
    *("event", "feeling", "food", "group", "location", "motive", "object", "person"),
    *("phenomenon", "plant", "possession", "process", "quantity", "relation", "shape", "state"),
    *("substance", "time"),
)
FIRST_KIND = 3
"""WordNet's files of nouns are numbered from 3, in this order."""
VISIBLE = frozenset({"animal", "artifact", "body", "food", "object", "person", "phenomenon"})
VISIBLE |= {"plant", "shape", "substance"}


@dataclass(frozen=True)
class Synset:
    """A meaning: its words, what kind of thing it is, the synsets broader than it, its gloss."""

    words: tuple[str, ...]
    kind: str
    broader: tuple[str, ...]
    is_instance: bool
    gloss: str


def nouns(folder: Path) -> dict[str, Synset]:
    """Noun synsets by offset, from WordNet's `data.noun` in `folder`."""
    lines = (folder / "data.noun").read_text(encoding="latin1").splitlines()
    return dict(noun(line) for line in lines if not line.startswith("  "))


def noun(line: str) -> tuple[str, Synset]:
    """Offset and synset of a line (its format: WordNet's manual page wndb)."""
    data, _, gloss = line.partition(" | ")
    fields = data.split()
    count = int(fields[3], 16)
    words = tuple(word.replace("_", " ") for word in fields[4 : 4 + 2 * count : 2])
    after = fields[4 + 2 * count :]
    pointers = [(after[1 + 4 * place], after[2 + 4 * place]) for place in range(int(after[0]))]
    broader = tuple(target for symbol, target in pointers if symbol == "@")
    is_instance = any(symbol == "@i" for symbol, _ in pointers)
    return fields[0], Synset(
        words, KINDS[int(fields[1]) - FIRST_KIND], broader, is_instance, gloss.strip()
    )


def senses(folder: Path) -> dict[str, list[str]]:
    """Offsets of each noun's synsets, the commonest first, from WordNet's `index.noun`."""
    lines = (folder / "index.noun").read_text(encoding="latin1").splitlines()
    entries = [line.split() for line in lines if not line.startswith("  ")]
    return {entry[0].replace("_", " "): entry[-int(entry[2]) :] for entry in entries}


def usage(folder: Path) -> Counter[str]:
    """How often WordNet's tagged texts use each noun."""
    counts: Counter[str] = Counter()
    for line in (folder / "cntlist.rev").read_text(encoding="latin1").splitlines():
        key, _, count = line.split()
        word, _, rest = key.partition("%")
        if rest.startswith("1:"):
            counts[word.replace("_", " ")] += int(count)
    return counts


def likely_words(folder: Path) -> list[str]:
    """Nouns that a user may type: used in texts, or of visible things; the likeliest first."""
    counts = usage(folder)
    scores: dict[str, int] = {}
    for synset in nouns(folder).values():
        for place, word in enumerate(synset.words):
            if is_typed(word) and not synset.is_instance:
                scores[word] = max(
                    scores.get(word, 0), likelihood(synset, place, word, counts[word.lower()])
                )
    return sorted(
        (word for word, score in scores.items() if score >= 2), key=lambda word: -scores[word]
    )


def is_typed(word: str) -> bool:
    """Whether it is neither long nor has digits."""
    return 2 <= len(word) <= 32 and not any(letter.isdigit() for letter in word)


def likelihood(synset: Synset, place: int, word: str, count: int) -> int:
    """Points for how likely a user is to type `word`, the synset's word number `place`."""
    visible = synset.kind in VISIBLE
    thing = synset.kind in ("animal", "artifact", "food")
    name = word != word.lower()
    return 2 * (count > 0) + 2 * (count > 5) + visible + (visible and place == 0) + thing - 2 * name
