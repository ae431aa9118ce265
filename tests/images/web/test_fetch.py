import gzip
import signal
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from email.utils import formatdate
from unittest import mock

import pytest
import requests.utils
from command import PATIENCE, PHOTOS
from fetching import Clock, failure, options_for, trust_test_servers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from web_server import answer, dripping, endless, resetting, serve, silence

from clipcli.errors import FailureCode, InputError, UsageError
from clipcli.images.decoding import open_image
from clipcli.images.options import ImageOptions
from clipcli.images.web.fetch import fetch
from clipcli.images.web.options import FetchOptions

PHOTO = (PHOTOS / "rocket.jpg").read_bytes()
BODY = b"\x89PNG the bytes of an image"
REFUSED, FAILED = FailureCode.URL_REFUSED, FailureCode.URL_FAILED
TIMEOUT, TOO_LARGE = FailureCode.URL_TIMEOUT, FailureCode.TOO_MANY_BYTES
CHUNKED = answer(content_length=None, transfer_encoding="chunked")
PUBLIC_ADDRESS = "93.184.215.14"
NOW = 1_800_000_000  # in an answer of a test server, and on the clock where it matters


def get(replies, **changes):
    """What fetch makes of a server that answers so at /, and the server."""
    with serve({"/": replies}) as server:
        return fetch(server.url(), options_for(server, **changes)), server


def refusal(replies, **changes):
    """How a server that answers so at / fails, and how often it was asked."""
    with serve({"/": replies}) as server:
        error = failure(server.url(), options_for(server, **changes))
    return error, len(server.heads)


@pytest.fixture
def waits(monkeypatch):
    """The seconds that fetch would have slept between attempts."""
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


@pytest.fixture
def resolve(monkeypatch):
    """Makes every host resolve to the given addresses; returns what was asked for."""

    def to(*addresses):
        asked = []

        def getaddrinfo(host, port, *_arguments, **_keywords):
            asked.append(host)
            kinds = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
            return [
                (kind, socket.SOCK_STREAM, 6, "", (address, port))
                for kind, address in zip(kinds, addresses, strict=True)
            ]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return to


@pytest.fixture
def trusted(monkeypatch, tmp_path):
    trust_test_servers(monkeypatch, tmp_path)


# What is asked for


@pytest.mark.parametrize("limit", ["concurrency", "per_host"])
def test_downloads_at_once_are_one_or_more(limit):
    FetchOptions(**{limit: 1})
    with pytest.raises(UsageError, match="must be 1 or more, not 0"):
        FetchOptions(**{limit: 0})


@pytest.mark.parametrize("host", ["", "http://10.0.0.7/", "10.0.0.7/photos", "me@10.0.0.7"])
def test_what_is_more_than_a_host_cannot_be_allowed(host: str) -> None:
    with pytest.raises(UsageError, match="is no host to allow: give HOST or HOST:PORT alone"):
        FetchOptions(allowed_hosts=frozenset({host}))


# What comes back


@pytest.mark.parametrize(
    "reply",
    [
        answer(BODY, content_type="image/png"),
        answer(BODY, content_length=None),
        CHUNKED + b"3\r\n" + BODY[:3] + b"\r\n%x\r\n" % len(BODY[3:]) + BODY[3:] + b"\r\n0\r\n\r\n",
        answer(BODY).replace(b"HTTP/1.1 200 OK", b"HTTP/1.0 200"),
    ],
    ids=["declared length", "until the end", "chunked", "HTTP/1.0"],
)
def test_the_body_comes_back_however_it_is_framed(reply):
    assert get(reply)[0] == BODY


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"<html>no image</html>", {"content_type": "image/png"}),
        (b"\x1f\x8b not unpacked here", {"content_encoding": "gzip"}),
        (b"", {}),
    ],
    ids=["HTML", "compressed unasked", "empty"],
)
def test_the_body_is_neither_judged_nor_decoded(body, headers):
    assert get(answer(body, **headers))[0] == body


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (answer(b"<html>no image</html>", content_type="image/jpeg"), FailureCode.NOT_AN_IMAGE),
        (
            answer(gzip.compress(bytes(50_000_000)), content_encoding="gzip"),
            FailureCode.NOT_AN_IMAGE,
        ),
        (answer(PHOTO, content_length=len(PHOTO) - 9), FailureCode.DAMAGED),
        (answer(b""), FailureCode.EMPTY),
    ],
    ids=["HTML of an image's type", "gzip bomb", "longer than declared", "empty"],
)
def test_a_body_that_is_no_whole_image_fails_when_it_is_opened(reply, code):
    body, _ = get(reply, max_bytes=1_000_000)
    with pytest.raises(InputError) as caught:
        open_image(body, ImageOptions())
    assert caught.value.code is code


