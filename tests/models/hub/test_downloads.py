"""Every way for a download to go wrong: it ends with the right file, or with a clear message."""

import hashlib
import os
import pty
import random
import re
import signal
import socket
import termios
from contextlib import suppress

import pytest
from command import PATIENCE, ROOT
from fake_hub import COMMIT, Answer, Fault, ask, environment, outcome, serve, start

TINY = ROOT / "src" / "clipcli" / "assets" / "tiny"
BODY = random.Random(5).randbytes(20_000).hex().encode()
CUTS = sorted(random.Random(6).sample(range(1, len(BODY)), 3))
HASH = hashlib.sha256(BODY).hexdigest()
A = ("org/name", "a.txt", {})


@pytest.fixture
def hub():
    with serve() as running:
        yield running


def cached(home):
    """All content in the hub's cache, whole or not."""
    return sorted(path.name for path in home.glob("hf/hub/models--*/blobs/*"))


def faulty(hub, *faults, **answer):
    hub.answers = {"org/name/a.txt": Answer(BODY, faults=list(faults), **answer)}


def test_a_connection_that_breaks_anywhere_is_tried_again(hub, tmp_path):
    names = {}
    for kind in ("cut", "reset"):
        for place in (0, *CUTS, len(BODY) - 1):
            names[f"{kind}-{place}.txt"] = kind
            # A body of its own each: the cache keeps equal ones once.
            body = f"{kind} {place}".encode() + BODY
            hub.answers[f"org/name/{kind}-{place}.txt"] = Answer(body, faults=[Fault(kind, place)])
    result = ask(hub.url, tmp_path, *(("org/name", name, {}) for name in names))
    for name, found in zip(names, result.found, strict=True):
        assert found.encode() == hub.answers[f"org/name/{name}"].body, name
        assert hub.downloads(name) == 2
    # A cut the client itself gets over, a reset it does not.
    assert len(result.told) == list(names.values()).count("reset")
    assert re.fullmatch(r"org/name: reset-0\.txt: .*; trying again in 1 s", result.told[0])


def test_a_connection_that_keeps_breaking_is_given_up(hub, tmp_path):
    faulty(hub, *[Fault("reset")] * 9)
    result = ask(hub.url, tmp_path, A)
    assert result.found[0].startswith(f"HubError: {hub.url}/org/name/resolve/main/")
    assert "reset" in result.found[0]
    assert result.pauses == [1, 2, 4]
    assert hub.downloads("a.txt") == 4
    assert cached(tmp_path) == []


def test_a_body_of_the_wrong_size_is_refused(hub, tmp_path):
    faulty(hub, size=len(BODY) + 1)
    result = ask(hub.url, tmp_path, A)
    assert "what was downloaded is not as long as it should be" in result.found[0]
    assert result.pauses == [1, 2, 4]
    assert cached(tmp_path) == []


@pytest.mark.parametrize("without_links", ["0", "1"])
def test_wrong_bytes_of_the_right_size_are_fetched_once_more(hub, tmp_path, without_links):
    faulty(hub, Fault("wrong"))
    result = ask(hub.url, tmp_path, A, HF_HUB_DISABLE_SYMLINKS=without_links)
    assert result.found == [BODY.decode()]
    assert result.told == [
        "org/name: a.txt: what was downloaded does not have the sha256 that it should have;"
        " trying again"
    ]
    assert cached(tmp_path) == ([HASH] if without_links == "0" else [])


def test_wrong_bytes_twice_are_refused_and_not_kept(hub, tmp_path):
    faulty(hub, etag="0" * 64)
    (message,) = ask(hub.url, tmp_path, A).found
    assert "does not have the sha256 that it should have" in message
    assert hub.downloads("a.txt") == 2
    assert cached(tmp_path) == []


