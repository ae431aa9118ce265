"""What to classify: arguments, folders, patterns, URLs and lists as a lazy stream of `ImageRef`."""

from __future__ import annotations

import codecs
import glob
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from stat import FILE_ATTRIBUTE_HIDDEN
from typing import IO, TYPE_CHECKING

from clipcli.disk.text import LONGEST_MARK, MARKS, marked_encoding
from clipcli.errors import FailureCode, InputError, UsageError
from clipcli.images.formats import has_image_ending

if TYPE_CHECKING:
    from PIL.Image import Image

STDIN = "-"

_URL = re.compile(r"https?://", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# An address of any scheme, and what is nearly one (`http:/`, a blank before it): what is refused is
# shown, too. A single letter is a drive of Windows.
_ADDRESS = re.compile(
    r"(?P<scheme>\s*[a-z][a-z0-9+.-]+:[/\\]*)(?P<user>[^/\\?#]*@)?(?P<host>[^/\\?#]*)(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_PLAIN_HOST = re.compile(r"[\w.-]+")
_PATTERN_CHARACTERS = re.compile(r"[*?[]")
_LIST_CHUNK = 1 << 16

MAX_NAME_BYTES = 1 << 17
"""Of a path or an address: no system has longer ones, Windows' 32,767 characters among them."""


@dataclass(frozen=True)
class Url:
    """An address to fetch, credentials and all; never shown."""

    address: str


@dataclass(frozen=True)
class Stream:
    """One image's bytes on a stream, to be read once."""

    file: IO[bytes]


Source = Path | Url | Stream | bytes | InputError
"""Where an image's bytes are; an `InputError` stands for an input known to have none."""


@dataclass(frozen=True)
class ImageRef:
    """One image to classify, not yet read.

    Attributes:
        index: position in the input order, from 0.
        name: the input as the user gave it; what every output shows.
        source: where the bytes are, or an image that is open already.
    """

    index: int
    name: str
    source: Source | Image

    @property
    def open_image(self) -> Image | None:
        """The image, where it is open already and has no bytes to be read."""
        return None if isinstance(self.source, Source) else self.source

    @property
    def path(self) -> Path | None:
        """Where the image's file is, or should be; None where it is no file."""
        return self.source if isinstance(self.source, Path) else None


@dataclass(frozen=True)
class Shard:
    """One of several equal parts of the input: every count-th image, from the number-th on.

    Attributes:
        number: of this part, from 1.
        count: of all parts.

    Raises:
        UsageError: there is no such part.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise UsageError(f"shard {self}: use 1/{self.count} to {self.count}/{self.count}")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `I/N`, as in `3/8`."""
        match = re.fullmatch(r"([0-9]{1,9})/([1-9][0-9]{0,8})", text)
        if match is None:
            raise UsageError(f"shard {text!r}: write it as I/N, from 1/N to N/N")
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True)
class SourceOptions:
    """How arguments are understood.

    Attributes:
        recursive: folders are searched for images instead of refused.
        null_separated: names in a list end with NUL instead of a newline.
        shard: the part of the images that is wanted; each keeps its index in the whole.
        hidden: folders and patterns give hidden files and folders, too.
    """

    recursive: bool = False
    null_separated: bool = False
    shard: Shard = Shard()
    hidden: bool = False


def expand(
    arguments: Iterable[str],
    name_list: IO[bytes] | None,
    stdin: IO[bytes],
    options: SourceOptions,
) -> Iterator[ImageRef]:
    """Turn what the user named into images to read, lazily and in order.

    Args:
        arguments: paths, folders, patterns, URLs, or `-` for one image's bytes on `stdin`.
        name_list: a list of literal names, read after the arguments as it comes.
        stdin: where `-` reads from.
        options: how folders and lists are understood.

    Yields:
        One `ImageRef` for each image. A pattern without a match, a folder without images and
        the like yield one whose source is the `InputError` that says so.
    """
    shard = options.shard
    named = enumerate(_named(arguments, name_list, stdin, options))
    for index, (name, source) in islice(named, shard.number - 1, None, shard.count):
        yield ImageRef(index, name, source)


def is_url(name: str) -> bool:
    """Whether a name is a web address rather than a path."""
    return _URL.match(name) is not None


def public_name(url: str) -> str:
    """An address without its user name and password, fit to be shown.

    A password may hold what ends a host's name (`/`, `?`, `#`), so that all is left out up to the
    last `@`, unless what comes first is plainly a host: `https://example.org/@name/cat.jpg`.
    """
    parts = _ADDRESS.fullmatch(url)
    if parts is None:
        return url
    before, at, shown = parts["rest"].rpartition("@")
    is_path = ":" not in before and _PLAIN_HOST.fullmatch(parts["host"])
    if not at or is_path or parts["user"]:
        shown = parts["host"] + parts["rest"]
    return parts["scheme"] + shown


def _named(
    arguments: Iterable[str],
    name_list: IO[bytes] | None,
    stdin: IO[bytes],
    options: SourceOptions,
) -> Iterator[tuple[str, Source]]:
    for argument in arguments:
        if argument == STDIN:
            yield STDIN, Stream(stdin)
        elif is_pattern(argument):
            yield from _pattern(argument, options)
        else:
            yield from _literal(argument, options)
    if name_list is not None:
        for name in read_names(name_list, b"\0" if options.null_separated else b"\n"):
            yield from _literal(name, options)


def is_pattern(argument: str) -> bool:
    """Whether an argument names files by a pattern; a path that exists is literal."""
    return (
        _PATTERN_CHARACTERS.search(argument) is not None
        and not is_url(argument)
        and not os.path.lexists(argument)
    )


def _pattern(pattern: str, options: SourceOptions) -> Iterator[tuple[str, Source]]:
    try:
        found = glob.iglob(pattern, recursive=True, include_hidden=options.hidden)
        names = sorted(found, key=os.fsencode)
    except RecursionError:  # it goes into folders call by call
        message = "the folders below it are nested too deeply: name one of them, with -r"
        yield pattern, InputError(FailureCode.UNREADABLE, message)
        return
    if not names:
        yield pattern, InputError(FailureCode.NO_MATCH, "no file matches this pattern")
    for name in names:
        yield from _literal(name, options)


def _literal(name: str, options: SourceOptions) -> Iterator[tuple[str, Source]]:
    """One name without pattern characters' meaning: a URL, a folder, or a file."""
    if not name:
        yield name, InputError(FailureCode.NOT_FOUND, "an empty name names no file")
    elif is_url(name):
        yield public_name(name), Url(name)
    elif _OTHER_SCHEME.match(name) and not os.path.lexists(name):
        message = "only http and https addresses are fetched"
        yield public_name(name), InputError(FailureCode.URL_REFUSED, message)
    elif options.recursive and "\0" not in name and os.path.isdir(name):
        yield from _folder(name, hidden=options.hidden)
    else:
        # What is no file may be an address that is misspelt.
        is_file = "@" not in name or os.path.lexists(name)
        yield name if is_file else public_name(name), Path(name)


def _folder(folder: str, *, hidden: bool) -> Iterator[tuple[str, Source]]:
    """The images below a folder, bytewise sorted; links to folders are not followed."""
    found = False
    for name, source in _walk(folder, hidden=hidden):
        found = True
        yield name, source
    if not found:
        only = "" if hidden else "; hidden ones are passed over, --hidden reads them"
        yield folder, InputError(FailureCode.NO_MATCH, f"no images in this folder{only}")


def _walk(folder: str, *, hidden: bool) -> Iterator[tuple[str, Source]]:
    # What is still to come, the next one last. Not by recursion: folders may be nested deeper than
    # Python's calls may be.
    ahead: list[str | os.DirEntry[str]] = [folder]
    while ahead:
        entry = ahead.pop()
        if isinstance(entry, str) or entry.is_dir(follow_symlinks=False):
            path = os.fspath(entry)
            try:
                # scandir knows what is a folder without asking the file system again.
                with os.scandir(path) as entries:
                    seen = (entry for entry in entries if hidden or not _is_hidden(entry))
                    found = sorted(seen, key=_path_order, reverse=True)
            except OSError as error:
                message = f"cannot be listed ({error.strerror})"
                yield path, InputError(FailureCode.UNREADABLE, message)
            else:
                ahead += found
        elif has_image_ending(entry.name) and _may_be_file(entry):
            yield entry.path, Path(entry.path)


def _is_hidden(entry: os.DirEntry[str]) -> bool:
    """Whether a file or folder is one that systems and programs leave behind (`._x`, `.git`)."""
    if entry.name.startswith("."):
        return True
    if sys.platform != "win32":
        return False
    return bool(entry.stat(follow_symlinks=False).st_file_attributes & FILE_ATTRIBUTE_HIDDEN)


def _path_order(entry: os.DirEntry[str]) -> bytes:
    """The bytes that an entry is sorted by: a folder with the slash of its files' paths."""
    return os.fsencode(entry.name) + (b"/" if entry.is_dir(follow_symlinks=False) else b"")


def _may_be_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is no pipe, socket or link to a folder; a broken link fails when it is read."""
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:  # a link to itself
        return True


def read_names(stream: IO[bytes], separator: bytes) -> Iterator[str]:
    """Names from a list as it is read, decoded as the file system does; blank ones are skipped.

    Args:
        stream: binary, so that any file name survives.
        separator: one byte, NUL or newline. Before a newline a carriage return is dropped.

    Raises:
        UsageError: a name is longer than `MAX_NAME_BYTES`.
    """
    rest = b""
    for chunk in _unmarked(stream):
        *names, rest = (rest + chunk).split(separator)
        yield from _decoded(names, separator)
        # With the wrong separator a list of millions is one name, to be gathered and shown.
        if len(rest) > MAX_NAME_BYTES:
            is_it = "NUL: add -0" if separator == b"\n" else "newlines: leave -0 out"
            raise UsageError(
                f"the list holds a name of more than {MAX_NAME_BYTES:,} bytes; if its names end"
                f" with {is_it}"
            )
    yield from _decoded([rest], separator)


def _unmarked(stream: IO[bytes]) -> Iterator[bytes]:
    """What a list holds, as it comes, without the mark that Windows' programs put before it.

    A list that its mark says to be UTF-16, as PowerShell writes it, becomes UTF-8.
    """
    chunks = _chunks(stream)
    start = b""
    # Only what begins as a mark does is waited for until it is one, or none.
    while _begins_mark(start) and (chunk := next(chunks, b"")):
        start += chunk
    encoding = marked_encoding(start) or "utf-8"
    if encoding.startswith("utf-8"):
        yield start.removeprefix(codecs.BOM_UTF8)
        yield from chunks
    else:
        # Windows' names may hold half a pair; it stays one, and is no file's name here.
        decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        yield from (
            decoder.decode(chunk).encode("utf-8", "surrogatepass")
            for chunk in chain([start], chunks)
        )


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    # read1 returns what has arrived: a slow writer's names are not held back.
    read = getattr(stream, "read1", stream.read)
    while chunk := read(_LIST_CHUNK):
        yield chunk


def _begins_mark(data: bytes) -> bool:
    """Whether more bytes may make a mark of these, or a longer one."""
    return len(data) < LONGEST_MARK and any(mark.startswith(data) for mark in MARKS)


def _decoded(names: Iterable[bytes], separator: bytes) -> Iterator[str]:
    for raw in names:
        if separator == b"\n":
            raw = raw.removesuffix(b"\r") if raw.strip() else b""  # noqa: PLW2901
        if raw:
            yield os.fsdecode(raw)
