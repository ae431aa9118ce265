"""One URL -> bytes, within limits of address, size and time; many at once, few from one host."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from clipcli.errors import FailureCode, InputError, settled
from clipcli.images.formats import START_BYTES, StartCheck, accept_any
from clipcli.images.web.errors import Retry, explain, retry_after, status_failure
from clipcli.images.web.options import FetchOptions

if TYPE_CHECKING:
    import requests

    from clipcli.images.web.connections import Deadline

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK = 1 << 16


class Fetcher:
    """Downloads for many threads, no more than `per_host` of them at once from one host."""

    def __init__(self, options: FetchOptions) -> None:
        self._options = options
        self._changed = threading.Condition()
        # Only hosts in use: a run may meet millions.
        self._downloads: Counter[str] = Counter()
        self._closed = False

    def fetch(self, url: str, check: StartCheck = accept_any) -> bytes:
        """Download one file as `fetch` does, when it is its host's turn.

        The wait for it does not count into the download's own time.

        Raises:
            InputError: refused, failed, too large, out of time, or still waiting at `close`.
        """
        with self._turn(_host(url)):
            return fetch(url, self._options, check)

    def close(self) -> None:
        """Start no more downloads; those under way end in their own time."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @contextmanager
    def _turn(self, host: str) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._downloads[host] < self._options.per_host
            )
            if self._closed:
                raise InputError(FailureCode.URL_FAILED, "the run ended before the download began")
            self._downloads[host] += 1
        try:
            yield
        finally:
            with self._changed:
                self._downloads[host] -= 1
                if not self._downloads[host]:
                    del self._downloads[host]
                self._changed.notify_all()


def _host(url: str) -> str:
    """The host of an address, in lower case; empty where it has none, and so is never asked."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def fetch(url: str, options: FetchOptions, check: StartCheck = accept_any) -> bytes:
    """Download one file.

    Every address that a host resolves to must be public, and so must the connected socket's
    peer, before a byte is sent; each redirect is checked in the same way.

    Args:
        url: of the file.
        options: what the download may do and take.
        check: of the file's first bytes, before all others have come.

    Raises:
        InputError: refused, failed, too large, or out of time.
    """
    wait = options.backoff_seconds
    for attempt in range(options.retries + 1):
        try:
            return _attempt(url, options, check)
        except Retry as signal:
            if attempt == options.retries:
                raise signal.error from None
            settled(signal)  # else it would keep what has come of the body through the wait
            time.sleep(wait if signal.wait_seconds is None else signal.wait_seconds)
            wait *= 2
    raise AssertionError("unreachable")


def _attempt(url: str, options: FetchOptions, check: StartCheck) -> bytes:
    # requests takes 0.1 s to import, ssl and http.client 0.01 s; most runs need no network.
    from requests import RequestException
    from urllib3.exceptions import HTTPError

    from clipcli.images.web.connections import deadline_after, vetted_session

    with (
        deadline_after(options.total_seconds) as deadline,
        vetted_session(options, deadline) as session,
    ):
        try:
            with _followed(session, url, options) as response:
                _check_status(response, options)
                return _body(response, options.max_bytes, deadline, check)
        except (RequestException, HTTPError, OSError) as error:
            # A closed socket shows in many ways; the deadline knows that it closed it.
            if deadline.expired:
                message = f"took longer than {options.total_seconds:g} s"
                raise InputError(FailureCode.URL_TIMEOUT, message) from error
            raise explain(error, options.proxy) from error


@contextmanager
def _followed(
    session: requests.Session, url: str, options: FetchOptions
) -> Iterator[requests.Response]:
    """The answer at the end of all redirects."""
    request = _prepared(session, url, "not a valid http or https address")
    timeout = options.connect_seconds, options.read_seconds
    for _ in range(options.max_redirects + 1):
        with session.send(request, timeout=timeout, stream=True, allow_redirects=False) as response:
            location = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or not location:
                yield response
                return
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


def _check_status(response: requests.Response, options: FetchOptions) -> None:
    if response.status_code == 200:
        return
    failure, may_pass = status_failure(response.status_code, options.proxy)
    if not may_pass:
        raise failure
    wait = retry_after(response.headers)
    if wait is not None and wait > options.longest_wait_seconds:
        message = f"{failure.message}, and asks to wait longer than "
        raise InputError(failure.code, f"{message}{options.longest_wait_seconds:g} s")
    raise Retry(failure, wait)


def _body(
    response: requests.Response, max_bytes: int, deadline: Deadline, check: StartCheck
) -> bytes:
    too_large = InputError(FailureCode.TOO_MANY_BYTES, f"larger than {max_bytes:,} bytes")
    declared = response.raw.length_remaining  # None without a Content-Length that makes sense
    if declared is not None and declared > max_bytes:
        raise too_large
    body = BytesIO()  # which gives its bytes without another copy of them
    is_checked = False
    while True:
        # Undecoded: what was compressed against our wish is no image, and no bomb either.
        # A body shorter than declared raises IncompleteRead.
        chunk = response.raw.read1(_CHUNK, decode_content=False)
        if deadline.expired:  # before the chunk counts: a socket shut at the deadline reads empty
            raise TimeoutError
        if not chunk:
            return body.getvalue()
        body.write(chunk)
        if body.tell() > max_bytes:
            raise too_large
        if not is_checked and body.tell() >= START_BYTES:
            is_checked = True
            check(body.getvalue()[:START_BYTES])
