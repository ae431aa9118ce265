"""Where a page leads to for the whole image: a file from the page's own folder, or an address."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from clipcli.images.sources import STDIN, is_url, public_name
from clipcli.printable import valid_unicode

# What stands for itself in an address (RFC 3986, section 2.2), and escapes that are made already.
_AS_IT_IS = "%:/?#[]@!$&'()*+,;="


def link(name: str, folder: str) -> str | None:
    """What a page links to for an image, percent-encoded.

    Args:
        name: of the image, as outputs show it.
        folder: of the page, as `folder_of` gives it.

    Returns:
        `https://…` or `http://…` without user name and password; `./…` or `../…` to a file that
        exists, or `file:///…` where no way leads to it from the folder; None for all else. Never
        another scheme, whatever the name is.
    """
    if is_url(name):
        return quote(valid_unicode(public_name(name)), safe=_AS_IT_IS)
    if name == STDIN or not os.path.isfile(name):
        return None
    file = _plain(name)
    try:
        way = os.path.relpath(file, folder)
    except ValueError:  # on Windows, another drive
        return Path(file).as_uri()
    up = "" if way.startswith(os.pardir + os.sep) else "./"
    return up + quote(os.fsencode(way.replace(os.sep, "/")))


def folder_of(page: Path) -> str:
    """The folder that a page's links start from."""
    return _plain(os.fspath(page.parent))


def _plain(path: str) -> str:
    """A path from the root without `..`, which a browser takes back without asking the disk."""
    # Links stay as they are where nothing leads back over one: they may be all that people see.
    is_back = os.pardir in Path(path).parts
    return os.path.realpath(path) if is_back else os.path.abspath(path)
