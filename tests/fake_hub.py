"""A model hub on loopback, as far as huggingface_hub asks one for single files."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Answer:
    """What the hub says of one file.

    Attributes:
        body: the file.
        status: of the answer; with an error goes the hub's own code for it.
        error: for example `EntryNotFound`.
        sha256: that the hub names; the body's own unless it lies.
        cuts: how many times the connection is cut halfway through the body.
    """

    body: bytes = b""
    status: int = 200
    error: str = ""
    sha256: str = ""
    cuts: int = 0


@dataclass
class FakeHub:
    """A running hub.

    Attributes:
        url: for HF_ENDPOINT.
        answers: `org/name/file` -> answer. Another file of a known repository is missing, and
            another repository is unknown.
        requests: `METHOD org/name/file`, as they came.
    """

    url: str
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def find(self, path: str) -> Answer:
        """The answer for a path `/org/name/resolve/main/file`."""
        repository, _, filename = path.strip("/").partition("/resolve/main/")
        known = any(name.startswith(f"{repository}/") for name in self.answers)
        missing = Answer(status=404, error="EntryNotFound" if known else "RepoNotFound")
        return self.answers.get(f"{repository}/{filename}", missing)


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            answer = hub.find(self.path)
            self.send_response(answer.status)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(answer.body)))
            if answer.error:
                self.send_header("X-Error-Code", answer.error)
            else:
                digest = answer.sha256 or hashlib.sha256(answer.body).hexdigest()
                self.send_header("ETag", f'"{digest}"')
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            answer = hub.find(self.path)
            is_cut = answer.cuts > 0
            answer.cuts -= is_cut
            self.wfile.write(answer.body[: len(answer.body) // 2] if is_cut else answer.body)
            self.close_connection = is_cut

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def serve() -> Iterator[FakeHub]:
    """Run a hub without files until the block ends."""
    hub = FakeHub("")
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub)) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
