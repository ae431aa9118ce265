"""What went wrong with a download: why, in words, and whether another attempt may help."""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Mapping
from typing import Any

from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from clipcli.errors import one_line
from clipcli.images.web.errors import retry_after
from clipcli.models.hub.cache import DEFAULT_REVISION, Absence, HubFile, cache_root
from clipcli.models.hub.pins import read_pins

_CANNOT_WRITE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC}

# Doubled from attempt to attempt.
_FIRST_PAUSE_SECONDS = 1.0
# A hub that is busy for longer is for the user to come back to.
_LONGEST_PAUSE_SECONDS = 120.0


class WrongBytesError(Exception):
    """What came is not what the hub, or the first download, says it is."""


def pause_after(error: Exception, attempt: int) -> float | None:
    """Seconds until another attempt, or None where that would not help.

    Args:
        error: that ended this attempt.
        attempt: its number, from 1.
    """
    cause = _cause(error)
    backoff = _FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)
    if isinstance(cause, WrongBytesError):
        return 0.0 if attempt == 1 else None
    answer = getattr(cause, "response", None)
    if answer is not None:
        asked = retry_after(answer.headers)
        pause = backoff if asked is None else asked
        return pause if is_busy(answer) and pause <= _LONGEST_PAUSE_SECONDS else None
    # By name: which HTTP library raises them depends on the client's version, and its part for
    # large files raises nothing better than a RuntimeError. Of a hub that is silent or not there
    # the client has made sure.
    names = _names(cause)
    if "ConnectError" in names:
        return None
    is_cut = names & {"NetworkError", "RemoteProtocolError", "RuntimeError"}
    return backoff if is_cut or _is_short(cause) else None


def is_busy(response: Any) -> bool:  # noqa: ANN401  of the HTTP library that the client uses
    """Whether a hub may well answer otherwise in a moment."""
    return response.status_code in (408, 429) or response.status_code >= 500


def _is_short(cause: BaseException) -> bool:
    """Whether the client found a file's size to be another than the hub had said."""
    return type(cause) is OSError and cause.errno is None


def _cause(error: Exception) -> BaseException:
    """What the client's "not found here either" came from."""
    is_wrapped = isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None
    return error.__cause__ or error if is_wrapped else error


def _names(cause: BaseException) -> set[str]:
    return {base.__name__ for base in type(cause).__mro__}


def absence(error: Exception) -> Absence | None:
    """What keeps the hub, or the way to it, from giving a file; None where that is not all."""
    cause = _cause(error)
    answer = getattr(cause, "response", None)
    if answer is not None:
        return Absence(_refusal(answer), "once it answers again") if is_busy(answer) else None
    names = _names(cause)
    if "TransportError" not in names or "UnsupportedProtocol" in names:
        return None
    if "ProxyError" in names:
        return Absence("the proxy on the way to the hub refuses", "once HTTPS_PROXY names another")
    if _is_untrusted(cause):
        trust = "once SSL_CERT_FILE names the certificates to be trusted"
        return Absence("the hub's certificate is not trusted here", trust)
    return Absence("the hub cannot be reached", "once with a network")


def _is_untrusted(error: BaseException | None) -> bool:
    """Whether an error came from a certificate that nobody vouches for."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None


def reason(error: Exception, wanted: HubFile) -> str:
    """Why a file cannot be had, in a line without secrets."""
    cause = _cause(error)
    for kind, words in _REASONS.items():
        if isinstance(cause, kind):
            return words
    if isinstance(cause, RevisionNotFoundError):
        name = wanted.revision or wanted.commit(read_pins(wanted.repository)) or DEFAULT_REVISION
        return f"the repository has no revision {name}: --revision main takes today's"
    answer = getattr(cause, "response", None)
    if answer is not None:
        return _refusal(answer)
    if isinstance(cause, OSError) and cause.errno in _CANNOT_WRITE:
        where = cause.filename or cache_root()
        return f"cannot write {where} ({cause.strerror}): set HF_HOME to a folder that can take it"
    if _is_short(cause):
        return "what was downloaded is not as long as it should be"
    # A signed address is a key.
    text = re.sub(r"(://[^\s?]*)\?\S*", r"\1", one_line(cause))
    return text.rstrip(".")


def _refusal(answer: Any) -> str:  # noqa: ANN401
    asked = retry_after(answer.headers)
    wish = f", and asks to wait {asked:.0f} s" if asked else ""
    return f"the hub answered {answer.status_code}{wish}"


_REASONS: Mapping[type[Exception], str] = {
    GatedRepoError: "the repository is gated: ask for access on its page, then `hf auth login`",
    RepositoryNotFoundError: "there is no such repository, or it is private (then `hf auth login`)",
    RemoteEntryNotFoundError: "the repository holds no such file",
    WrongBytesError: "what was downloaded does not have the sha256 that it should have",
    HFValidationError: "no repository can have this name",
}
