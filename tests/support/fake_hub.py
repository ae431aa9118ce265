"""A model hub on loopback, as far as huggingface_hub asks one for single files.

huggingface_hub reads its environment when it is imported, so each of its users here is a process.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from command import PATIENCE, clean_environment

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Fault:
    """What goes wrong once.

    Attributes:
        kind: `cut` ends the connection in the body, in good order, `reset` not in good order;
            `stall` says no more until the hub is released, which an urgent byte tells whoever
            asks; `wrong` has other bytes of the same number; `busy` answers with a status;
            `none` is no fault.
        at: after so many bytes of the body; half of them if negative.
        status: of a busy hub.
        retry_after: that a busy hub asks to wait, in seconds.
        method: of the request that it befalls.
    """

    kind: Literal["cut", "reset", "stall", "wrong", "busy", "none"]
    at: int = -1
    status: int = 503
    retry_after: str = ""
    method: str = "GET"


@dataclass
class Answer:
    """What the hub says of one file.

    Attributes:
        body: the file.
        status: of the answer; with an error goes the hub's own code for it.
        error: for example `EntryNotFound`.
        etag: that the hub names; the body's own sha256 unless it lies, or the file is small.
        size: that the hub names; the body's own unless it lies.
        location: where the file itself is, on another host.
        faults: one for each request, and then none.
    """

    body: bytes = b""
    status: int = 200
    error: str = ""
    etag: str = ""
    size: int | None = None
    location: str = ""
    faults: list[Fault] = field(default_factory=list)


@dataclass
class FakeHub:
    """A running hub.

    Attributes:
        url: for HF_ENDPOINT.
        answers: `org/name/file`, or with `@commit` behind it -> answer. Another file of a known
            repository is missing, and another repository is unknown.
        revisions: of every repository -> commit.
        requests: `METHOD /path`, as they came.
        tokens: what each of them brought along as its authorization.
        stalled: set as soon as an answer stalls.
        released: ends all stalls when it is set.
    """

    url: str
    answers: dict[str, Answer] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    requests: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    stalled: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def find(self, path: str) -> tuple[Answer, str]:
        """The answer for a path `/org/name/resolve/revision/file`, and its commit."""
        repository, _, rest = path.strip("/").partition("/resolve/")
        revision, _, filename = rest.partition("/")
        if not any(name.startswith(f"{repository}/") for name in self.answers):
            return Answer(status=404, error="RepoNotFound"), COMMIT
        is_commit = revision in self.revisions.values()
        commit = revision if is_commit else self.revisions.get(revision)
        if commit is None:
            return Answer(status=404, error="RevisionNotFound"), COMMIT
        missing = Answer(status=404, error="EntryNotFound")
        name = f"{repository}/{filename}"
        return self.answers.get(f"{name}@{commit}", self.answers.get(name, missing)), commit

    def downloads(self, filename: str) -> int:
        """How many times the content of a file was asked for."""
        return sum(line.startswith("GET ") and line.endswith(filename) for line in self.requests)


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def do_HEAD(self) -> None:
        answer, fault = self.begin()
        if fault is not None and fault.kind == "busy":
            self.refuse(fault)
        elif fault is None or fault.kind == "none":
            self.head(answer, answer.body)
        else:
            self.fail(fault)

    def do_GET(self) -> None:
        answer, fault = self.begin()
        if fault is not None and fault.kind == "busy":
            self.refuse(fault)
            return
        body = answer.body
        if fault is not None and fault.kind == "wrong":
            body, fault = bytes(byte ^ 1 for byte in body), None
        start = int(self.headers.get("Range", "bytes=0-")[6:].rstrip("-"))
        self.head(answer, body[start:], start)
        if fault is None:
            self.wfile.write(body[start:])
            return
        end = len(body) // 2 if fault.at < 0 else fault.at
        self.wfile.write(body[start:end])
        self.fail(fault)

    def do_POST(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        self.send_error(405)

    def begin(self) -> tuple[Answer, Fault | None]:
        self.hub.requests.append(f"{self.command} {self.path}")
        self.hub.tokens.append(self.headers.get("Authorization"))
        answer, self.commit = self.hub.find(self.path)
        fitting = [fault for fault in answer.faults if fault.method == self.command]
        if fitting:
            answer.faults.remove(fitting[0])
        return answer, fitting[0] if fitting else None

    def head(self, answer: Answer, body: bytes, start: int = 0) -> None:
        digest = answer.etag or hashlib.sha256(answer.body).hexdigest()
        size = len(answer.body) if answer.size is None else answer.size
        self.send_response(206 if start else 302 if answer.location else answer.status)
        self.send_header("X-Repo-Commit", self.commit)
        if answer.error:
            self.send_header("X-Error-Code", answer.error)
        elif answer.location:
            self.send_header("Location", answer.location)
            self.send_header("X-Linked-Etag", f'"{digest}"')
            self.send_header("X-Linked-Size", str(size))
        else:
            self.send_header("ETag", f'"{digest}"')
        whole = self.command == "GET" or answer.location
        self.send_header("Content-Length", str(len(body) if whole else size))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()

    def refuse(self, fault: Fault) -> None:
        self.send_response(fault.status)
        if fault.retry_after:
            self.send_header("Retry-After", fault.retry_after)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def fail(self, fault: Fault) -> None:
        self.close_connection = True
        if fault.kind == "stall":
            self.wfile.flush()
            # Beside the answer, of which it is no part.
            self.connection.send(b"!", socket.MSG_OOB)
            self.hub.stalled.set()
            self.hub.released.wait()
        elif fault.kind == "reset":
            # Closed with a linger time of zero, a connection is reset.
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            os.close(self.connection.detach())

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that went away is part of the tests."""