def test_the_request_asks_for_an_uncompressed_image():
    head = get(answer(BODY))[1].heads[0]
    assert head.startswith("GET / HTTP/1.1\r\n")
    assert "Accept-Encoding: identity\r\n" in head
    assert "Accept: image/*\r\n" in head


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/a cat.png", "/a%20cat.png"),
        ("/b\u00fccher.png?q=\u00fc", "/b%C3%BCcher.png?q=%C3%BC"),
        ("/a%20cat.png#part", "/a%20cat.png"),
        ("", "/"),
    ],
)
def test_paths_are_quoted_as_a_browser_does(path, asked):
    with serve({asked: answer(BODY)}) as server:
        assert fetch(server.url(path), options_for(server)) == BODY


def test_an_international_host_is_asked_for_by_its_ascii_name(resolve):
    asked = resolve("10.0.0.1")
    failure("http://b\u00fccher.example/", FetchOptions())
    assert asked == ["xn--bcher-kva.example"]


def test_an_ipv6_address_is_fetched_from_and_allowed_in_each_spelling():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with serve({"/": answer(BODY)}, "::1") as server:
        for name in ("::1", "[::1]", server.host):
            options = replace(options_for(), allowed_hosts=frozenset({name}))
            assert fetch(server.url(), options) == BODY
        error = failure(server.url(), options_for())
    assert error.code is REFUSED
    assert len(server.heads) == 3


# Interim answers

EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"


@pytest.mark.parametrize(
    "interim",
    [
        EARLY_HINTS,
        EARLY_HINTS * 2,
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + EARLY_HINTS,
        b"HTTP/1.1 199 Whatever\r\n\r\n",
    ],
)
def test_interim_answers_are_passed_over(interim):
    body, server = get(interim + answer(BODY))
    assert (body, len(server.heads)) == (BODY, 1)


@pytest.mark.parametrize(
    "replies", [EARLY_HINTS * 11 + answer(BODY), b"HTTP/1.1 101 Switching Protocols\r\n\r\n"]
)
def test_interim_answers_without_end_and_other_protocols_are_failures(replies, waits):
    error, _ = refusal(replies)
    assert error.code is FAILED


# Credentials and the environment


def test_credentials_go_to_their_host_only():
    with serve({"/": answer(BODY)}) as other:
        routes = {
            "/": answer(status=302, location="/same"),
            "/same": answer(status=302, location=other.url()),
        }
        with serve(routes) as server:
            assert fetch(server.url("/", "me:pass%21@"), options_for(server, other)) == BODY
    assert all("Authorization: Basic bWU6cGFzcyE=\r\n" in head for head in server.heads)
    assert "pass" not in "".join(server.paths)
    assert "authorization" not in other.heads[0].lower()


@pytest.mark.parametrize("reply", [answer(status=404), b"nonsense\r\n\r\n", resetting(b"HTTP")])
def test_no_message_shows_credentials(reply):
    with serve({"/": reply}) as server:
        error = failure(server.url("/", "me:pass@"), options_for(server))
        refused = failure(server.url("/", "me:pass@"), options_for())
    assert "pass" not in str(error) + str(refused)


