"""Answers as keywords in XMP sidecars, which other programs have written before and read after."""

from __future__ import annotations

import codecs
import errno
import json
import os
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from telling import Told

from clipcli.errors import ClipcliError, FailureCode
from clipcli.heads.results import Failure, LabelScore, Prediction
from clipcli.outputs.sidecars import SidecarWriter
from clipcli.outputs.xmp import HIERARCHY, SUBJECT, merged, new_packet

RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
DC = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'
RDF_LI = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"
SUBJECT_TAG = "{http://purl.org/dc/elements/1.1/}subject"
WORDS = {SUBJECT: ["cat", "a & <b>"], HIERARCHY: ["clipcli|cat"]}

exiftool = pytest.mark.skipif(
    shutil.which("exiftool") is None, reason="needs exiftool (libimage-exiftool-perl)"
)


def packet(inside: str, top: str = "") -> bytes:
    rdf = f"<rdf:RDF {RDF}>{inside}</rdf:RDF>"
    return f'{top}<x:xmpmeta xmlns:x="adobe:ns:meta/">{rdf}</x:xmpmeta>'.encode()


def described(inside: str) -> bytes:
    return packet(f'<rdf:Description rdf:about="" {DC}>{inside}</rdf:Description>')


PACKETS = {
    "nothing": packet(""),
    "no description": packet("").replace(b"></rdf:RDF>", b"/>"),
    "a bag": described("<dc:subject><rdf:Bag><rdf:li>own</rdf:li></rdf:Bag></dc:subject>"),
    "a sequence": described("<dc:subject><rdf:Seq><rdf:li>own</rdf:li></rdf:Seq></dc:subject>"),
    "an empty bag": described("<dc:subject><rdf:Bag/></dc:subject>"),
    "an empty bag of two tags": described("<dc:subject><rdf:Bag></rdf:Bag></dc:subject>"),
    "an empty list": described("<dc:subject/>"),
    "what darktable writes": packet(
        '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="3"'
        ' xmlns:darktable="http://darktable.sf.net/" darktable:xmp_version="5">'
        "<darktable:history><rdf:Seq><rdf:li darktable:params='gz12&amp;x'/></rdf:Seq>"
        "</darktable:history></rdf:Description>",
        '<?xml version="1.0" encoding="UTF-8"?>\n<!-- mine -->\n',
    ),
    "a wrapper": b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    + described("<dc:title>x</dc:title>")
    + b'\n<?xpacket end="w"?>   ',
    "another prefix": (
        f"<r:RDF {RDF.replace('xmlns:rdf', 'xmlns:r')}><r:Description r:about='uuid:1'>"
        "<d:subject xmlns:d='http://purl.org/dc/elements/1.1/'><r:Bag><r:li>own</r:li></r:Bag>"
        "</d:subject></r:Description></r:RDF>"
    ).encode(),
    "no prefix": (
        f"<RDF {RDF.replace('xmlns:rdf', 'xmlns')}><Description>"
        "<d:subject xmlns:d='http://purl.org/dc/elements/1.1/'><Bag><li>own</li></Bag>"
        "</d:subject></Description></RDF>"
    ).encode(),
    "a mark": codecs.BOM_UTF8 + described("<dc:title>é</dc:title>"),
    "UTF-16": described("<dc:title>é</dc:title>").decode().encode("utf-16"),
    "letters of two bytes": described(
        "<dc:title>ééé猫</dc:title><dc:subject><rdf:Bag><rdf:li>猫</rdf:li></rdf:Bag></dc:subject>"
    ),
    "keywords of another thing": described(
        "<dc:source rdf:parseType='Resource'><dc:subject><rdf:Bag><rdf:li>not its own</rdf:li>"
        "</rdf:Bag></dc:subject></dc:source>"
    ),
    "carriage returns": described("<dc:title>a</dc:title>\r\n").replace(b"><", b">\r\n<"),
}


@pytest.mark.parametrize("old", PACKETS.values(), ids=PACKETS)
def test_keywords_are_added_and_every_other_byte_stays(old):
    new = merged(old, WORDS)

    codec = "utf-16" if old.startswith(codecs.BOM_UTF16) else "utf-8"
    text = iter(new.decode(codec))
    # A tag that closed itself has lost its slash.
    assert all(letter in text for letter in old.decode(codec).replace("/>", ">"))
    root = ElementTree.fromstring(new)
    found = {item.text for item in root.iterfind(f".//{RDF_LI}")}
    own = {item.text for item in ElementTree.fromstring(old).iterfind(f".//{RDF_LI}")}
    assert found == own | {"cat", "a & <b>", "clipcli|cat"}
    # Each keyword in one list of its picture's own, beside those that were there.
    assert (
        len([*root.iterfind(f"{{*}}RDF/{{*}}Description/{SUBJECT_TAG}")])
        + len([*root.iterfind(f"{{*}}Description/{SUBJECT_TAG}")])
        == 1
    )
    assert merged(new, WORDS) == new


