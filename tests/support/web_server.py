"""A web server on loopback that says exactly what a test wants it to say, lies included.

pytest puts this folder on the import path, so any test may write::

    from web_server import answer, serve

    with serve({"/cat.png": answer(png), "/shy": [answer(status=500), answer(png)]}) as server:
        clipcli(server.url("/cat.png"), "--allow-host", server.host, ...)
        assert server.paths == ["/cat.png"]

A route's answer is raw bytes, sent as they are before the connection is closed, or a function of
the connection and of the event that says that the test is over; a list of answers is given one a
request, the last one for ever. Other paths answer 404.
"""

from __future__ import annotations

import select
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.client import responses

import trustme

Answer = bytes | Callable[[socket.socket, threading.Event], None]
Routes = Mapping[str, Answer | Sequence[Answer]]


FAR_HOST = "far.example"
"""A name that the servers' certificates are good for, too; only a proxy leads to it."""


@cache
def authority() -> trustme.CA:
    """Signs the certificates of the servers that speak TLS; made anew in each run."""
    return trustme.CA()


@dataclass
class WebServer:
    """What a test knows of its server.

    Attributes:
        host: `address:port`, as `FetchOptions.allowed_hosts` and `--allow-host` take it.
        heads: the requests so far, each its request line and header lines.
        scheme: `http` or `https`.
    """

    host: str
    scheme: str = "http"
    heads: list[str] = field(default_factory=list)

    def url(self, path: str = "/", user_info: str = "") -> str:
        """The address of a path on this server; `user_info` is `name:password@`."""
        return f"{self.scheme}://{user_info}{self.host}{path}"

    @property
    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [head.split(" ")[1] for head in self.heads]


@contextmanager
def serve(routes: Routes, address: str = "127.0.0.1", *, tls: bool = False) -> Iterator[WebServer]:
    """Run a server until the end of the block, each connection in a thread of its own.

    With `tls` it speaks https; nobody trusts its `authority` unasked.
    """
    over = threading.Event()
    context = _tls_context() if tls else None
    remaining = {
        path: [answers] if isinstance(answers, bytes) or callable(answers) else list(answers)
        for path, answers in routes.items()
    }

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):  # the client may leave whenever it wants
                if context is None:
                    self.reply(self.request)
                    return
                with context.wrap_socket(self.request, server_side=True) as connection:
                    self.reply(connection)

        def reply(self, connection: socket.socket) -> None:
            head = _request_head(connection)
            if not head:
                return
            site.heads.append(head)
            answers = remaining.get(head.split(" ")[1], [answer(status=404)])
            reply = answers.pop(0) if len(answers) > 1 else answers[0]
            if callable(reply):
                reply(connection, over)
            else:
                connection.sendall(reply)

    class Server(socketserver.ThreadingTCPServer):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        request_queue_size = 32

    with Server((address, 0), Handler) as server:
        name = f"[{address}]" if ":" in address else address
        site = WebServer(f"{name}:{server.server_address[1]}", "https" if tls else "http")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            over.set()
            server.shutdown()
            thread.join()
            # Who asked and left while this machine was busy with something else has asked, too.
            while select.select([server], [], [], 0)[0]:
                server.handle_request()


def _tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("127.0.0.1", FAR_HOST).configure_cert(context)
    return context


def _request_head(connection: socket.socket) -> str:
    """Request line and header lines; empty for one who leaves, or speaks TLS to a plain server."""
    head = b""
    while b"\r\n\r\n" not in head:
        received = connection.recv(1 << 16)
        if received.startswith(b"\x16"):
            connection.sendall(answer(status=400))
            return ""
        if not received:
            return ""
        head += received
    return head.decode("latin-1")


def answer(body: bytes = b"", status: int = 200, **headers: str | int | None) -> bytes:
    """A whole HTTP answer; `content_type="image/png"` becomes a header, None leaves one out."""
    fields = {"content_length": len(body), "connection": "close", **headers}
    lines = [f"HTTP/1.1 {status} {responses.get(status, 'Unheard Of')}"]
    lines += [
        f"{name.replace('_', '-').title()}: {value}"
        for name, value in fields.items()
        if value is not None
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def dripping(start: bytes, drop: bytes, seconds: float = 0.01) -> Answer:
    """Send the start, then a drop now and then, for ever."""

    def drip(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        while not over.wait(seconds):
            connection.sendall(drop)

    return drip


def endless(start: bytes, block: bytes) -> Answer:
    """Send the start, then the block as fast as it is taken, for ever."""

    def pour(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        while not over.is_set():
            connection.sendall(block)

    return pour


def resetting(start: bytes) -> Answer:
    """Send the start, then break the connection off."""

    def reset(connection: socket.socket, _over: threading.Event) -> None:
        connection.sendall(start)
        # A linger time of zero makes close() send RST instead of FIN.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    return reset


def tunnel(
    target: WebServer, start: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n"
) -> Answer:
    """What a proxy answers to CONNECT: the start, then what a server and the client exchange."""

    def relay(connection: socket.socket, over: threading.Event) -> None:
        host, _, port = target.host.rpartition(":")
        with socket.create_connection((host, int(port))) as far:
            connection.sendall(start)
            other = {connection: far, far: connection}
            while not over.is_set():
                ready, _, _ = select.select(list(other), [], [], 0.01)
                for side in ready:
                    received = side.recv(1 << 16)
                    if not received:
                        return
                    other[side].sendall(received)

    return relay


def silence(_connection: socket.socket, over: threading.Event) -> None:
    """Take the request and never answer."""
    over.wait()