def test_proxies_and_netrc_of_the_environment_are_ignored(monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password pass\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with serve({}) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        assert requests.utils.getproxies()["http"] == proxy.url()  # the others would follow it
        body, server = get(answer(BODY))
    assert body == BODY
    assert proxy.heads == []
    assert "authorization" not in server.heads[0].lower()


# Statuses and retries


@pytest.mark.parametrize("status", [201, 204, 206, 300, 304, 400, 401, 403, 404, 407, 410, 999])
def test_a_status_that_is_no_answer_fails_at_once(status):
    error, requests_made = refusal(answer(status=status, content_length=None))
    assert (error.code, requests_made) == (FAILED, 1)
    assert f"answered {status}" in error.message
    assert "Unheard" not in error.message  # the server's own words are not passed on


@pytest.mark.parametrize("status", [408, 429, 500, 501, 502, 503, 504, 520, 599])
def test_a_status_that_may_pass_is_retried(status, waits):
    body, server = get([answer(status=status), answer(status=status), answer(BODY)])
    assert body == BODY
    assert len(server.heads) == 3
    assert waits == [0.001, 0.002]


def test_retries_end():
    error, requests_made = refusal(answer(status=500))
    assert (error.code, requests_made) == (FAILED, 3)
    assert error.message == "the server answered 500 Internal Server Error"


def test_a_server_may_say_how_long_to_wait_in_seconds(waits):
    assert get([answer(status=429, retry_after="7"), answer(BODY)])[0] == BODY
    assert waits == [7]


def test_a_server_may_say_until_when_to_wait(waits, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: NOW)
    until = formatdate(NOW + 20, usegmt=True)
    assert get([answer(status=503, retry_after=until), answer(BODY)])[0] == BODY
    assert waits == [20]


@pytest.mark.parametrize("retry_after", ["0", formatdate(0, usegmt=True)])
def test_a_wait_that_is_over_is_none(retry_after, waits):
    assert get([answer(status=429, retry_after=retry_after), answer(BODY)])[0] == BODY
    assert waits == [0]


@pytest.mark.parametrize(
    "retry_after", ["-5", "soon", "nan", "Mon, 99 Foo 2024 99:99:99 GMT", "1 Jan 0001 -9999"]
)
def test_a_wait_that_makes_no_sense_is_our_own(retry_after, waits):
    assert get([answer(status=429, retry_after=retry_after), answer(BODY)])[0] == BODY
    assert waits == [0.001]


@pytest.mark.parametrize(
    "retry_after",
    ["31", "9" * 5000, formatdate(NOW + 31, usegmt=True)],
    ids=["seconds", "many digits", "a date"],
)
def test_a_server_that_asks_for_too_long_a_wait_is_not_waited_for(retry_after, waits, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: NOW)
    error, requests_made = refusal(answer(status=429, retry_after=retry_after))
    assert (error.code, requests_made, waits) == (FAILED, 1, [])
    assert "429 Too Many Requests" in error.message
    assert "wait longer than 30 s" in error.message


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(status):
    with serve({"/": answer(status=status, location="cat"), "/cat": answer(BODY)}) as server:
        assert fetch(server.url(), options_for(server)) == BODY


def test_five_redirects_are_followed_and_six_are_not():
    routes = {f"/{step}": answer(status=302, location=f"/{step - 1}") for step in range(1, 7)}
    with serve({**routes, "/0": answer(BODY)}) as server:
        assert fetch(server.url("/5"), options_for(server)) == BODY
        server.heads.clear()
        error = failure(server.url("/6"), options_for(server))
    assert error.code is FAILED
    assert "more than 5 redirects" in error.message
    assert len(server.heads) == 6


def test_a_redirect_in_a_circle_ends():
    error, requests_made = refusal(answer(status=302, location="/"))
    assert (error.code, requests_made) == (FAILED, 6)


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        ("/b\u00fccher".encode(), "/b%C3%BCcher"),
        (b"/a cat", "/a%20cat"),
        (b"?page=2", "/?page=2"),
        (b"  /spaces  ", "/spaces"),
    ],
)
def test_a_redirect_is_understood_as_a_browser_does(location, asked):
    reply = answer(status=302, location="HERE").replace(b"HERE", location)
    with serve({"/": reply, asked: answer(BODY)}) as server:
        assert fetch(server.url(), options_for(server)) == BODY


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/cat.png",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "http://[::1",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:0/",
        "//:80/",
        "http://exa mple/",
        "http://\x7f/",
    ],
)
def test_a_redirect_to_what_is_no_web_address_is_refused(location):
    error, requests_made = refusal(answer(status=302, location=location))
    assert (error.code, requests_made) == (REFUSED, 1)
    assert "redirect" in error.message


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("http://169.254.169.254/latest/meta-data/", "169.254.169.254"),
        ("http://[::1]/", "::1"),
        ("http://[::ffff:10.0.0.1]/", "10.0.0.1"),
        ("http://0x7f000001/", "127.0.0.1"),
        ("//localhost/", "localhost"),
    ],
)
def test_a_redirect_to_a_private_address_is_refused(location, shown):
    error, requests_made = refusal(answer(status=302, location=location))
    assert (error.code, requests_made) == (REFUSED, 1)
    assert shown in error.message
    assert "--allow-host" in error.message


