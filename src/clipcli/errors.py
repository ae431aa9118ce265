"""Everything that clipcli raises on purpose, and the codes of what can befall one image.

::

    ClipcliError
    ├── UsageError          the request itself is at fault: an option, a label, a device
    ├── ModelError          the model cannot be had: unknown, unreachable, or not what it claims
    │   └── UnavailableModelError   files of it are not on this computer, and do not come
    └── InputError          one image cannot be used; it becomes that image's Failure

Warnings that a user should see are `ClipcliWarning`.
"""

import errno
from enum import StrEnum
from traceback import clear_frames
from typing import TypeVar

Caught = TypeVar("Caught", bound=BaseException)

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What the system answers where a disk takes no more: no fault of the request."""


class FailureCode(StrEnum):
    """Why one image has no prediction. The values appear in JSON and CSV output."""

    # No file of that name.
    NOT_FOUND = "not_found"
    # A pattern without a match, or a folder without images.
    NO_MATCH = "no_match"
    # A folder was named without `--recursive`.
    IS_A_FOLDER = "is_a_folder"
    # The file exists and cannot be read (permissions, a device, a disk error).
    UNREADABLE = "unreadable"
    # No bytes at all.
    EMPTY = "empty"
    # The bytes are of no known image format.
    NOT_AN_IMAGE = "not_an_image"
    # An image format that is not switched on.
    UNSUPPORTED_FORMAT = "unsupported_format"
    # The image's data is truncated or corrupt.
    DAMAGED = "damaged"
    # The file is larger than the limit.
    TOO_MANY_BYTES = "too_many_bytes"
    # The image is larger than `--max-pixels`; it was not decoded.
    TOO_MANY_PIXELS = "too_many_pixels"
    # Resized for the model, the image would be larger than `--max-pixels`.
    TOO_ELONGATED = "too_elongated"
    # Decoded in a process of its own, the image took longer than its limit.
    DECODER_TIMEOUT = "decoder_timeout"
    # The process that decoded the image died of it.
    DECODER_DIED = "decoder_died"
    # The address is not one that clipcli connects to (scheme, private network).
    URL_REFUSED = "url_refused"
    # The server could not be reached or answered with an error.
    URL_FAILED = "url_failed"
    # The download took longer than its limit.
    URL_TIMEOUT = "url_timeout"
    # The model's embedding of the image holds NaN or infinity.
    NOT_FINITE = "not_finite"


class ClipcliError(Exception):
    """Base of all errors that clipcli raises on purpose; its text is fit to be shown."""


class UsageError(ClipcliError):
    """The request cannot be carried out as it was put (exit code 2)."""


class ModelError(ClipcliError):
    """The model cannot be had (exit code 5)."""


class UnavailableModelError(ModelError):
    """Files of a model are not on this computer, and the hub does not give them now.

    Args:
        reason: which model, and why.
        ways_out: what helps, a part of a sentence each; the options in it are those of `classify`.
        detail: the file's address, and what the system said.
    """

    def __init__(self, reason: str, ways_out: tuple[str, ...] = (), detail: str = "") -> None:
        super().__init__(": ".join(filter(None, (reason, "; ".join(ways_out)))))
        self.reason = reason
        self.ways_out = ways_out
        self.detail = detail


class InputError(ClipcliError):
    """One image cannot be used.

    Args:
        code: what kind of failure this is.
        message: the reason and, where there is one, the way out; without the image's name.
    """

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type["InputError"], tuple[FailureCode, str]]:
        return InputError, (self.code, self.message)


def settled(error: Caught) -> Caught:
    """The error as a value that is kept: its code and message, and nothing of how it came about.

    A traceback holds the frames that the error came through, and they hold bytes and pixels; so do
    those of the errors that led to it.
    """
    ahead: list[BaseException | None] = [error]
    while ahead:
        one = ahead.pop()
        if one is not None:
            # A frame whose variable names the error would else be kept by it, in a circle.
            clear_frames(one.__traceback__)
            ahead += one.__cause__, one.__context__
            one.__traceback__ = one.__cause__ = one.__context__ = None
    return error


class ClipcliWarning(UserWarning):
    """Something that the user should know and that stops nothing."""


def one_line(error: BaseException) -> str:
    """What a library says of its error, in one line; the error's name where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
