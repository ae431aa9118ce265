"""Keywords in XMP packets: new ones, and added to those of others with all else kept.

XMP is RDF in XML (ISO 16684-1); `dc:subject` holds keywords, `lr:hierarchicalSubject` those of
Lightroom's tree, as `parent|child`. A packet is read by expat and changed as text: what is not
added to stays as it is, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from xml.parsers import expat

from clipcli.disk.text import marked_encoding

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
SUBJECT = "http://purl.org/dc/elements/1.1/ subject dc"
"""Keywords: the namespace, the name, and the prefix that is usual."""
HIERARCHY = "http://ns.adobe.com/lightroom/1.0/ hierarchicalSubject lr"
"""Keywords in Lightroom's tree."""

_LISTS = (f"{_RDF} Bag", f"{_RDF} Seq", f"{_RDF} Alt")
# What XML takes for its own, and two numbers that it takes for no characters.
_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\ufffe": "\ufffd", "\uffff": "\ufffd"}
)
# Far more than programs write.
_DEEPEST, _MOST = 100, 200_000

Keywords = dict[str, Sequence[str]]
"""A property (`SUBJECT`, `HIERARCHY`) -> its keywords."""


def new_packet(keywords: Keywords) -> bytes:
    """A packet that holds keywords and nothing else."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        f' <rdf:RDF xmlns:rdf="{_RDF}">\n{_description("", keywords)} </rdf:RDF>\n'
        '</x:xmpmeta>\n<?xpacket end="w"?>\n'
    ).encode()


def merged(packet: bytes, keywords: Keywords) -> bytes:
    """A packet with keywords added; the same bytes where it has them all.

    Raises:
        ValueError: it is no XMP, or holds keywords in a way of its own; the message says which.
    """
    # A mark of UTF-8 stays, as the character that it is.
    codec = (marked_encoding(packet) or "utf-8").removesuffix("-sig")
    try:
        data = packet.decode(codec).encode("utf-8")
    except UnicodeError as error:
        raise ValueError(f"it is not {codec.upper()} text") from error
    found = _Packet(data)
    additions: list[tuple[int, int, str]] = []
    missing: Keywords = {}
    for kind, words in keywords.items():
        there = found.values(kind)
        new = [word for word in dict.fromkeys(words) if word not in there]
        place = found.property(kind)
        if new and place is not None:
            additions.append(found.with_items(place, new))
        elif new:
            missing[kind] = new
    if missing:
        additions.append(found.within(found.rdf, _description(found.about, missing)))
    if not additions:
        return packet
    for start, end, text in sorted(additions, reverse=True):
        data = data[:start] + text.encode() + data[end:]
    # A last look: what somebody else wrote is about to be replaced by this.
    again = _Packet(data)
    if not all(again.values(kind).issuperset(words) for kind, words in keywords.items()):
        raise ValueError("keywords cannot be added to it")
    return data.decode("utf-8").encode(codec)


def _description(about: str, keywords: Keywords) -> str:
    """A description that holds keywords; it needs no declaration from outside."""
    lines = [f'  <rdf:Description xmlns:rdf="{_RDF}" rdf:about="{_escaped(about)}">']
    for kind, words in keywords.items():
        uri, name, prefix = kind.split(" ")
        lines.append(f'   <{prefix}:{name} xmlns:{prefix}="{uri}">')
        lines.append("    <rdf:Bag>")
        lines += [f"     <rdf:li>{_escaped(word)}</rdf:li>" for word in words]
        lines += ["    </rdf:Bag>", f"   </{prefix}:{name}>"]
    return "\n".join([*lines, "  </rdf:Description>", ""])


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)


@dataclass
class _Element:
    """An element of a packet, and where it is among its bytes.

    Attributes:
        name: with its namespace before it.
        tag: as it is written, with its prefix.
        attributes: by names with their namespaces.
        parent: that it is in.
        start: of its first tag.
        end: of what it holds; where it has one tag alone, of that.
        children: in their order.
        text: that it holds itself.
    """

    name: str
    tag: str
    attributes: dict[str, str]
    parent: _Element | None
    start: int
    end: int = 0
    children: list[_Element] = field(default_factory=list)
    text: str = ""


class _Packet:
    """A packet's elements, as far as keywords need them.

    Args:
        data: in UTF-8.

    Raises:
        ValueError: it is no XML, declares types or entities, or is no XMP.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._top = _Element("", "", {}, None, 0)
        self._now = self._top
        self._count = self._depth = 0
        parser = expat.ParserCreate("utf-8", " ")
        parser.namespace_prefixes = parser.buffer_text = True
        parser.StartDoctypeDeclHandler = _refuse
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        self._parser = parser
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise ValueError(f"it is no XML ({error})") from error
        found = next(self._named(f"{_RDF} RDF"), None)
        if found is None:
            raise ValueError("it is no XMP: it has no rdf:RDF")
        self.rdf = found
        self._descriptions = [one for one in found.children if one.name == f"{_RDF} Description"]

    @property
    def about(self) -> str:
        """What the descriptions are of: it is the same for all, and mostly empty."""
        return next((one.attributes.get(f"{_RDF} about", "") for one in self._descriptions), "")

    def values(self, kind: str) -> set[str]:
        """The keywords of a property."""
        place = self.property(kind)
        items = [] if place is None else [item for one in place.children for item in one.children]
        return {item.text for item in items if item.name == f"{_RDF} li"}

    def property(self, kind: str) -> _Element | None:
        """A property of a description; None where it is not there.

        Raises:
            ValueError: it is an attribute, which can hold one value alone.
        """
        name = kind.rpartition(" ")[0]
        if any(name in one.attributes for one in self._descriptions):
            raise ValueError(f"its {name.split()[1]} is an attribute, which is no list")
        children = (child for one in self._descriptions for child in one.children)
        return next((child for child in children if child.name == name), None)

    def with_items(self, place: _Element, words: Sequence[str]) -> tuple[int, int, str]:
        """The change that adds keywords to a property: from where to where, and the text.

        Raises:
            ValueError: the property is no list.
        """
        if not place.children and not place.text.strip() and not place.attributes:
            return self.within(
                place, f'<rdf:Bag xmlns:rdf="{_RDF}">{_items("rdf:li", words)}</rdf:Bag>'
            )
        [*lists] = place.children
        if len(lists) != 1 or lists[0].name not in _LISTS or place.text.strip():
            raise ValueError(f"its {place.tag} is no list")
        tag = lists[0].tag.rpartition(":")
        return self.within(lists[0], _items(f"{tag[0]}{tag[1]}li", words))

    def within(self, element: _Element, text: str) -> tuple[int, int, str]:
        """The change that adds to the end of what an element holds."""
        end = element.end
        is_one_tag = not (element.children or element.text) and self._data[:end].endswith(b"/>")
        return (end - 2, end, f">{text}</{element.tag}>") if is_one_tag else (end, end, text)

    def _named(self, name: str) -> Iterator[_Element]:
        ahead = [self._top]
        while ahead:
            element = ahead.pop()
            if element.name == name:
                yield element
            ahead += reversed(element.children)

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        self._depth += 1
        if self._depth > _DEEPEST or self._count > _MOST:
            raise ValueError("it has too many elements, or too deep ones")
        uri, local, prefix = (*name.split(" "), "", "")[:3]
        tag = f"{prefix}:{local}" if prefix else local or uri
        plain = {" ".join(key.split(" ")[:2]): value for key, value in attributes.items()}
        start = self._parser.CurrentByteIndex
        element = _Element(f"{uri} {local}", tag, plain, self._now, start)
        self._now.children.append(element)
        self._now = element

    def _end(self, _name: str) -> None:
        self._depth -= 1
        self._now.end = self._parser.CurrentByteIndex
        self._now = self._now.parent or self._top

    def _text(self, text: str) -> None:
        self._now.text += text


def _items(tag: str, words: Sequence[str]) -> str:
    return "".join(f"<{tag}>{_escaped(word)}</{tag}>" for word in words)


def _refuse(*_declaration: object) -> None:
    raise ValueError("it has a document type, which XMP has not")