def test_a_redirect_to_another_port_of_an_allowed_host_is_refused():
    with serve({"/": answer(BODY)}) as other:
        error, _ = refusal(answer(status=302, location=other.url()))
    assert error.code is REFUSED
    assert other.heads == []


def test_the_body_of_a_redirect_is_not_read():
    """requests would read it to its end, and unpack it on the way."""
    start = answer(status=302, location="/cat", content_length=None)
    with serve({"/": dripping(start, bytes(1 << 16)), "/cat": answer(BODY)}) as server:
        assert fetch(server.url(), options_for(server)) == BODY


def test_a_redirect_from_https_to_http_is_refused(trusted):
    with serve({"/": answer(BODY)}) as plain:
        routes = {"/": answer(status=302, location=plain.url()), "/cat": answer(BODY)}
        with serve(routes, tls=True) as secure:
            assert fetch(secure.url("/cat"), options_for(secure)) == BODY
            error = failure(secure.url().replace("https", "HttpS"), options_for(secure, plain))
    assert error.code is REFUSED
    assert "https" in error.message
    assert plain.heads == []


def test_a_redirect_from_http_to_https_is_followed(trusted):
    with (
        serve({"/": answer(BODY)}, tls=True) as secure,
        serve({"/": answer(status=301, location=secure.url())}) as plain,
    ):
        assert fetch(plain.url(), options_for(plain, secure)) == BODY


# Sizes


def test_a_body_of_the_largest_size_is_accepted_and_one_more_byte_is_not():
    assert get(answer(bytes(1000)), max_bytes=1000)[0] == bytes(1000)
    for headers in ({}, {"content_length": None}):
        error, requests_made = refusal(answer(bytes(1001), **headers), max_bytes=1000)
        assert (error.code, requests_made) == (TOO_LARGE, 1)
        assert "1,000 bytes" in error.message


@pytest.mark.parametrize("length", ["100001", "9" * 60, "100001, 100001"])
def test_a_body_that_is_declared_too_large_is_not_waited_for(length):
    reply = dripping(answer(content_length=length), b"")
    assert refusal(reply)[0].code is TOO_LARGE


@pytest.mark.parametrize(
    ("start", "block"),
    [
        (answer(content_length=None), bytes(1 << 16)),
        (CHUNKED, b"10000\r\n" + bytes(1 << 16) + b"\r\n"),
        (answer(content_length="9" * 5000), bytes(1 << 16)),
        (answer(content_length=-5), bytes(1 << 16)),
    ],
    ids=["until the end", "chunked", "absurd length", "negative length"],
)
def test_an_endless_body_is_stopped(start, block):
    error, requests_made = refusal(endless(start, block))
    assert (error.code, requests_made) == (TOO_LARGE, 1)


