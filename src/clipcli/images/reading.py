"""The bytes of an image that is named, wherever they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from clipcli.errors import InputError
from clipcli.images.decoding import check_start, open_image
from clipcli.images.files import read_file, read_stream
from clipcli.images.options import ImageOptions
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.images.sources import ImageRef, Stream, Url
from clipcli.images.web.options import FetchOptions


def read_bytes(ref: ImageRef, images: ImageOptions, fetch: Callable[[str], bytes]) -> bytes:
    """The encoded bytes of an image that is not open yet.

    Args:
        ref: the image.
        images: what is accepted; a download has a limit of bytes of its own.
        fetch: what downloads an address.

    Raises:
        InputError: it cannot be read or fetched, is too large, or is known to have no bytes; or a
            file begins as no image does.
    """
    limits = images.max_bytes, lambda start: check_start(start, images)
    match ref.source:
        case InputError() as error:
            raise error
        case bytes() as data:
            return data
        case Path() as path:
            return read_file(path, *limits)
        case Stream(file):
            return read_stream(file, *limits)
        case Url(address):
            return fetch(address)
        case image:
            raise TypeError(f"{ref.name} has no bytes: it is open, as a {type(image).__name__}")


def read_picture(
    ref: ImageRef,
    images: ImageOptions,
    fetch: FetchOptions | None = None,
    config: PreprocessConfig | None = None,
) -> Image.Image:
    """The image that a user named, opened.

    Args:
        ref: the image.
        images: what is accepted.
        fetch: what a download may do; None for the defaults.
        config: how the model that it is for wants its pixels, if it is for one.

    Raises:
        InputError: it cannot be read, fetched or decoded.
    """
    # A caller's own image is taken as it is: who opened it has decided what is acceptable.
    if ref.open_image is not None:
        return ref.open_image
    data = read_bytes(ref, images, lambda address: _fetched(address, images, fetch))
    return open_image(data, images, config)


def _fetched(address: str, images: ImageOptions, options: FetchOptions | None) -> bytes:
    # A file is spared the import: six milliseconds.
    from clipcli.images.web.fetch import fetch

    return fetch(address, options or FetchOptions(), lambda start: check_start(start, images))