def test_a_run_with_wrong_bytes_ends_before_a_model_is_loaded(hub, clipcli, photos, tmp_path):
    config, weights = "open_clip_config.json", "open_clip_model.safetensors"
    hub.answers = {
        f"org/name/{config}": Answer((TINY / config).read_bytes()),
        f"org/name/{weights}": Answer((TINY / weights).read_bytes(), etag="0" * 64),
    }
    arguments = (photos / "chelsea.png", "-l", "a cat", "-l", "a dog", "--model", "hf-hub:org/name")
    run = clipcli(*arguments, env=environment(hub.url, tmp_path))
    assert (run.returncode, run.stdout) == (5, b"")
    wrong = "what was downloaded does not have the sha256 that it should have"
    warning, error = run.stderr.decode().splitlines()
    assert warning == f"clipcli: warning: org/name: {weights}: {wrong}; trying again"
    told = f"clipcli: hf-hub:org/name cannot be had (org/name/{weights}: {wrong}): "
    assert error.startswith(told)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_busy_hub_is_asked_again_when_it_says(hub, tmp_path, method):
    busy = [Fault("busy", status=429, retry_after="7"), Fault("busy", status=503)]
    for fault in busy:
        fault.method = method
    faulty(hub, *busy)
    result = ask(hub.url, tmp_path, A)
    assert result.found == [BODY.decode()]
    assert result.pauses == [7, 2]
    assert result.told == [
        "org/name: a.txt: the hub answered 429, and asks to wait 7 s; trying again in 7 s",
        "org/name: a.txt: the hub answered 503; trying again in 2 s",
    ]


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_hub_that_stays_busy_is_given_up(hub, tmp_path, method):
    for_ever = [Fault("busy", method=method)] * 9
    for_a_day = [Fault("busy", method=method, status=429, retry_after="86400")]
    hub.answers = {
        "org/name/a.txt": Answer(BODY, faults=for_ever),
        "org/name/b.txt": Answer(BODY, faults=for_a_day),
    }
    result = ask(hub.url, tmp_path, A, ("org/name", "b.txt", {}))
    assert "/a.txt: the hub answered 503" in result.found[0]
    assert "/b.txt: the hub answered 429, and asks to wait 86400 s" in result.found[1]
    assert result.pauses == [1, 2, 4]
    assert cached(tmp_path) == []


@pytest.mark.parametrize(("listens", "reason"), [(True, "timed out"), (False, "refused")])
def test_an_unreachable_hub_ends_the_run(clipcli, photos, tmp_path, listens, reason):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connects, and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        if not listens:
            silent.close()
        model = "hf-hub:test-org/tiny"
        arguments = (photos / "chelsea.png", "-l", "a cat", "-l", "a dog", "--model", model, "-v")
        run = clipcli(*arguments, env=environment(url, tmp_path, HF_HUB_ETAG_TIMEOUT="1"))
    message, detail = run.stderr.decode().splitlines()
    assert (run.returncode, run.stdout) == (5, b"")
    assert message == (
        f"clipcli: {model} is not on this computer and the hub cannot be reached: `--model tiny`"
        f" works without; `clipcli pull {model}` once with a network"
    )
    assert detail.startswith(f"clipcli: {url}/test-org/tiny/resolve/main/open_clip_config.json: ")
    assert reason in detail


# Tells of each attempt to connect, and of each pause, however short.
WATCH = """
import socket
connect, wait = socket.socket.connect, time.sleep

def told_connect(self, address):
    told.append("connects")
    return connect(self, address)

def told_sleep(seconds):
    told.append(f"sleeps {seconds} s")

socket.socket.connect, time.sleep = told_connect, told_sleep
"""