# Broken answers


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"", "closed"),
        (answer(BODY, content_length=len(BODY) + 1), "closed"),
        (CHUNKED + b"5\r\nabc", "closed"),
        (CHUNKED + b"5\r\nabcde\r\n", "closed"),
        (CHUNKED + b"garbage\r\n", ""),
        (CHUNKED + b"-5\r\nabcde\r\n0\r\n\r\n", ""),
        (answer(BODY, content_length="5, 6"), "not valid HTTP"),
        (b"\x89PNG\r\n\r\n", "not valid HTTP"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "not valid HTTP"),
        (b"HTTP/9 200 OK\r\n\r\n", "not valid HTTP"),
        (b"HTTP/1.1 200 " + b"O" * 70_000 + b"\r\n\r\n", "not valid HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", "not valid HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200 + b"\r\n", "not valid HTTP"),
        (resetting(b""), "reset"),
        (resetting(answer(BODY, content_length=9000)), "reset"),
    ],
)
def test_a_broken_answer_fails_after_retries(reply, reason):
    error, requests_made = refusal(reply)
    assert (error.code, requests_made) == (FAILED, 3)
    assert reason in error.message


def test_a_body_cut_short_is_fetched_again():
    assert get([answer(BODY, content_length=99), answer(BODY)])[0] == BODY


def test_a_closed_port_fails_after_retries(waits):
    with serve({}) as server:
        pass
    error = failure(server.url(), options_for(server))
    assert error.code is FAILED
    assert "refused" in error.message.lower()
    assert len(waits) == 2


# Times


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (answer(content_length=90_000), b"x"),
        (answer(content_length=None), b"x"),
        (CHUNKED, b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (CHUNKED + b"0\r\n", b"X: x\r\n"),
    ],
    ids=["body", "body of unknown length", "chunks", "headers", "100 Continue", "trailers"],
)
def test_a_drip_ends_at_the_total_time(start, drop, monkeypatch):
    clock, outlasted = Clock(monkeypatch), []

    def drip(connection, over):
        connection.sendall(start)
        for _ in range(3):
            connection.sendall(drop)
            clock.go_on(1)
        # For ever, if nobody had to wait for the end of a download that goes on.
        for _ in range(round(PATIENCE / 0.01)):
            connection.sendall(drop)
            if over.wait(0.01):
                return
        outlasted.append(connection)

    error, requests_made = refusal(drip, total_seconds=3)
    assert (error.code, requests_made) == (TIMEOUT, 1)
    assert error.message == "took longer than 3 s"
    assert not outlasted


@pytest.mark.parametrize("start", [answer(content_length=None), b"HTTP/1.1 200 OK\r\nX: "])
def test_a_drip_over_tls_ends_at_the_total_time(start, trusted):
    with serve({"/": dripping(start, b"x")}, tls=True) as server:
        error = failure(server.url(), options_for(server, total_seconds=0.5))
    assert error.code is TIMEOUT
    assert error.message == "took longer than 0.5 s"


@pytest.mark.parametrize("start", [None, answer(content_length=5)], ids=["no answer", "no body"])
def test_silence_ends_at_the_read_time(start):
    reply = silence if start is None else dripping(start, b"")
    error, requests_made = refusal(reply, read_seconds=0.2)
    assert (error.code, requests_made) == (TIMEOUT, 1)
    assert "did not answer in time" in error.message


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("limits", [{"read_seconds": 0.2, "connect_seconds": 0.2}, {}])
def test_a_connection_that_nobody_accepts_ends(scheme, limits):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        options = options_for(allowed_hosts=frozenset({host}), total_seconds=0.4, **limits)
        error = failure(f"{scheme}://{host}/", options)
    assert error.code is TIMEOUT


