"""Connections that lead to public addresses only, and that end at a deadline."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse, parse_headers
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests import adapters

from clipcli.errors import FailureCode, InputError
from clipcli.images.web.addresses import is_public, names_private_host
from clipcli.images.web.proxies import proxy_authorization, public_proxy
from clipcli.process import ProcessLock

if TYPE_CHECKING:
    from clipcli.images.web.options import FetchOptions

# One of getaddrinfo's: family, kind, protocol, canonical name, address.
_Found = tuple[Any, Any, int, str, tuple[Any, ...]]
_HEADERS = {"User-Agent": "clipcli", "Accept": "image/*", "Accept-Encoding": "identity"}
_MOST_INTERIM = 10
_AUTHORITIES_LOCK = ProcessLock()


@dataclass
class Deadline:
    """The time of an attempt, whose sockets are closed when it is over.

    A read timeout is per receive: a server that drips a byte a second never meets it.
    """

    end: float
    sockets: list[socket.socket] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def remaining(self) -> float:
        """Seconds until the end, 0 when it is over."""
        return max(0.0, self.end - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether the time is over."""
        return self.remaining == 0

    def watch(self, sock: socket.socket) -> None:
        """Shut this socket's connection, too, at the end, and close it when all is done."""
        with self.lock:
            # A duplicate, too: TLS takes the connection out of this object's hands.
            self.sockets += sock, sock.dup()

    def expire(self) -> None:
        """Shut the connections now."""
        with self.lock:
            for sock in self.sockets:
                with suppress(OSError):  # not connected (any more)
                    # Wakes a thread that is receiving; close() does not.
                    sock.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Close what is open, and leave the connections alone from now on."""
        with self.lock:
            while self.sockets:
                # sock.close() would wait for streams that read from the socket, and urllib3
                # forgets the one of an answer whose headers it rejects.
                number = self.sockets.pop().detach()
                if number != -1:
                    socket.close(number)


@contextmanager
def deadline_after(seconds: float) -> Iterator[Deadline]:
    """A deadline so many seconds from now, called off at the end of the block."""
    deadline = Deadline(time.monotonic() + seconds)
    timer = threading.Timer(seconds, deadline.expire)
    timer.daemon = True
    timer.start()
    try:
        yield deadline
    finally:
        timer.cancel()
        deadline.release()


def vetted_session(options: FetchOptions, deadline: Deadline) -> requests.Session:
    """A session that connects to public or allowed hosts only, and not past the deadline."""
    session = _Session()
    # The environment's proxies and ~/.netrc are not the user's word for this download.
    session.trust_env = False
    session.headers.update(_HEADERS)
    if options.proxy is not None:
        # Without the credentials, which the adapter adds: no library's error can tell them.
        session.proxies = {"all": public_proxy(options.proxy)}
    adapter = _Adapter(options, deadline)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


class _Session(requests.Session):
    """A session that leaves redirects to its caller."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: even told to follow none, requests reads a redirect's body whole and unpacks it."""


class _FinalResponse(HTTPResponse):
    """An answer without the interim ones before it (RFC 9110, section 15.2: `103 Early Hints`)."""

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(_MOST_INTERIM):
            line: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
            # 100 is http.client's own matter, and after 101 no HTTP comes.
            if not HTTPStatus.PROCESSING <= line[1] < HTTPStatus.OK:
                return line
            parse_headers(self.fp)
        raise HTTPException(f"more than {_MOST_INTERIM} interim answers")