@pytest.mark.parametrize(
    ("old", "reason"),
    [
        (b"no xml", "no XML"),
        (b"<a/>", "no XMP"),
        (described("")[:-5], "no XML"),
        (b"\xff\xfe\xfa", "not UTF-16 text"),
        (described("<dc:title>\xe9</dc:title>").decode().encode("latin-1"), "not UTF-8 text"),
        (b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]>' + described("&a;"), "type"),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + described(""), "document type"),
        (b'<!DOCTYPE x [<!ENTITY % e SYSTEM "http://127.0.0.1/">%e;]>' + described(""), "type"),
        (described("&undeclared;"), "no XML"),
        (described("<dc:subject>cat</dc:subject>"), "no list"),
        (described("<dc:subject rdf:resource='x'/>"), "no list"),
        (described("<dc:subject><rdf:Bag/><rdf:Bag/></dc:subject>"), "no list"),
        (packet(f'<rdf:Description {DC} dc:subject="cat"/>'), "attribute"),
        (packet("<a>" * 1000 + "</a>" * 1000), "too deep"),
        (packet("<a/>" * 300_000), "too many elements"),
    ],
)
def test_what_cannot_be_merged_is_refused(old, reason):
    with pytest.raises(ValueError, match=reason):
        merged(old, WORDS)


def written(picture: Path, *scores: tuple[str, float], answer: str | None = "cat") -> Told:
    told = Told()
    writer = SidecarWriter(5, told)
    writer.begin()
    found = tuple(LabelScore(label, share, share) for label, share in scores)
    writer.write(Prediction(0, picture.name, found, answer, path=picture))
    writer.end()
    return told


def subjects(sidecar: Path) -> list[str | None]:
    root = ElementTree.fromstring(sidecar.read_bytes())
    return [item.text for item in root.iterfind(f".//{SUBJECT_TAG}//{RDF_LI}")]


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x")
    return path


def test_the_answer_and_its_rivals_are_keywords(picture):
    written(picture, ("cat", 0.6), ("big|dog", 0.3), ("fox", 0.09))

    sidecar = picture.with_name("a.jpg.xmp")
    assert subjects(sidecar) == ["cat", "big|dog"]
    assert "<rdf:li>clipcli|big/dog</rdf:li>" in sidecar.read_text()


def test_without_an_answer_there_is_no_sidecar(picture):
    written(picture, ("cat", 0.6), answer=None)
    writer = SidecarWriter(5, Told())
    writer.write(Failure(0, "a.jpg", FailureCode.DAMAGED, "damaged", picture))

    assert os.listdir(picture.parent) == ["a.jpg"]


@pytest.mark.parametrize(
    "label",
    ["a & <b>", '"quoted"', "two\nlines", "\x07", "\ufffe", "café 猫", "]]>", "'", "\ud800"],
)
def test_any_label_makes_a_sidecar_that_can_be_read(picture, label):
    written(picture, (label, 0.9), answer=label)

    assert len(subjects(picture.with_name("a.jpg.xmp"))) == 1
    written(picture, ("cat", 0.9))
    assert subjects(picture.with_name("a.jpg.xmp"))[1:] == ["cat"]


@pytest.mark.parametrize(
    ("there", "used"),
    [
        ((), "a.jpg.xmp"),
        (("a.xmp",), "a.xmp"),
        (("a.xmp", "a.jpg.xmp"), "a.jpg.xmp"),
        (("a.xmp", "a.cr2"), "a.jpg.xmp"),
        (("a.xmp", "ab.cr2"), "a.xmp"),
    ],
)
def test_the_sidecar_that_is_there_is_used(picture, there, used):
    for name in there:
        (picture.parent / name).write_bytes(described("<dc:title>mine</dc:title>"))

    written(picture, ("cat", 0.9))

    assert subjects(picture.parent / used) == ["cat"]
    assert used not in there or b"mine" in (picture.parent / used).read_bytes()
    others = [name for name in there if name.endswith("xmp") and name != used]
    assert all(b"cat" not in (picture.parent / name).read_bytes() for name in others)


def test_a_sidecar_keeps_its_mode_and_one_that_says_it_all_is_not_written(picture):
    sidecar = picture.with_name("a.jpg.xmp")
    sidecar.write_bytes(described(""))
    sidecar.chmod(0o600)
    written(picture, ("cat", 0.9))
    before = sidecar.stat()
    written(picture, ("cat", 0.9))

    assert sidecar.stat() == before
    assert before.st_mode & 0o777 == 0o600