def test_connecting_ends_at_the_connect_time_and_is_not_retried(monkeypatch, resolve, waits):
    given_times = []

    def connect(sock, _address):
        given_times.append(sock.gettimeout())
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket.socket, "connect", connect)
    resolve(PUBLIC_ADDRESS)
    error = failure("http://far.example/", options_for(connect_seconds=0.25))
    assert error.code is TIMEOUT
    assert "did not answer in time" in error.message
    assert (given_times, waits) == ([0.25], [])


def test_a_deadline_met_while_connecting_holds(monkeypatch):
    clock, connect = Clock(monkeypatch), socket.socket.connect

    def late(sock, address):
        clock.go_on(2)
        connect(sock, address)

    monkeypatch.setattr(socket.socket, "connect", late)
    error, requests_made = refusal(silence, total_seconds=1)
    assert (error.message, requests_made) == ("took longer than 1 s", 0)


def test_many_dead_addresses_share_the_total_time(monkeypatch, resolve):
    clock, limits = Clock(monkeypatch), []

    def connect(sock, _address):
        limits.append(sock.gettimeout())
        clock.go_on(limits[-1])
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket.socket, "connect", connect)
    resolve(*(f"93.184.215.{number}" for number in range(1, 100)))
    options = options_for(connect_seconds=2, total_seconds=3)
    assert failure("http://far.example/", options).code is TIMEOUT
    assert limits == [2, 1]


# Addresses


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cat.png",
        "file:///etc/passwd",
        "ftp://example.com/cat.png",
        "httpx://example.com/",
        "http:",
        "http://",
        "http:///cat.png",
        "http://:80/",
        "http://me:pass@/",
        "http://[::1/",
        "http://[nonsense]/",
        "http://example.com:99999/",
        "http://example.com:-1/",
        "http://example.com:0/",
        "http://example.com:port/",
        "http://exa mple.com/",
        "http://example.com\x00/",
        "http://.example.com/",
        "http://*.example.com/",
        "http://\u00fc" + "x" * 70 + ".example/",
        "http://\u4e2d:pass@example.com/",
        "\x01http://example.com/",
    ],
)
def test_what_is_no_web_address_is_refused_unasked(url, resolve, waits):
    asked = resolve("10.0.0.1")
    error = failure(url, FetchOptions())
    assert error.code is REFUSED
    assert "not a valid http or https address" in error.message
    assert (asked, waits) == ([], [])


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "2130706433", "0x7f.1"])
def test_private_addresses_are_refused_and_the_message_says_what_helps(host, waits):
    error = failure(f"http://{host}/", FetchOptions())
    assert error.code is REFUSED
    assert f"--allow-host {host.strip('[]')}" in error.message.replace("[", "").replace("]", "")
    assert waits == []