class _Adapter(adapters.HTTPAdapter):
    """An adapter that connects to vetted addresses only, or to the user's proxy."""

    def __init__(self, options: FetchOptions, deadline: Deadline) -> None:
        self._options = options

        class Plain(urllib3.connection.HTTPConnection):
            response_class = _FinalResponse

            def _new_conn(self) -> socket.socket:
                return _connect(self, options, deadline)

        class Secure(urllib3.connection.HTTPSConnection):
            response_class = _FinalResponse

            def _new_conn(self) -> socket.socket:
                return _connect(self, options, deadline)

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Secure

        self._pools = {"http": PlainPool, "https": SecurePool}
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:  # noqa: ANN401
        if proxy.lower().startswith("https:"):
            # requests would trust any such proxy with what is fetched from http addresses.
            kwargs["proxy_ssl_context"] = _tls_context()
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def proxy_headers(self, _proxy: str) -> dict[str, str]:
        return proxy_authorization(self._options.proxy or "")

    def build_connection_pool_key_attributes(
        self,
        request: requests.PreparedRequest,
        verify: Any,  # noqa: ANN401
        cert: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": _tls_context()} if host["scheme"] == "https" else {}

    def cert_verify(self, *_args: Any, **_kwargs: Any) -> None:  # noqa: ANN401
        """Do nothing: the context asks for certificates and knows the authorities."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Send one request; through a proxy, only where the host's name does not forbid it."""
        if self._options.proxy is not None:
            _vet_name(request.url or "", self._options)
        return super().send(request, *args, **kwargs)


def _tls_context() -> ssl.SSLContext:
    """What all connections are secured by; reading 140 certificates takes 16 ms, once."""
    with _AUTHORITIES_LOCK:  # not by each of many threads that begin together
        return _tls_context_of(adapters.DEFAULT_CA_BUNDLE_PATH)


@cache
def _tls_context_of(authorities: str) -> ssl.SSLContext:
    context = _SharedContext(ssl.PROTOCOL_TLS_CLIENT)  # wants a certificate, and the host's own
    context.load_verify_locations(authorities)
    return context


class _SharedContext(ssl.SSLContext):
    """A context that connections of several threads are secured by at once."""

    def set_alpn_protocols(self, _protocols: Iterable[str]) -> None:
        """Do nothing: urllib3 sets for each connection what another may be copying just then."""


def _vet_name(url: str, options: FetchOptions) -> None:
    """Refuse a host that is private by its name alone: where others lead, the proxy decides."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if "%" in host:  # an IPv6 zone, which is this machine's own, or what the proxy may decode
        message = "the host's name holds a percent sign, which no proxy can be asked for"
        raise InputError(FailureCode.URL_REFUSED, message)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if names_private_host(host) and not options.allows(host, port):
        raise _not_public(host, host)


def _connect(
    connection: urllib3.connection.HTTPConnection, options: FetchOptions, deadline: Deadline
) -> socket.socket:
    """Resolve once, vet every address, connect to one of them, and look who answered.

    Raises:
        InputError: an address is not public, or somebody else answered.
        NewConnectionError: none of them answers.
    """
    host, port = connection.host.strip("[]"), connection.port or connection.default_port
    try:
        found = _resolve(host, port)
        # The user named the proxy, so that it may be anywhere.
        if connection.proxy is not None or options.allows(host, port):
            return _first_to_answer(found, None, options.connect_seconds, deadline)
        vetted = {str(entry[4][0]) for entry in found}
        _refuse_private(host, vetted)
        return _first_to_answer(found, vetted, options.connect_seconds, deadline)
    except OSError as error:
        raise urllib3.exceptions.NewConnectionError(connection, f"{host}: {error}") from error


def _resolve(host: str, port: int) -> list[_Found]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is too long for a name
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error


def _refuse_private(host: str, addresses: set[str]) -> None:
    for address in sorted(addresses):
        if not is_public(address):
            raise _not_public(address, host)


def _not_public(address: str, host: str) -> InputError:
    whose = "" if address == host else f" of {host}"
    message = f"{address}{whose} is not a public address (--allow-host {host} permits it)"
    return InputError(FailureCode.URL_REFUSED, message)


def _first_to_answer(
    found: list[_Found], vetted: set[str] | None, seconds: float, deadline: Deadline
) -> socket.socket:
    """A connection to the first address that answers within so many seconds."""
    problem: OSError = TimeoutError()
    for entry in found:
        if deadline.expired:
            break
        try:
            return _open(entry, vetted, min(seconds, deadline.remaining), deadline)
        except OSError as error:
            problem = error
    raise problem


def _open(
    entry: _Found, vetted: set[str] | None, seconds: float, deadline: Deadline
) -> socket.socket:
    """A connection whose peer is one of the vetted addresses; None vets them all."""
    family, kind, protocol, _, address = entry
    sock = socket.socket(family, kind, protocol)
    deadline.watch(sock)  # and have it closed, whatever happens
    sock.settimeout(seconds)
    sock.connect(address)
    if deadline.expired:  # what it shut before there was a connection is open now
        raise TimeoutError
    if vetted is not None and str(sock.getpeername()[0]) not in vetted:
        message = "connected to another address than the host's own"
        raise InputError(FailureCode.URL_REFUSED, message)
    return sock
