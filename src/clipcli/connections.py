"""Connections that lead to public addresses only, and that end at a deadline."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from clipcli.addresses import is_public
from clipcli.errors import FailureCode, InputError

if TYPE_CHECKING:
    from clipcli.fetch import FetchOptions

# One of getaddrinfo's: family, kind, protocol, canonical name, address.
_Found = tuple[Any, Any, int, str, tuple[Any, ...]]
_HEADERS = {"User-Agent": "clipcli", "Accept": "image/*", "Accept-Encoding": "identity"}


@dataclass
class Deadline:
    """Closes an attempt's sockets when its time is over.

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
    adapter = _Adapter(options, deadline)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


class _Session(requests.Session):
    """Leaves redirects to its caller."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: even told to follow none, requests reads a redirect's body whole and unpacks it."""


class _Adapter(HTTPAdapter):
    """Connects to vetted addresses only."""

    def __init__(self, options: FetchOptions, deadline: Deadline) -> None:
        self._options = options
        self._fetch_deadline = deadline
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().init_poolmanager(*args, **kwargs)
        options, deadline = self._options, self._fetch_deadline

        class Plain(urllib3.connection.HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return _connect(self, options, deadline)

        class Secure(urllib3.connection.HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return _connect(self, options, deadline)

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


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
        if options.allows(host, port):
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
            whose = "" if address == host else f" of {host}"
            message = f"{address}{whose} is not a public address (--allow-host {host} permits it)"
            raise InputError(FailureCode.URL_REFUSED, message)


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