@pytest.mark.parametrize("private", ["127.0.0.1", "10.0.0.1", "::1", "64:ff9b::7f00:1"])
def test_one_private_address_among_public_ones_is_refused(private, resolve, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", mock.Mock(side_effect=AssertionError))
    asked = resolve(PUBLIC_ADDRESS, private)
    error = failure("http://rebinding.example/", FetchOptions())
    assert error.code is REFUSED
    assert private in error.message
    assert asked == ["rebinding.example"]


def test_a_name_is_resolved_once_a_connection(resolve):
    with serve({"/": answer(status=302, location="/cat"), "/cat": answer(BODY)}) as server:
        port = server.host.rpartition(":")[2]
        asked = resolve("127.0.0.1")
        options = options_for(allowed_hosts=frozenset({"changing.example"}))
        assert fetch(f"http://changing.example:{port}/", options) == BODY
    assert asked == ["changing.example"] * 2


def test_a_peer_that_was_not_vetted_gets_no_byte(resolve, monkeypatch):
    with serve({"/": answer(BODY)}) as server:
        port = int(server.host.rpartition(":")[2])
        connect = socket.socket.connect
        elsewhere = lambda sock, _address: connect(sock, ("127.0.0.1", port))  # noqa: E731
        monkeypatch.setattr(socket.socket, "connect", elsewhere)
        resolve(PUBLIC_ADDRESS)
        error = failure(f"http://diverted.example:{port}/", options_for())
    assert error.code is REFUSED
    assert server.heads == []


def test_the_next_address_is_tried_where_one_does_not_answer(resolve):
    with serve({"/": answer(BODY)}) as server:
        port = server.host.rpartition(":")[2]
        resolve("127.0.0.2", "127.0.0.1")
        options = options_for(allowed_hosts=frozenset({f"two.example:{port}"}))
        assert fetch(f"http://two.example:{port}/", options) == BODY


@pytest.mark.parametrize(
    ("problem", "retries"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), 0),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), 2),
        (UnicodeError("label too long"), 0),
    ],
)
def test_a_host_that_cannot_be_found_is_named(problem, retries, monkeypatch, waits):
    monkeypatch.setattr(socket, "getaddrinfo", mock.Mock(side_effect=problem))
    error = failure("http://me:pass@nowhere.example/", FetchOptions())
    assert error.code is FAILED
    assert "host nowhere.example cannot be found" in error.message
    assert len(waits) == retries


def test_a_redirect_to_an_endless_name_is_told_shortly():
    error, _ = refusal(answer(status=302, location=f"http://{'a' * 9000}/"))
    assert error.code is FAILED
    assert "cannot be found" in error.message


# TLS


def test_a_certificate_that_nobody_signed_is_refused():
    with serve({"/": answer(BODY)}, tls=True) as server:
        error = failure(server.url(), options_for(server))
    assert error.code is FAILED
    assert "no secure connection (unable to get local issuer certificate)" in error.message
    assert server.heads == []


def test_authorities_are_read_once_for_all_downloads(trusted, monkeypatch):
    """Reading them takes longer than a download."""
    load, loaded = ssl.SSLContext.load_verify_locations, []

    def recorded(context, file):
        loaded.append(file)
        load(context, file)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", recorded)
    with serve({"/": answer(BODY)}, tls=True) as server, ThreadPoolExecutor(4) as pool:
        bodies = list(pool.map(fetch, [server.url()] * 12, [options_for(server)] * 12))
    assert bodies == [BODY] * 12
    assert len(loaded) == 1


def test_a_certificate_of_another_host_is_refused(resolve, trusted):
    with serve({"/": answer(BODY)}, tls=True) as server:
        port = server.host.rpartition(":")[2]
        resolve("127.0.0.1")
        options = options_for(allowed_hosts=frozenset({"other.example"}))
        error = failure(f"https://other.example:{port}/", options)
    assert error.code is FAILED
    assert "no secure connection" in error.message
    assert "other.example" in error.message
    assert server.heads == []


def test_https_from_a_server_that_speaks_http_fails():
    with serve({"/": answer(BODY)}) as server:
        error = failure(server.url().replace("http:", "https:"), options_for(server))
    assert error.code is FAILED
    assert "no secure connection" in error.message


# What is left behind


@pytest.mark.parametrize(
    "reply",
    [
        answer(BODY),
        answer(status=404),
        resetting(b"HTTP"),
        silence,
        answer(BODY, content_length="5, 6"),
    ],
    ids=["done", "failed", "reset", "out of time", "headers that urllib3 rejects"],
)
def test_no_socket_and_no_timer_is_left(reply, monkeypatch):
    made = []

    class Recorded(socket.socket):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            if threading.current_thread() is threading.main_thread():  # not the server's
                made.append(self)

    with serve({"/": reply}) as server:
        monkeypatch.setattr(socket, "socket", Recorded)
        with suppress(InputError):
            fetch(server.url(), options_for(server, read_seconds=0.2))
    assert made
    assert [sock.fileno() for sock in made] == [-1] * len(made)
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join(PATIENCE / 2)  # it was set to more
            assert not thread.is_alive()