@contextmanager
def serve() -> Iterator[FakeHub]:
    """Run a hub without files until the block ends."""
    hub = FakeHub("")
    handler = type("Handler", (_Handler,), {"hub": hub})
    with _Server(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield hub
        finally:
            hub.released.set()
            server.shutdown()
            thread.join()


# Asks for [repository, file, options] one after the other. Long pauses are not waited for.
_CLIENT = """
import json, sys, time, warnings
from clipcli.errors import ModelError
from clipcli.models.hub.files import hub_file

told, pauses, sleep = [], [], time.sleep
time.sleep = lambda seconds: pauses.append(seconds) if seconds >= 1 else sleep(seconds)

def tell(warning, *_):
    told.append(str(warning))
    print("told:", warning, file=sys.stderr, flush=True)

def ask(repository, filename, options):
    try:
        return hub_file(repository, filename, **options).read_text()
    except ModelError as error:
        return f"{type(error).__name__}: {error}"

warnings.simplefilter("always")
warnings.showwarning = tell
exec(sys.argv[2])
found = [ask(*wish) for wish in json.loads(sys.argv[1])]
print(json.dumps([found, told, pauses, "huggingface_hub" in sys.modules]))
"""

Wish = tuple[str, str, dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """What came of some wishes.

    Attributes:
        found: the content of each file, or the error.
        told: all warnings.
        pauses: before further attempts, in seconds.
        client: whether huggingface_hub was imported.
    """

    found: list[str]
    told: list[str]
    pauses: list[float]
    client: bool


def environment(url: str, home: Path, **more: str) -> dict[str, str]:
    """Where a process finds the hub and keeps its caches."""
    caches = {"HF_HOME": str(home / "hf"), "CLIPCLI_CACHE_DIR": str(home / "clipcli")}
    alone = {"NO_PROXY": "127.0.0.1"}
    # Ten seconds are the client's own, and may be too few for a busy machine.
    patient = dict.fromkeys(("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"), f"{PATIENCE:.0f}")
    return {"HF_ENDPOINT": url, **alone, **patient, **caches, **more}


def start(
    url: str, home: Path, *wishes: Wish, first: str = "", stderr: int = subprocess.PIPE, **env: str
) -> subprocess.Popen[str]:
    """A process that asks for files; `first` is done before, in Python."""
    return subprocess.Popen(
        [sys.executable, "-c", _CLIENT, json.dumps(wishes), first],
        env={**clean_environment(), **environment(url, home, **env)},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def outcome(process: subprocess.Popen[str]) -> Outcome:
    """What a process found, as soon as it ends; it must have said nothing but what it told."""
    try:
        stdout, stderr = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, stderr
    outcome = Outcome(*json.loads(stdout))
    if stderr is not None:
        assert all(line.startswith("told: ") for line in stderr.splitlines()), stderr
    return outcome


def ask(url: str, home: Path, *wishes: Wish, first: str = "", **env: str) -> Outcome:
    """Ask for files in a process of its own."""
    return outcome(start(url, home, *wishes, first=first, **env))
