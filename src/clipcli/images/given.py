"""Pictures as a program has them in hand: paths, bytes, files, PIL images, arrays, tensors."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipcli.errors import FailureCode, InputError, UsageError, one_line
from clipcli.images.sources import ImageRef, Url, is_url, public_name

_WANTED = "give a path, a URL, bytes, a binary file, a PIL image, a uint8 array or a tensor"
# Kinds of numbers in an array; others hold names, or whatever Python has.
_NUMBERS = "buifc"
_CHANNELS = (1, 2, 3, 4)


def given_images(images: Any, max_bytes: int) -> Iterator[ImageRef]:  # noqa: ANN401
    """One image, or several in something that can be iterated; which it is, its type says.

    Args:
        images: of any type, for that is what comes.
        max_bytes: that a file may have.

    Yields:
        One `ImageRef` for each image.

    Raises:
        UsageError: something is no image.
    """
    if _is_one(images):
        images = [images]
    elif isinstance(images, Mapping):
        raise UsageError("images are a list, not a dict: give list(images.values())")
    elif not isinstance(images, Iterable):
        raise UsageError(f"images are of type {_type(images)}: {_WANTED}, or a list of them")
    for index, image in enumerate(images):
        yield _ref(index, image, max_bytes)


def _is_one(value: Any) -> bool:  # noqa: ANN401
    return (
        isinstance(value, str | bytes | bytearray | memoryview | os.PathLike)
        or _is_picture(value)
        or _is_file(value)
        or _is_array(value)
    )


# Known by what they can do: neither torch nor any other library is imported to ask.
def _is_picture(value: Any) -> bool:  # noqa: ANN401
    return hasattr(value, "getexif")


def _is_file(value: Any) -> bool:  # noqa: ANN401
    return callable(getattr(value, "read", None))


def _is_tensor(value: Any) -> bool:  # noqa: ANN401
    return callable(getattr(value, "detach", None)) and hasattr(value, "dtype")


def _is_array(value: Any) -> bool:  # noqa: ANN401
    # A column of paths, as pandas has it, can be made an array, too.
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return _is_tensor(value) or (hasattr(value, "__array__") and kind in _NUMBERS and kind != "")


def _ref(index: int, image: Any, max_bytes: int) -> ImageRef:  # noqa: ANN401
    name = f"image {index}"
    match image:
        case str() if is_url(image):
            return ImageRef(index, public_name(image), Url(image))
        case str() | os.PathLike():
            path = os.fsdecode(image)
            return ImageRef(index, path, Path(path))
        case bytes() | bytearray() | memoryview():
            return ImageRef(index, name, bytes(image))
        case _ if _is_picture(image):
            return ImageRef(index, getattr(image, "filename", "") or name, image)
        case _ if _is_file(image):
            title = getattr(image, "name", "")
            title = title if isinstance(title, str) and title else name
            return ImageRef(index, title, _bytes_of(name, image, max_bytes))
        case _ if _is_array(image):
            return ImageRef(index, name, _of_array(name, image))
    raise UsageError(f"{name} is of type {_type(image)}: {_WANTED}")


def _type(value: object) -> str:
    return type(value).__name__


def _bytes_of(name: str, file: Any, max_bytes: int) -> bytes | InputError:  # noqa: ANN401
    """What is in a file: from its start where it can go there, as Pillow reads it."""
    try:
        if callable(getattr(file, "seekable", None)) and file.seekable():
            file.seek(0)
        data = bytearray()
        while len(data) <= max_bytes and (part := file.read(max_bytes + 1 - len(data))):
            if isinstance(part, str):
                raise UsageError(f"{name} is a file opened for text: open it with mode 'rb'")
            data += part
    except (OSError, ValueError) as error:  # ValueError: it is closed
        return InputError(FailureCode.UNREADABLE, f"cannot be read ({one_line(error)})")
    if len(data) > max_bytes:
        return InputError(FailureCode.TOO_MANY_BYTES, f"larger than {max_bytes:,} bytes")
    return bytes(data)


def _of_array(name: str, value: Any) -> Image.Image | InputError:  # noqa: ANN401
    is_tensor = _is_tensor(value)
    array = _eight_bit_tensor(name, value) if is_tensor else np.asarray(value)
    if array.dtype != np.uint8:
        raise UsageError(f"{name} is an array of {array.dtype}: give uint8, with values 0 to 255")
    # Tensors have their channels first, arrays last; either may be as the other where it must be.
    if is_tensor and array.ndim == 3 and array.shape[0] in _CHANNELS:
        array = array.transpose(1, 2, 0)
    if array.ndim == 4:
        raise UsageError(f"{name} is a batch, of shape {array.shape}: give list(batch) for it")
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in _CHANNELS)):
        wanted = "(height, width) or (height, width, channels)"
        raise UsageError(f"{name} has the shape {array.shape}: give {wanted}, 1 to 4 channels")
    if 0 in array.shape:
        return InputError(FailureCode.DAMAGED, "a damaged image (it has no pixels)")
    flat = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    # A copy, which the caller's next picture in the same memory does not change.
    return Image.fromarray(np.array(flat, order="C"))


def _eight_bit_tensor(name: str, tensor: Any) -> np.ndarray[Any, np.dtype[Any]]:  # noqa: ANN401
    """A tensor's values; those of 0..1, as torchvision makes them, are scaled to 0..255."""
    tensor = tensor.detach().cpu()
    if not tensor.dtype.is_floating_point:
        return np.asarray(tensor)
    values = np.asarray(tensor.double())
    # Not `>`, which NaN would pass.
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        what = f"{name} is a tensor of {tensor.dtype} with values beyond 0 to 1"
        raise UsageError(f"{what}: give it before it is normalised, or as uint8")
    scaled: np.ndarray[Any, np.dtype[Any]] = np.rint(values * 255).astype(np.uint8)
    return scaled
