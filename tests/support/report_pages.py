"""A report's page, read as a browser's parser reads it."""

from __future__ import annotations

import base64
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any


class Page(HTMLParser):
    """A page as a browser would understand it.

    Attributes:
        tags: its tags in order, those that end elements, too, with their attributes.
        texts: what follows each tag.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.handle_starttag("/" + tag, [])

    def handle_data(self, data: str) -> None:
        if self.texts:
            self.texts[-1] += data

    def data(self, **wanted: str) -> list[Any]:
        """The JSON of the elements with some attributes."""
        return [
            json.loads(text)
            for (_, attributes), text in zip(self.tags, self.texts, strict=True)
            if wanted.items() <= attributes.items()
        ]

    @property
    def images(self) -> list[dict[str, Any]]:
        return self.data(id="images")[0]

    @property
    def thumbnails(self) -> list[bytes]:
        blocks = self.data(**{"class": "thumbnails"})
        return [base64.b64decode(picture) for block in blocks for picture in block]

    @property
    def large(self) -> dict[int, bytes]:
        """The pictures to be looked at alone, by the place of their image."""
        return {
            int(str(attributes["id"]).removeprefix("large-")): base64.b64decode(text)
            for (_, attributes), text in zip(self.tags, self.texts, strict=True)
            if str(attributes.get("id", "")).startswith("large-")
        }

    @property
    def text(self) -> str:
        """What is read on the page before any script has run."""
        hidden = {"script", "style", "title"}
        words = " ".join(
            text for (tag, _), text in zip(self.tags, self.texts, strict=True) if tag not in hidden
        )
        return " ".join(words.split())
