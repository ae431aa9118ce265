"""Many downloads at once: shown by who waits for whom, not by clocks."""

import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from command import PATIENCE
from fetching import Clock, options_for
from web_server import answer, serve

from clipcli.errors import FailureCode, InputError
from clipcli.images.web.fetch import Fetcher

BODY = b"\x89PNG the bytes of an image"
HOSTS = ("a.example", "b.example", "c.example", "d.example")


class Gate:
    """Answers that wait until the test opens the gate; knows how many wait for which host."""

    def __init__(self):
        self.most = Counter()
        self._waiting = Counter()
        self._is_open = False
        self._changed = threading.Condition()

    def answer_for(self, host):
        def reply(connection, _over):
            with self._changed:
                self._waiting[host] += 1
                self.most[host] = max(self.most[host], self._waiting[host])
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._is_open, PATIENCE)
                self._waiting[host] -= 1  # before the answer, which lets the next one in
            connection.sendall(answer(BODY))

        return reply

    def wait_for(self, **requests):
        """Wait until so many requests of each host are waiting."""
        expected = {f"{name}.example": count for name, count in requests.items()}
        with self._changed:
            assert self._changed.wait_for(lambda: +self._waiting == expected, PATIENCE)

    def open(self):
        with self._changed:
            self._is_open = True
            self._changed.notify_all()


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def url_of(gate, monkeypatch):
    """The address of a host's image, all hosts being one server; a path of one's own is free."""
    getaddrinfo = socket.getaddrinfo

    def loopback(_host, port, *arguments, **keywords):
        return getaddrinfo("127.0.0.1", port, *arguments, **keywords)

    monkeypatch.setattr(socket, "getaddrinfo", loopback)
    routes = {f"/{host}": gate.answer_for(host) for host in HOSTS}
    with serve({**routes, "/free": answer(BODY)}) as server:
        port = server.host.rpartition(":")[2]
        yield lambda host, path=None: f"http://{host}:{port}/{path or host.lower()}"
        gate.open()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as pool:
        yield pool


def fetcher_for(**changes):
    limits = {"read_seconds": PATIENCE, "total_seconds": PATIENCE, **changes}
    return Fetcher(options_for(allowed_hosts=frozenset(HOSTS), **limits))


def test_all_downloads_that_may_run_at_once_do(pool, gate, url_of):
    fetcher = fetcher_for(concurrency=16, per_host=4)
    bodies = [pool.submit(fetcher.fetch, url_of(host)) for host in HOSTS * 4]
    gate.wait_for(a=4, b=4, c=4, d=4)
    gate.open()
    assert [body.result() for body in bodies] == [BODY] * 16


def test_a_host_gets_no_more_downloads_at_once_than_its_share(pool, gate, url_of):
    fetcher = fetcher_for(per_host=3)
    bodies = [pool.submit(fetcher.fetch, url_of("a.example")) for _ in range(12)]
    gate.wait_for(a=3)
    # Others go through while nine wait; the host's spelling makes it no other.
    assert fetcher.fetch(url_of("b.example", "free")) == BODY
    bodies.append(pool.submit(fetcher.fetch, url_of("A.EXAMPLE")))
    assert fetcher.fetch(url_of("c.example", "free")) == BODY
    gate.wait_for(a=3)
    gate.open()
    assert [body.result() for body in bodies] == [BODY] * 13
    assert gate.most == {"a.example": 3}


def test_waiting_for_a_turn_takes_nothing_of_a_downloads_time(pool, gate, url_of, monkeypatch):
    clock = Clock(monkeypatch)
    fetcher = fetcher_for(per_host=1, total_seconds=1, retries=0)
    first = pool.submit(fetcher.fetch, url_of("a.example"))
    gate.wait_for(a=1)
    waits, wait_for = threading.Event(), fetcher._changed.wait_for

    def noted(condition):
        waits.set()
        return wait_for(condition)

    monkeypatch.setattr(fetcher._changed, "wait_for", noted)
    second = pool.submit(fetcher.fetch, url_of("a.example", "free"))
    assert waits.wait(PATIENCE)
    clock.go_on(1)
    outcomes = str(first.exception()), second.result()
    assert outcomes == ("took longer than 1 s", BODY)


def test_a_download_that_fails_gives_its_turn_back_and_hosts_are_forgotten(pool, url_of):
    fetcher = fetcher_for(per_host=1)
    urls = [url_of("a.example", "missing"), url_of("b.example", "free"), "http://[", "http://"]
    outcomes = [pool.submit(fetcher.fetch, url).exception() for url in urls * 3]
    codes = [error and error.code for error in outcomes]
    refused = FailureCode.URL_REFUSED
    assert codes == [FailureCode.URL_FAILED, None, refused, refused] * 3
    assert len(fetcher._downloads) == 0  # a run over millions of hosts keeps none of them


def test_closing_lets_no_other_download_begin(pool, gate, url_of):
    fetcher = fetcher_for(per_host=1)
    running = pool.submit(fetcher.fetch, url_of("a.example"))
    gate.wait_for(a=1)
    waiting = [pool.submit(fetcher.fetch, url_of("a.example")) for _ in range(3)]
    fetcher.close()
    for one in waiting:
        assert isinstance(one.exception(timeout=PATIENCE), InputError)
    with pytest.raises(InputError, match="the run ended before the download began"):
        fetcher.fetch(url_of("b.example", "free"))
    gate.open()
    assert running.result() == BODY