@pytest.mark.parametrize("listens", [True, False])
def test_an_unreachable_hub_is_asked_once_and_then_nobody_waits(tmp_path, listens):
    """The hub's own client tries for half a minute."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        if not listens:
            silent.close()
        result = ask(url, tmp_path, A, first=WATCH, HF_HUB_ETAG_TIMEOUT="1")
    assert ("timed out" if listens else "Connection refused") in result.found[0]
    assert result.told == ["connects"]


def test_a_connection_that_is_never_made_is_given_up(tmp_path):
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):  # whoever comes next gets no answer at all
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        (message,) = ask(url, tmp_path, A, HF_HUB_ETAG_TIMEOUT="1").found
    assert f"{url}/org/name/resolve/main/a.txt: timed out" in message


# Time is up as soon as the hub stalls, and never where a busy machine keeps the client waiting. A
# wait that has another limit than the one that is set is an error that no test expects.
HURRY = """
import select, socket
from huggingface_hub import constants
constants.HF_HUB_DOWNLOAD_TIMEOUT = constants.HF_HUB_ETAG_TIMEOUT = 77
receive = socket.socket.recv

def receive_in_time(self, *arguments):
    readable, _, has_stalled = select.select([self], [], [self])
    if has_stalled and not readable:
        assert self.gettimeout() == 77, self.gettimeout()
        raise TimeoutError("timed out")
    return receive(self, *arguments)

socket.socket.recv = receive_in_time
"""


def test_a_body_that_stalls_is_taken_up_again_or_given_up(hub, tmp_path):
    hub.answers = {
        "org/name/a.txt": Answer(BODY, faults=[Fault("stall")]),
        "org/name/b.txt": Answer(BODY[:-1], faults=[Fault("stall")] * 20),
    }
    result = ask(hub.url, tmp_path, A, ("org/name", "b.txt", {}), first=HURRY)
    assert result.found[0] == BODY.decode()
    assert "/b.txt: timed out" in result.found[1]
    assert cached(tmp_path) == [HASH]
    assert hub.downloads("b.txt") == 6


def test_the_clients_own_patience_is_cut_short(hub, tmp_path):
    # It asks again what was answered already, and then waits a minute for each of six answers.
    faulty(hub, *[Fault("stall", method="HEAD")] * 20)
    hub.answers["org/name/a.txt"].faults.insert(0, Fault("none", method="HEAD"))
    (message,) = ask(hub.url, tmp_path, A, first=HURRY).found
    assert "/a.txt: timed out" in message
    assert len(hub.requests) == 2 + 6


def test_another_host_gets_no_token_and_no_message_shows_it(hub, tmp_path):
    token = "hf_" + "s" * 34
    with serve() as storage:
        storage.answers = {"org/name/stored": Answer(BODY)}
        location = f"{storage.url}/org/name/resolve/main/stored"
        hub.answers = {
            "org/name/a.txt": Answer(BODY, location=location),
            "org/name/b.txt": Answer(BODY, location=location, etag="1" * 64),
            "org/gated/a.txt": Answer(status=401, error="GatedRepo"),
        }
        wishes = (A, ("org/name", "b.txt", {}), ("org/gated", "a.txt", {}))
        result = ask(hub.url, tmp_path, *wishes, HF_TOKEN=token)
    assert result.found[0] == BODY.decode()
    assert set(hub.tokens) == {f"Bearer {token}"}
    assert len(storage.tokens) == 3
    assert set(storage.tokens) == {None}
    assert not any(token in text for text in (*result.found, *result.told))


def test_the_token_comes_from_the_hubs_own_file(hub, tmp_path):
    faulty(hub)
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_from_the_file\n")
    ask(hub.url, tmp_path, A)
    assert set(hub.tokens) == {"Bearer hf_from_the_file"}


@pytest.mark.parametrize("kind", ["cut", "wrong"])
def test_two_processes_at_once_download_once_and_both_get_it(hub, tmp_path, kind):
    faulty(hub, Fault("stall"), *[Fault("wrong")] * (kind == "wrong"))
    one = start(hub.url, tmp_path, A)
    assert hub.stalled.wait(PATIENCE)
    other = start(hub.url, tmp_path, A)
    waiting = "told: another process is downloading from org/name: waiting for it\n"
    assert other.stderr.readline() == waiting
    hub.released.set()
    assert [outcome(process).found for process in (one, other)] == [[BODY.decode()]] * 2
    # The stalled connection is cut in the end, and taken up again. The other process asks nothing.
    assert hub.downloads("a.txt") == 2 + (kind == "wrong")
    assert len(hub.requests) == 4 + 3 * (kind == "wrong")
    assert cached(tmp_path) == [HASH]


def test_a_killed_download_is_never_used_and_the_next_run_works(hub, tmp_path):
    faulty(hub, Fault("stall"))
    killed = start(hub.url, tmp_path, A)
    assert hub.stalled.wait(PATIENCE)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=PATIENCE)
    (left,) = (tmp_path / "hf" / "hub" / "models--org--name" / "blobs").iterdir()
    assert left.name.endswith(".incomplete")

    os.utime(left, (0, 0))
    hub.answers["org/name/b.txt"] = Answer(b"b")
    wishes = (("org/name", "b.txt", {}), ("org/name", "a.txt", {"offline": True}), A)
    b, offline, found = ask(hub.url, tmp_path, *wishes).found
    assert (b, found) == ("b", BODY.decode())
    assert "it is not in the cache" in offline
    # What was left of it takes no room any more.
    assert not left.exists()


# Folders that nobody may write to are writable to the superuser, but for these capabilities.
BE_NOBODY_SPECIAL = """
import ctypes, os
if os.getuid() == 0:
    version, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(version, none) == 0
