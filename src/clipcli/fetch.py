"""One URL -> bytes, within limits of address, size and time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from clipcli.errors import FailureCode, InputError

if TYPE_CHECKING:
    import ssl

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
        total_seconds: for one attempt, redirects included; only the look-up of a name may take
            longer, as long as the system lets it.
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
        """Whether this host may have a private address; an IPv6 one comes without brackets."""
        host = host.lower()
        in_url = f"[{host}]" if ":" in host else host
        return not self.allowed_hosts.isdisjoint({host, in_url, f"{in_url}:{port}"})


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
            if attempt == options.retries:
                raise signal.error from None
            time.sleep(wait if signal.wait_seconds is None else signal.wait_seconds)
            wait *= 2
    raise AssertionError("unreachable")


def _attempt(url: str, options: FetchOptions) -> bytes:
    # requests takes 0.1 s to import, ssl and http.client 0.01 s; most runs need no network.
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
    request = _prepared(session, url, "not a valid http or https address")
    timeout = options.connect_seconds, options.read_seconds
    for _ in range(options.max_redirects + 1):
        with session.send(request, timeout=timeout, stream=True, allow_redirects=False) as response:
            location = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or not location:
                _check_status(response, options.longest_wait_seconds)
                return _body(response, options.max_bytes, deadline)
        request = _redirected(session, request, location)
    raise InputError(FailureCode.URL_FAILED, f"more than {options.max_redirects} redirects")


def _prepared(session: requests.Session, url: str, refusal: str) -> requests.PreparedRequest:
    """The request for an address, quoted and with its host in ASCII, or the refusal."""
    from requests import Request

    try:
        # requests takes port 0 for none.
        if urlsplit(url).port != 0:
            request = session.prepare_request(Request("GET", url))
            # requests leaves what it does not know as it is.
            if (request.url or "").startswith(("http://", "https://")):
                return request
    except ValueError:  # its own errors of this kind and all codecs' are ValueErrors, too
        pass
    raise InputError(FailureCode.URL_REFUSED, refusal)


def _redirected(
    session: requests.Session, request: requests.PreparedRequest, location: str
) -> requests.PreparedRequest:
    """The next request; credentials in the address stay with relative locations only."""
    url = request.url or ""
    with suppress(UnicodeError):
        # http.client reads headers as Latin-1; those that hold more are UTF-8 in practice.
        location = location.encode("latin-1").decode()
    try:
        target = urljoin(url, location.strip())
    except ValueError:
        target = ""
    following = _prepared(session, target, "redirected to what is no http or https address")
    if url.startswith("https:") and not (following.url or "").startswith("https:"):
        message = "redirected from https to an insecure address"
        raise InputError(FailureCode.URL_REFUSED, message)
    return following


def _check_status(response: requests.Response, longest_wait: float) -> None:
    status = response.status_code
    if status == 200:
        return
    # The server's own words for it may be anything.
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    message = f"the server answered {status} {phrase}".rstrip()
    if status not in _RETRIED_STATUSES:
        raise InputError(FailureCode.URL_FAILED, message)
    wait = _retry_after(response.headers.get("Retry-After", "").strip())
    if wait is not None and wait > longest_wait:
        message += f", and asks to wait longer than {longest_wait:g} s"
        raise InputError(FailureCode.URL_FAILED, message)
    raise _Retry(InputError(FailureCode.URL_FAILED, message), wait)


def _retry_after(value: str) -> float | None:
    """Seconds to wait, from either form of the header (RFC 9110, section 10.2.3)."""
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, LookupError, OverflowError):  # all of them are its answers
        return None


def _body(response: requests.Response, max_bytes: int, deadline: Deadline) -> bytes:
    too_large = InputError(FailureCode.TOO_MANY_BYTES, f"larger than {max_bytes:,} bytes")
    declared = response.raw.length_remaining  # None without a Content-Length that makes sense
    if declared is not None and declared > max_bytes:
        raise too_large
    body = bytearray()
    while True:
        # Undecoded: what was compressed against our wish is no image, and no bomb either.
        # A body shorter than declared raises IncompleteRead.
        chunk = response.raw.read1(_CHUNK, decode_content=False)
        if deadline.expired:  # before the chunk counts: a socket shut at the deadline reads empty
            raise TimeoutError
        if not chunk:
            return bytes(body)
        body += chunk
        if len(body) > max_bytes:
            raise too_large


def _explain(error: Exception) -> InputError | _Retry:
    """The failure, or the signal to try again, that a library's error stands for."""
    import socket
    import ssl

    from requests import Timeout
    from urllib3.exceptions import ReadTimeoutError

    for cause in _causes(error):
        match cause:
            case TimeoutError() | Timeout() | ReadTimeoutError():
                return InputError(FailureCode.URL_TIMEOUT, "the server did not answer in time")
            case socket.gaierror():
                message = f"the host {_host(error)} cannot be found ({cause.strerror})"
                failure = InputError(FailureCode.URL_FAILED, message)
                return _Retry(failure) if cause.errno == socket.EAI_AGAIN else failure
            case ssl.SSLError():
                message = f"no secure connection ({_tls_reason(cause)})"
                return InputError(FailureCode.URL_FAILED, message)
    return _Retry(InputError(FailureCode.URL_FAILED, f"the download failed: {_reason(error)}"))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it wraps, the system call's last."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _host(error: Exception) -> str:
    request = getattr(error, "request", None)  # of requests' own errors, and only of these
    host = urlsplit(str(request.url)).hostname if request else None
    return (host or "")[:255]  # no name is longer, but a hostile redirect's


def _tls_reason(error: ssl.SSLError) -> str:
    if verdict := getattr(error, "verify_message", None):  # on the certificate
        return str(verdict)
    return (error.reason or "the connection was closed").replace("_", " ").lower()


def _reason(error: Exception) -> str:
    from http.client import IncompleteRead, RemoteDisconnected

    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        if isinstance(cause, RemoteDisconnected | IncompleteRead):
            return "the connection was closed too early"
    return "the server's answer is not valid HTTP"
