"""Where a page leads to: to files that are there and to web addresses, whatever a name holds."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import pytest

from clipcli.outputs.report.links import folder_of, link

FILES = (
    "cat.jpg",
    "photos/cat.jpg",
    "with blank, 100% #1?.jpg",
    "javascript:alert(1)",
    "data:text/html,<script>",
    "a//b.jpg",
    "..cat.jpg",
    "-",
    "quote\"'<b>&amp;.png",
    "line\nbreak.png",
    "caf\N{LATIN SMALL LETTER E WITH ACUTE}.png",
    "undecodable\udcff.png",
    "\u202egnp.exe",
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(name: str) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return f"./{name}" if name == "-" else name


def target(way: str | None, page: Path) -> bytes:
    """What a browser opens that follows a link on a page: it knows nothing of links on the disk."""
    assert way is not None
    parts = urlsplit(way)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    assert way.startswith(("./", "../"))
    assert way.isascii()
    assert way.isprintable()
    steps = os.fsencode(page.parent).split(b"/")
    for step in unquote_to_bytes(parts.path).split(b"/"):
        if step == b"..":
            steps.pop()
        elif step != b".":
            steps.append(step)
    return b"/".join(steps)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("page", ["report.html", "photos/report.html", "out/of/report.html"])
def test_a_file_is_found_from_the_page_whatever_its_name(here, name, page):
    given = make(name)
    (here / page).parent.mkdir(parents=True, exist_ok=True)
    found = target(link(given, folder_of(Path(page))), here / page)
    assert os.path.samefile(found, name)
    assert found == os.path.normpath(os.fsencode(here / given))


def test_a_file_that_is_named_from_the_root_is_found_from_the_page(here):
    assert link(str(here / make("cat.jpg")), folder_of(Path("report.html"))) == "./cat.jpg"


def test_a_way_back_over_a_link_leads_to_the_same_file(here):
    make("far/away/cat.jpg")
    make("far/photos/dog.jpg")
    (here / "near").symlink_to(here / "far" / "photos")
    found = target(
        link("near/../away/cat.jpg", folder_of(Path("report.html"))), here / "report.html"
    )
    assert os.path.samefile(found, "far/away/cat.jpg")
    # A link on the way stays the way: it may be all that the page is shown with.
    assert link("near/dog.jpg", folder_of(Path("report.html"))) == "./near/dog.jpg"
    assert link("near/dog.jpg", folder_of(Path("near/report.html"))) == "./dog.jpg"


@pytest.mark.parametrize(
    "name",
    [
        *("missing.jpg", "folder", "pipe", "-", "", "."),
        *(
            "javascript:alert(1)",
            "JavaScript:alert(1)//http://a",
            "data:text/html,x",
            "file:///etc",
        ),
        *("ftp://example.org/cat.jpg", " http://example.org/cat.jpg", "http:/example.org/cat.jpg"),
        *("nul\0.jpg", "half a pair \ud800", "long" * 2000),
    ],
)
def test_what_is_neither_a_file_nor_an_address_has_no_link(here, name):
    (here / "folder").mkdir()
    os.mkfifo(here / "pipe")
    assert link(name, folder_of(Path("report.html"))) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("https://example.org/a%20b.jpg?x=1&y=2#z", "https://example.org/a%20b.jpg?x=1&y=2#z"),
        ("HTTP://example.org/cat.jpg", "HTTP://example.org/cat.jpg"),
        ("https://me:secret@example.org/cat.jpg", "https://example.org/cat.jpg"),
        ("https://me:se/cr?e#t@example.org/cat.jpg", "https://example.org/cat.jpg"),
        ("https://example.org/@me/cat.jpg", "https://example.org/@me/cat.jpg"),
        ("https://[::1]:8080/cat.jpg", "https://[::1]:8080/cat.jpg"),
        ('https://example.org/<b>"\n\u202e', "https://example.org/%3Cb%3E%22%0A%E2%80%AE"),
        ("https://example.org/\udcff\ud800", "https://example.org/%EF%BF%BD%EF%BF%BD"),
    ],
)
def test_an_address_leads_to_itself_without_its_password(here, name, expected):
    assert link(name, folder_of(Path("report.html"))) == expected
