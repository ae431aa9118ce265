"""Connections that lead to public addresses only, and that end at a deadline."""

from __future__ import annotations

import socket
import threading
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

_HEADERS = {"User-Agent": "clipcli", "Accept": "image/*", "Accept-Encoding": "identity"}


@dataclass
class Deadline:
    """Closes an attempt's sockets when its time is over.

    A read timeout is per receive: a server that drips a byte a second never meets it.
    """

    expired: bool = False
    sockets: list[socket.socket] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def watch(self, sock: socket.socket) -> None:
        """Close this socket, too, at the end."""
        with self.lock:
            self.sockets.append(sock)
            if self.expired:
                _shut(sock)

    def expire(self) -> None:
        """End the attempt now."""
        with self.lock:
            self.expired = True
            for sock in self.sockets:
                _shut(sock)


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)  # wakes a thread that is receiving; close() does not


@contextmanager
def deadline_after(seconds: float) -> Iterator[Deadline]:
    """A deadline so many seconds from now, called off at the end of the block."""
    deadline = Deadline()
    timer = threading.Timer(seconds, deadline.expire)
    timer.daemon = True
    timer.start()
    try:
        yield deadline
    finally:
        timer.cancel()


def vetted_session(options: FetchOptions, deadline: Deadline) -> requests.Session:
    """A session that connects to public or allowed hosts only, and not past the deadline."""
    session = requests.Session()
    # The environment's proxies and ~/.netrc are not the user's word for this download.
    session.trust_env = False
    session.headers.update(_HEADERS)
    adapter = _Adapter(options, deadline)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


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
        InputError: an address is not public.
        NewConnectionError: none of them answers.
    """
    host, port = connection.host.strip("[]"), connection.port or connection.default_port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise urllib3.exceptions.NewConnectionError(connection, f"{host}: {error}") from error
    addresses = {str(entry[4][0]) for entry in found}
    if not options.allows(host, port):
        _refuse_private(addresses)
    problem: OSError | None = None
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        try:
            deadline.watch(sock)
            sock.settimeout(options.connect_seconds)
            sock.connect(address)
            if str(sock.getpeername()[0]) not in addresses:
                raise InputError(FailureCode.URL_REFUSED, "connected to another address")
        except OSError as error:
            sock.close()
            problem = error
        else:
            return sock
    raise urllib3.exceptions.NewConnectionError(connection, f"{host}: {problem}") from problem


def _refuse_private(addresses: set[str]) -> None:
    for address in sorted(addresses):
        if not is_public(address):
            message = f"its address {address} is not public (--allow-host HOST permits it)"
            raise InputError(FailureCode.URL_REFUSED, message)
