"""One URL -> bytes, within limits of address, size and time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from clipcli.errors import FailureCode, InputError

if TYPE_CHECKING:
    import requests

    from clipcli.connections import Deadline

_RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK = 1 << 16


@dataclass(frozen=True)
class FetchOptions:
    """What a download may do and take.

    Attributes:
        allowed_hosts: `host` or `host:port`, lower case, that may have private addresses.
        max_bytes: of the body.
        connect_seconds: for one connection.
        read_seconds: for each wait for data.
        total_seconds: for one attempt, redirects included.
        retries: after connection errors, a body cut short, and the statuses that invite it.
        backoff_seconds: before the first retry; doubled each time.
        longest_wait_seconds: that a server may ask for with Retry-After.
        max_redirects: in one attempt.
    """

    allowed_hosts: frozenset[str] = frozenset()
    max_bytes: int = 50 * 1000 * 1000
    connect_seconds: float = 5.0
    read_seconds: float = 10.0
    total_seconds: float = 30.0
    retries: int = 2
    backoff_seconds: float = 0.5
    longest_wait_seconds: float = 30.0
    max_redirects: int = 5

    def allows(self, host: str, port: int) -> bool:
        """Whether this host may have a private address."""
        host = host.strip("[]").lower()
        return host in self.allowed_hosts or f"{host}:{port}" in self.allowed_hosts


class _Retry(Exception):  # noqa: N818  a signal between two functions of this room
    """An attempt failed in a way that may pass."""

    def __init__(self, error: InputError, wait_seconds: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.wait_seconds = wait_seconds


def fetch(url: str, options: FetchOptions) -> bytes:
    """Download one file.

    Every address that a host resolves to must be public, and so must the connected socket's
    peer, before a byte is sent; each redirect is checked in the same way.

    Raises:
        InputError: refused, failed, too large, or out of time.
    """
    wait = options.backoff_seconds
    for attempt in range(options.retries + 1):
        try:
            return _attempt(url, options)
        except _Retry as signal:
            asked = signal.wait_seconds
            if attempt == options.retries or (asked or 0) > options.longest_wait_seconds:
                raise signal.error from None
            time.sleep(wait if asked is None else asked)
            wait *= 2
    raise AssertionError("unreachable")


def _attempt(url: str, options: FetchOptions) -> bytes:
    # requests takes 0.1 s to import; most runs need no network.
    from requests import RequestException
    from urllib3.exceptions import HTTPError

    from clipcli.connections import deadline_after, vetted_session

    with (
        deadline_after(options.total_seconds) as deadline,
        vetted_session(options, deadline) as session,
    ):
        try:
            return _follow(session, url, options, deadline)
        except (RequestException, HTTPError, OSError) as error:
            # A closed socket shows in many ways; the deadline knows that it closed it.
            if deadline.expired:
                message = f"took longer than {options.total_seconds:g} s"
                raise InputError(FailureCode.URL_TIMEOUT, message) from error
            raise _explain(error) from error


def _follow(
    session: requests.Session, url: str, options: FetchOptions, deadline: Deadline
) -> bytes:
    for _ in range(options.max_redirects + 1):
        _check_url(url)
        timeout = options.connect_seconds, options.read_seconds
        with session.get(url, timeout=timeout, stream=True, allow_redirects=False) as response:
            location = response.headers.get("Location")
            if response.status_code in _REDIRECTS and location:
                target = urljoin(url, location)
                if url.lower().startswith("https:") and not target.lower().startswith("https:"):
                    message = "redirected from https to an insecure address"
                    raise InputError(FailureCode.URL_REFUSED, message)
                url = target
                continue
            _check_status(response)
            return _body(response, options.max_bytes, deadline)
    raise InputError(FailureCode.URL_FAILED, f"more than {options.max_redirects} redirects")


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme.lower() in ("http", "https") and bool(parts.hostname)
        _ = parts.port  # raises where it is not a number
    except ValueError:
        valid = False
    if not valid:
        raise InputError(FailureCode.URL_REFUSED, "not a valid http or https address")


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status == 200:
        return
    message = f"the server answered {status} {response.reason or ''}".rstrip()
    error = InputError(FailureCode.URL_FAILED, message)
    if status in _RETRIED_STATUSES:
        raise _Retry(error, _retry_after(response.headers.get("Retry-After")))
    raise error


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait, from either form of the header (RFC 9110, section 10.2.3)."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _body(response: requests.Response, max_bytes: int, deadline: Deadline) -> bytes:
    too_large = InputError(FailureCode.TOO_MANY_BYTES, f"larger than {max_bytes:,} bytes")
    declared = response.headers.get("Content-Length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise too_large
    body = bytearray()
    # Undecoded: what was compressed against our wish is no image, and no bomb either.
    while chunk := response.raw.read1(_CHUNK, decode_content=False):
        body += chunk
        if len(body) > max_bytes:
            raise too_large
        if deadline.expired:
            raise TimeoutError
    return bytes(body)


def _explain(error: Exception) -> Exception:
    """The failure, or the signal to try again, that a library's error stands for."""
    from requests import exceptions
    from urllib3.exceptions import TimeoutError as TransportTimeout

    if isinstance(error, exceptions.Timeout | TransportTimeout | TimeoutError):
        return InputError(FailureCode.URL_TIMEOUT, "the server did not answer in time")
    if isinstance(error, exceptions.SSLError):
        return InputError(FailureCode.URL_FAILED, f"no secure connection ({_reason(error)})")
    if isinstance(error, exceptions.InvalidURL | ValueError):
        return InputError(FailureCode.URL_REFUSED, "not a valid http or https address")
    return _Retry(InputError(FailureCode.URL_FAILED, f"the download failed ({_reason(error)})"))


def _reason(error: BaseException) -> str:
    """The plainest text in a chain of wrapped errors: that of the system call."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return str(seen.strerror)
        error, seen = seen, seen.__cause__ or seen.__context__
    return type(error).__name__
