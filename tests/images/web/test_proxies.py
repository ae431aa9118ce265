import socket
import traceback
from contextlib import suppress
from dataclasses import replace
from unittest import mock

import pytest
from fetching import failure, options_for, trust_test_servers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from web_server import FAR_HOST, answer, dripping, resetting, serve, silence, tunnel

from clipcli.errors import FailureCode, InputError, UsageError
from clipcli.images.web.fetch import fetch
from clipcli.images.web.options import FetchOptions
from clipcli.images.web.proxies import proxy_authorization, public_proxy

BODY = b"\x89PNG the bytes of an image"
HTTP_URL, HTTPS_URL = f"http://{FAR_HOST}/cat.png", f"https://{FAR_HOST}/cat.png"
CONNECT = f"{FAR_HOST}:443"
SECRET = "me:s%2Fcret@"
AUTHORIZATION = "Proxy-Authorization: Basic bWU6cy9jcmV0\r\n"
REFUSED, FAILED = FailureCode.URL_REFUSED, FailureCode.URL_FAILED
TIMEOUT = FailureCode.URL_TIMEOUT


def by(proxy, **changes):
    """Options of a user who names this server as the proxy and allows no private host."""
    return options_for(proxy=proxy.url("", SECRET), **changes)


@pytest.fixture
def trusted(monkeypatch, tmp_path):
    trust_test_servers(monkeypatch, tmp_path)


# What a proxy may be


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("HTTPS://proxy.example/", "https://proxy.example"),
        ("http://10.0.0.1", "http://10.0.0.1"),
        ("http://[::1]:3128", "http://[::1]:3128"),
        (f"http://{SECRET}localhost:1", "http://localhost:1"),
        ("http://a:b:c@proxy.example", "http://proxy.example"),
    ],
)
def test_a_proxy_is_an_http_or_https_host_and_shown_without_credentials(proxy, shown):
    options = FetchOptions(proxy=proxy)
    assert public_proxy(proxy) == shown
    assert "proxy" not in repr(options)


@pytest.mark.parametrize(
    "proxy",
    [
        "",
        "proxy.example:3128",
        "socks5://me:secret@proxy.example",
        "http://",
        "http://me:secret@",
        "http://me:secret@proxy.example/path",
        "http://me:secret@proxy.example?query",
        "http://me:sec/ret@proxy.example",
        "http://me:sec@ret@proxy.example",
        "http://me:s\u00e9cret@proxy.example",
        "http://me:secret@proxy.example:0",
        "http://me:secret@proxy.example:65536",
        "http://me:secret@proxy.example:port",
        "http://me:secret@pro xy.example",
        "http://me:secret@proxy.example\n",
        "http://me:secret@[::::]",
    ],
)
def test_what_is_no_proxy_is_refused_and_not_repeated(proxy):
    with pytest.raises(UsageError, match="--proxy must be http://HOST") as caught:
        FetchOptions(proxy=proxy)
    assert "secret" not in str(caught.value)
    assert "proxy.example" not in str(caught.value)


@pytest.mark.parametrize(
    ("user_info", "header"),
    [
        ("", {}),
        ("me@", {"Proxy-Authorization": "Basic bWU6"}),
        ("me:pass@", {"Proxy-Authorization": "Basic bWU6cGFzcw=="}),
        ("me:%C3%BC%3A@", {"Proxy-Authorization": "Basic bWU6w7w6"}),
    ],
)
def test_credentials_become_a_header(user_info, header):
    assert proxy_authorization(f"http://{user_info}proxy.example:3128") == header


# What goes through it


def test_an_http_address_is_asked_of_the_proxy_which_finds_the_host(monkeypatch):
    with serve({HTTP_URL: answer(BODY)}) as proxy:
        asked = mock.Mock(wraps=socket.getaddrinfo)
        monkeypatch.setattr(socket, "getaddrinfo", asked)
        assert fetch(HTTP_URL.replace("//", "//you:pass@"), by(proxy)) == BODY
    assert [call.args[0] for call in asked.call_args_list] == ["127.0.0.1"]
    head = proxy.heads[0]
    assert head.startswith(f"GET {HTTP_URL} HTTP/1.1\r\n")
    assert f"Host: {FAR_HOST}\r\n" in head
    assert AUTHORIZATION in head
    assert "Authorization: Basic eW91OnBhc3M=\r\n" in head