def test_ctrl_c_ends_a_download_at_once():
    def reply(_connection, over):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        over.wait()

    with serve({"/": reply}) as server, pytest.raises(KeyboardInterrupt):
        fetch(server.url(), options_for(server))
    assert len(server.heads) == 1


def test_ctrl_c_ends_a_wait_between_attempts(monkeypatch):
    monkeypatch.setattr(time, "sleep", mock.Mock(side_effect=KeyboardInterrupt))
    with serve({"/": answer(status=500)}) as server, pytest.raises(KeyboardInterrupt):
        fetch(server.url(), options_for(server))


# Whatever comes

HEADERS_OF_MEANING = [
    *(f"Content-Length: {value}" for value in ("5", "5, 5", "5, 6", "-1", "", "1e3")),
    *(f"Location: {value}" for value in ("/", "//", "http://[", "file:///", "\x00", "")),
    *(f"Retry-After: {value}" for value in ("5", "-", "Mon, 01 Jan 0001 00:00:00 -9999", "0 ")),
    "Transfer-Encoding: chunked",
    "Content-Encoding: gzip",
    "Content-Type: text/html; charset",
    "Connection: close",
    "Set-Cookie: a=b; c; expires=0; path=\xff",
]
HEADERS = st.lists(st.sampled_from(HEADERS_OF_MEANING) | st.text(st.characters(codec="latin-1")))
STATUS_LINES = st.sampled_from(
    ["HTTP/1.1 200 OK", "HTTP/1.0 200", "HTTP/1.1 302 Found", "HTTP/1.1 429", "HTTP/1.1 100"]
) | st.text(st.characters(codec="latin-1"), max_size=40)


@st.composite
def raw_answers(draw):
    lines = [draw(STATUS_LINES), *draw(HEADERS), "", ""]
    return "\r\n".join(lines).encode("latin-1") + draw(st.binary(max_size=60))


@pytest.fixture(scope="module")
def fickle():
    """A server whose answer can be changed: the server, and a list that holds its answer."""
    current = [b""]
    with serve({"/": lambda connection, _over: connection.sendall(current[0])}) as server:
        yield server, current


@settings(max_examples=150, deadline=None, derandomize=True)
@given(raw=raw_answers() | st.binary(max_size=100))
@example(raw=answer(status=302, location="http://[").replace(b"302", b"307"))
@example(raw=answer(BODY, content_length="9" * 5000))
def test_whatever_a_server_says_only_an_input_error_comes_of_it(fickle, raw):
    server, current = fickle
    current[0] = raw
    with mock.patch.object(socket, "getaddrinfo", only_addresses):
        try:
            outcome = fetch(server.url(), options_for(server, retries=0, total_seconds=2))
        except InputError as error:
            outcome = error
    assert isinstance(outcome, bytes) or outcome.message.isprintable()


def only_addresses(host, port, *arguments, **keywords):
    """Resolve as ever what is an address, and no name: tests ask no name server."""
    return _getaddrinfo(host, port, *arguments, **{**keywords, "flags": socket.AI_NUMERICHOST})


_getaddrinfo = socket.getaddrinfo


@settings(max_examples=200, deadline=None, derandomize=True)
@given(rest=st.text(max_size=30) | st.text("/:@[]%?#.0aü \t\\", max_size=20))
@example(rest="a\x00b/")
@example(rest="[fe80::1%eth0]/")
@example(rest="\udcff/\udcff")
@example(rest="me:\udcff@x/")
def test_whatever_a_url_holds_only_an_input_error_comes_of_it(rest):
    nowhere = mock.Mock(side_effect=socket.gaierror(socket.EAI_NONAME, "not known"))
    with mock.patch.object(socket, "getaddrinfo", nowhere), pytest.raises(InputError) as caught:
        fetch("http://" + rest, FetchOptions())
    assert caught.value.message.isprintable()