"""


def test_a_cache_that_cannot_be_written_is_used_or_named(hub, tmp_path):
    faulty(hub)
    hub.answers["org/name/b.txt"] = Answer(b"b")
    assert ask(hub.url, tmp_path, A).found == [BODY.decode()]
    folders = [path for path in tmp_path.rglob("*") if path.is_dir()]
    for path in (tmp_path, *folders):
        path.chmod(0o555)
    wishes = (A, ("org/name", "a.txt", {"revision": "main"}), ("org/name", "b.txt", {}))
    result = ask(hub.url, tmp_path, *wishes, first=BE_NOBODY_SPECIAL)
    for path in (tmp_path, *folders):
        path.chmod(0o755)
    assert result.found[:2] == [BODY.decode()] * 2
    assert f"/b.txt: cannot write {tmp_path / 'hf' / 'hub'}/" in result.found[2]
    assert "(Permission denied): set HF_HOME to a folder that can take it" in result.found[2]


def test_a_full_disk_is_said_before_the_download(hub, tmp_path):
    faulty(hub, size=10**18)
    (message,) = ask(hub.url, tmp_path, A).found
    assert re.search(r"it needs 1,000,000,000,000 MB, and [0-9,]+ MB are free in /\S+: ", message)
    assert hub.downloads("a.txt") == 0


def test_a_terminal_sees_the_progress_and_nothing_else_does(hub, tmp_path):
    faulty(hub)
    quiet = start(hub.url, tmp_path / "1", A)
    assert quiet.communicate(timeout=PATIENCE)[1] == ""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    shown, watched = b"", start(hub.url, tmp_path / "2", A, stderr=theirs)
    os.close(theirs)
    with suppress(OSError):  # Linux's way to say that the last writer has gone
        while True:
            shown += os.read(ours, 1 << 16)
    os.close(ours)
    outcome(watched)
    assert b"a.txt: 100%" in shown


@pytest.mark.parametrize(
    ("revisions", "etag"),
    [({"main": "../main"}, HASH), ({"main": COMMIT}, "../../other"), ({COMMIT: "f" * 40}, HASH)],
    ids=["commit", "etag", "other commit"],
)
def test_an_answer_that_does_not_fit_is_no_hubs(hub, tmp_path, revisions, etag):
    faulty(hub, etag=etag)
    hub.revisions = revisions
    wish = ("org/name", "a.txt", {"revision": COMMIT} if COMMIT in revisions else {})
    (message,) = ask(hub.url, tmp_path, wish).found
    assert "the answer is not a model hub's: its commit or its etag is amiss" in message
    assert hub.downloads("a.txt") == 0
