"""The page itself: a template, a style sheet and a script, and what fills them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import IO, Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from jinja2.utils import htmlsafe_json_dumps

from clipcli.outputs.report.counts import Counts
from clipcli.printable import printable

# The script reads a block when the first of its pictures is shown: smaller ones would be more
# elements to parse, larger ones a delay while scrolling.
_THUMBNAILS_IN_A_BLOCK = 64


@dataclass(frozen=True)
class Page:
    """What a page shows beside its images; its texts are as they shall be read.

    Attributes:
        title: of the page.
        labels: all that may be an answer.
        settings: what the run was made with.
        counts: of the images.
        figures: names and values to be shown on top.
        is_cut: whether the run ended before its images did.
    """

    title: str
    labels: Sequence[str]
    settings: Mapping[str, Any]
    counts: Counts
    figures: Mapping[str, str]
    is_cut: bool

    def write(
        self,
        file: IO[str],
        images: Iterable[str],
        thumbnails: Iterable[bytes],
        large: Iterable[tuple[int, bytes]],
    ) -> None:
        """Write the page.

        Args:
            file: open for writing.
            images: a JSON object for each image, safe within HTML.
            thumbnails: its picture, a JPEG; empty where it has none.
            large: those to be looked at alone, with the place of the image among all.
        """
        # Inlined: a page that is mailed or moved must not lose half of itself.
        style, script = _asset("report.css"), _asset("report.js")
        stream = _template().stream(
            page=self,
            facts=facts(self.settings),
            style=style,
            script=script,
            style_hash=_csp_hash(style),
            script_hash=_csp_hash(script),
            images=images,
            blocks=_blocks(thumbnails),
            large=((place, _base64(jpeg)) for place, jpeg in large),
        )
        file.writelines(stream)


def facts(settings: Mapping[str, Any]) -> dict[str, str]:
    """A run's settings in words: `{"batch size": "32", "versions": "numpy 2.1, …"}`."""
    return {_words(name): _text(value) for name, value in settings.items()}


def _words(name: str) -> str:
    return "versions" if name == "provenance" else name.replace("_", " ")


def _text(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case Mapping():
            return ", ".join(f"{key} {_text(part)}" for key, part in value.items())
        case list() | tuple():
            return ", ".join(map(_text, value)) or "none"
        case _:
            return printable(str(value))


def json_for_html(value: object) -> str:
    """JSON in one line, ASCII only, that no HTML parser takes for a tag or a comment."""
    # Jinja's own: in a script element HTML's escapes do not hold, and `</script>` in a name would
    # end it.
    return str(htmlsafe_json_dumps(value, separators=(",", ":"), allow_nan=False))


def _blocks(thumbnails: Iterable[bytes]) -> Iterator[str]:
    """JSON arrays of pictures; base64 has no character that JSON or HTML would escape."""
    rest = iter(thumbnails)
    while block := list(islice(rest, _THUMBNAILS_IN_A_BLOCK)):
        yield '["' + '","'.join(map(_base64, block)) + '"]'


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _asset(name: str) -> str:
    return (files("clipcli.outputs.report") / "assets" / name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    """A script or style as a Content-Security-Policy names it (W3C, CSP Level 3, 2.3.1)."""
    return "sha256-" + _base64(hashlib.sha256(text.encode()).digest())


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("clipcli.outputs.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json"] = json_for_html
    return environment.get_template("report.html.j2")
