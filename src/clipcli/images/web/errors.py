"""What went wrong with a download: in words, and whether another attempt may help."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from clipcli.errors import FailureCode, InputError
from clipcli.images.web.proxies import public_proxy, through

if TYPE_CHECKING:
    import ssl

_RETRIED_STATUSES = frozenset({408, 429, *range(500, 600)})
# http.client's words, the same in all versions, and the only place where it tells the status.
_TUNNEL_STATUS = re.compile(r"Tunnel connection failed: (\d{3})\b")


class Retry(Exception):  # noqa: N818  a signal to who makes the attempts
    """An attempt failed in a way that may pass.

    Args:
        error: the failure, should no attempt be left.
        wait_seconds: that the server asks for; None where it does not.
    """

    def __init__(self, error: InputError, wait_seconds: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.wait_seconds = wait_seconds


def status_failure(
    status: int, proxy: str | None, *, by_proxy: bool = False
) -> tuple[InputError, bool]:
    """The failure that an HTTP status stands for, and whether it may pass.

    Args:
        status: of the answer, not 200.
        proxy: that the answer came through, if any.
        by_proxy: whether the proxy itself has answered.
    """
    # Not the server's own words for it, which may be anything.
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    answered = f"answered {status} {phrase}".rstrip()
    if proxy is not None and (by_proxy or status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED):
        message = f"the proxy {public_proxy(proxy)} {answered}"
        if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            message += ": name and password go into --proxy http://NAME:PASSWORD@HOST"
    else:
        message = f"the server {answered}{through(proxy)}"
    return InputError(FailureCode.URL_FAILED, message), status in _RETRIED_STATUSES


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait, in either form of the header (RFC 9110, 10.2.3).

    Args:
        headers: of its answer; letters' case in their names must not matter.

    Returns:
        0 or more; None where it asks for none, or for what makes no sense.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, LookupError, OverflowError):  # all of them are its answers
        return None


def explain(error: Exception, proxy: str | None) -> InputError | Retry:
    """The failure, or the signal to try again, that a library's error stands for."""
    from urllib3.exceptions import ProxyError

    # urllib3 wraps in this what befalls it before it has a connection to or through the proxy.
    at_proxy = proxy is not None and any(isinstance(one, ProxyError) for one in _causes(error))
    place = f"the proxy {public_proxy(proxy)}" if proxy and at_proxy else None
    rest = "" if at_proxy else through(proxy)
    for cause in _causes(error):
        if tunnel := _TUNNEL_STATUS.match(str(cause)):
            failure, may_pass = status_failure(int(tunnel[1]), proxy, by_proxy=True)
            return Retry(failure) if may_pass else failure
        known = _known(cause, place, f"the host {_host(error)}", rest)
        if known is not None:
            return known
    what = f"{place} cannot be reached" if place else "the download failed"
    return Retry(InputError(FailureCode.URL_FAILED, f"{what}: {_reason(error)}{rest}"))


def _known(
    cause: BaseException, place: str | None, host: str, rest: str
) -> InputError | Retry | None:
    """What a single error says for itself; None where others in the chain may know more.

    Args:
        cause: one error of a chain.
        place: the proxy, where it befell a connection to it.
        host: whose name was looked up otherwise.
        rest: what is added to the message.
    """
    import socket
    import ssl

    from requests import Timeout
    from urllib3.exceptions import ReadTimeoutError

    match cause:
        case TimeoutError() | Timeout() | ReadTimeoutError():
            message = f"{place or 'the server'} did not answer in time{rest}"
            return InputError(FailureCode.URL_TIMEOUT, message)
        case socket.gaierror():
            message = f"{place or host} cannot be found ({cause.strerror})"
            failure = InputError(FailureCode.URL_FAILED, message)
            return Retry(failure) if cause.errno == socket.EAI_AGAIN else failure
        case ssl.SSLError():
            to = f" to {place}" if place else ""
            message = f"no secure connection{to} ({_tls_reason(cause)}){rest}"
            return InputError(FailureCode.URL_FAILED, message)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it wraps, the system call's last."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        # urllib3 does not always raise what it wraps another error in.
        inside = next((part for part in cause.args if isinstance(part, BaseException)), None)
        cause = cause.__cause__ or cause.__context__ or inside


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