def test_the_environments_no_proxy_does_not_overrule_it(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with serve({HTTP_URL: answer(BODY)}) as proxy:
        assert fetch(HTTP_URL, by(proxy)) == BODY


@pytest.mark.parametrize("tls", [False, True], ids=["http proxy", "https proxy"])
def test_an_https_address_is_fetched_through_a_tunnel(tls, trusted):
    with (
        serve({"/cat.png": answer(BODY)}, tls=True) as server,
        serve({CONNECT: tunnel(server)}, tls=tls) as proxy,
    ):
        assert fetch(HTTPS_URL, by(proxy)) == BODY
    assert AUTHORIZATION in proxy.heads[0]
    assert "Proxy-" not in server.heads[0]  # the proxy's password is no business of the server's


def test_an_https_proxy_fetches_http_addresses(trusted):
    with serve({HTTP_URL: answer(BODY)}, tls=True) as proxy:
        assert fetch(HTTP_URL, by(proxy)) == BODY


@pytest.mark.parametrize("url", [HTTP_URL, HTTPS_URL])
def test_an_https_proxy_must_prove_who_it_is(url):
    """requests itself asks for no certificate where the address is an http one."""
    with serve({HTTP_URL: answer(BODY)}, tls=True) as proxy:
        error = failure(url, by(proxy))
    assert error.code is FAILED
    assert f"no secure connection to the proxy {proxy.url('')} (unable to get" in error.message
    assert proxy.heads == []


def test_a_server_behind_a_tunnel_must_prove_who_it_is(trusted):
    with (
        serve({"/": answer(BODY)}, tls=True) as server,
        serve({"other.example:443": tunnel(server)}) as proxy,
    ):
        error = failure("https://other.example/", by(proxy))
    assert error.code is FAILED
    assert "no secure connection (" in error.message
    assert f"(through the proxy {proxy.url('')})" in error.message
    assert server.heads == []


# What may not be asked of it

PRIVATE = [
    "http://127.0.0.1/",
    "https://10.0.0.1/",
    "http://[::1]:8080/",
    "http://0x7f000001/",
    "http://localhost/",
    "http://%31%32%37.0.0.1/",
]


@pytest.mark.parametrize("url", PRIVATE)
def test_a_private_address_is_not_asked_for(url):
    with serve({}) as proxy:
        error = failure(url, by(proxy))
    assert error.code is REFUSED
    assert "--allow-host" in error.message
    assert proxy.heads == []


@pytest.mark.parametrize("host", ["%2531.0.0.1", "^.example", "[fe80::1%25eth0]"])
def test_a_host_with_a_percent_sign_is_not_asked_for(host):
    """A proxy may decode it into what is private."""
    with serve({}) as proxy:
        error = failure(f"http://{host}/", by(proxy, allowed_hosts=frozenset({host})))
    assert error.code is REFUSED
    assert "percent sign" in error.message
    assert proxy.heads == []


@pytest.mark.parametrize("location", PRIVATE)
def test_a_redirect_to_a_private_address_is_not_followed(location):
    with serve({HTTP_URL: answer(status=302, location=location)}) as proxy:
        error = failure(HTTP_URL, by(proxy))
    assert error.code is REFUSED
    assert len(proxy.heads) == 1


@pytest.mark.parametrize("allowed", ["10.0.0.1", "10.0.0.1:80"])
def test_an_allowed_private_address_is_asked_for(allowed):
    with serve({"http://10.0.0.1/": answer(BODY)}) as proxy:
        options = by(proxy, allowed_hosts=frozenset({allowed}))
        assert fetch("http://10.0.0.1/", options) == BODY


# When it fails


@pytest.mark.parametrize(
    ("reply", "code", "reason", "requests_made"),
    [
        (answer(status=404), FAILED, "answered 404 Not Found", 1),
        (answer(status=407), FAILED, "answered 407 Proxy Authentication Required", 1),
        (answer(status=502), FAILED, "answered 502 Bad Gateway", 3),
        (answer(status=429, retry_after=90), FAILED, "wait longer than 30 s", 1),
        (b"\x89PNG\r\n\r\n", FAILED, "not valid HTTP", 3),
        (resetting(b""), FAILED, "reset", 3),
        (b"", FAILED, "closed too early", 3),
    ],
)
@pytest.mark.parametrize("url", [HTTP_URL, HTTPS_URL])
def test_a_failure_names_the_proxy_and_no_password(url, reply, code, reason, requests_made):
    if url == HTTPS_URL and "wait longer" in reason:
        requests_made, reason = 3, "answered 429"  # http.client does not tell a tunnel's headers
    with serve({HTTP_URL: reply, CONNECT: reply}) as proxy:
        error = failure(url, by(proxy))
    assert (error.code, len(proxy.heads)) == (code, requests_made)
    assert reason in error.message
    assert f"the proxy {proxy.url('')}" in error.message
    assert "cret" not in "".join(traceback.format_exception(error))  # as --debug shows it


def test_a_proxy_that_wants_a_password_is_told_apart():
    for url in (HTTP_URL, HTTPS_URL):
        with serve({HTTP_URL: answer(status=407), CONNECT: answer(status=407)}) as proxy:
            error = failure(url, by(proxy))
        assert error.message == (
            f"the proxy {proxy.url('')} answered 407 Proxy Authentication Required:"
            " name and password go into --proxy http://NAME:PASSWORD@HOST"
        )


def test_a_proxy_that_is_not_there_is_named():
    with serve({}) as proxy:
        pass
    for url in (HTTP_URL, HTTPS_URL):
        error = failure(url, by(proxy))
        assert error.code is FAILED
        message = f"the proxy {proxy.url('')} cannot be reached: Connection refused"
        assert error.message == message


def test_a_proxy_that_cannot_be_found_is_named(monkeypatch):
    problem = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    monkeypatch.setattr(socket, "getaddrinfo", mock.Mock(side_effect=problem))
    for url in (HTTP_URL, HTTPS_URL):
        error = failure(url, options_for(proxy=f"http://{SECRET}proxy.example:3128"))
        assert error.code is FAILED
        assert error.message.startswith("the proxy http://proxy.example:3128 cannot be found (")


@pytest.mark.parametrize("url", [HTTP_URL, HTTPS_URL])
def test_a_silent_proxy_ends_at_the_read_time(url):
    with serve({HTTP_URL: silence, CONNECT: silence}) as proxy:
        error = failure(url, by(proxy, connect_seconds=0.2, read_seconds=0.2))
    assert error.code is TIMEOUT
    assert "did not answer in time" in error.message
    assert f"the proxy {proxy.url('')}" in error.message


@pytest.mark.parametrize("url", [HTTP_URL, HTTPS_URL])
def test_a_drip_of_the_proxys_own_ends_at_the_total_time(url):
    drip = dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x")
    with serve({HTTP_URL: drip, CONNECT: drip}) as proxy:
        error = failure(url, by(proxy, total_seconds=0.3))
    assert error.code is TIMEOUT
    assert error.message == "took longer than 0.3 s"


@pytest.mark.parametrize("tls", [False, True], ids=["http proxy", "https proxy"])
def test_a_drip_through_a_tunnel_ends_at_the_total_time(tls, trusted):
    drip = dripping(answer(content_length=90_000), b"x")
    with (
        serve({"/cat.png": drip}, tls=True) as server,
        serve({CONNECT: tunnel(server)}, tls=tls) as proxy,
    ):
        error = failure(HTTPS_URL, by(proxy, total_seconds=0.5))
    assert error.code is TIMEOUT
    assert error.message == "took longer than 0.5 s"


@pytest.mark.parametrize("tls", [False, True], ids=["http proxy", "https proxy"])
@pytest.mark.parametrize("reply", [answer(BODY), answer(status=404), resetting(b"HTTP")])
def test_no_socket_is_left(tls, reply, trusted, monkeypatch):
    made = []
    connect = socket.socket.connect
    with (
        serve({"/cat.png": reply}, tls=True) as server,
        serve({CONNECT: tunnel(server)}, tls=tls) as proxy,
    ):
        port = int(proxy.host.rpartition(":")[2])

        def recorded(sock, address):
            if address == ("127.0.0.1", port):  # not the proxy's own to the server
                made.append(sock)
            return connect(sock, address)

        monkeypatch.setattr(socket.socket, "connect", recorded)
        with suppress(InputError):
            fetch(HTTPS_URL, by(proxy, retries=0))
    assert [sock.fileno() for sock in made] == [-1]


@pytest.fixture(scope="module")
def refusing_proxy():
    with serve({}) as proxy:
        yield proxy


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    scheme=st.sampled_from(["http://", "https://"]),
    rest=st.text(max_size=30) | st.text("/:@[]%?#.0a\u00fc \t\\\x7f", max_size=20),
)
@example(scheme="https://", rest="a\x00b/")
@example(scheme="https://", rest="[fe80::1%eth0]/")
@example(scheme="https://", rest="a%0d%0ab/")
@example(scheme="https://", rest="\udcff/\udcff")
def test_whatever_a_url_holds_only_an_input_error_comes_of_it(refusing_proxy, scheme, rest):
    refusing_proxy.heads.clear()
    options = FetchOptions(proxy=refusing_proxy.url(""))
    with pytest.raises(InputError) as caught:
        fetch(scheme + rest, replace(options, retries=0))
    assert caught.value.message.isprintable()
    assert len(refusing_proxy.heads) <= 1