@pytest.mark.parametrize("thing", ["link", "dangling", "pipe", "folder", "no xmp", "large"])
def test_what_is_no_sidecar_of_its_own_is_told_and_left_alone(picture, tmp_path, thing):
    sidecar = picture.with_name("a.jpg.xmp")
    other = tmp_path / "elsewhere.xmp"
    other.write_bytes(described(""))
    match thing:
        case "link":
            sidecar.symlink_to(other)
        case "dangling":
            sidecar.symlink_to("nowhere")
        case "pipe":
            os.mkfifo(sidecar)
        case "folder":
            sidecar.mkdir()
        case "no xmp":
            sidecar.write_text("notes of mine")
        case "large":
            with sidecar.open("wb") as file:
                file.truncate((1 << 24) + 1)
    before = os.lstat(sidecar)

    told = written(picture, ("cat", 0.9))

    assert len(told.troubles) == 1
    assert "stays as it is" in told.troubles[0]
    after = os.lstat(sidecar)
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (
        *(before.st_ino, before.st_size, before.st_mtime_ns),
    )
    assert other.read_bytes() == described("")


def test_a_full_disk_leaves_the_old_sidecar(picture, monkeypatch):
    sidecar = picture.with_name("a.jpg.xmp")
    sidecar.write_bytes(described(""))

    def full(_number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ClipcliError, match=r"a\.jpg\.xmp.*No space left"):
        written(picture, ("cat", 0.9))

    assert sidecar.read_bytes() == described("")
    assert sorted(os.listdir(picture.parent)) == ["a.jpg", "a.jpg.xmp"]


def read_by_exiftool(*files: Path) -> list[dict[str, object]]:
    done = subprocess.run(
        ["exiftool", "-json", "-G1", "-a", *files],
        capture_output=True,
        check=True,
    )
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


@exiftool
def test_exiftool_reads_new_keywords_and_what_was_there_before(picture, tmp_path):
    """Sidecars that exiftool itself has written, and all of the table above."""
    mine = tmp_path / "b.jpg"
    mine.write_bytes(b"x")
    sidecar = tmp_path / "b.jpg.xmp"
    told = ["-XMP-dc:Subject=own", "-XMP-xmp:Rating=4", "-XMP-dc:Title=Mine", "-XMP-dc:Creator=me"]
    subprocess.run(["exiftool", "-q", *told, sidecar], check=True)
    written(picture, ("cat", 0.6), ("a & <b>", 0.3))
    written(mine, ("cat", 0.6), ("猫", 0.3))

    new, both = read_by_exiftool(picture.with_name("a.jpg.xmp"), sidecar)

    assert new["XMP-dc:Subject"] == ["cat", "a & <b>"]
    assert new["XMP-lr:HierarchicalSubject"] == ["clipcli|cat", "clipcli|a & <b>"]
    assert both["XMP-dc:Subject"] == ["own", "cat", "猫"]
    assert both["XMP-lr:HierarchicalSubject"] == ["clipcli|cat", "clipcli|猫"]
    assert (both["XMP-xmp:Rating"], both["XMP-dc:Title"]) == (4, "Mine")
    assert both["XMP-dc:Creator"] == "me"
    assert "ExifTool:Warning" not in {*new, *both}


@exiftool
def test_exiftool_reads_every_merged_packet_that_it_knew_before(tmp_path):
    for number, old in enumerate(PACKETS.values()):
        (tmp_path / f"{number}.xmp").write_bytes(old)
        (tmp_path / f"{number}-new.xmp").write_bytes(merged(old, WORDS))
    before = read_by_exiftool(*(tmp_path / f"{number}.xmp" for number in range(len(PACKETS))))
    after = read_by_exiftool(*(tmp_path / f"{number}-new.xmp" for number in range(len(PACKETS))))

    # It takes those without x:xmpmeta for text, and of UTF-16 it needs the wrapper.
    known = [
        (name, new)
        for name, old, new in zip(PACKETS, before, after, strict=True)
        if old["File:FileType"] == "XMP" and name != "UTF-16"
    ]
    assert len(known) >= len(PACKETS) - 3
    for name, new in known:
        assert {"cat", "a & <b>"} <= set(new["XMP-dc:Subject"]), name  # type: ignore[call-overload]
        assert new["XMP-lr:HierarchicalSubject"] == "clipcli|cat", name


def test_a_new_packet_can_be_added_to():
    assert merged(new_packet(WORDS), WORDS) == new_packet(WORDS)
