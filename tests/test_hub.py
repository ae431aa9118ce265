"""Downloads, the cache and offline runs, against a hub on loopback.

huggingface_hub reads its environment when it is imported, so each hub has its own process.
"""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import clean_environment
from fake_hub import Answer, serve

TINY = Path(__file__).parents[1] / "src" / "clipcli" / "assets" / "tiny"
REPOSITORY = "test-org/tiny"
MODEL = f"hf-hub:{REPOSITORY}"
FILES = ("open_clip_config.json", "open_clip_model.safetensors")

# Asks for [repository, file, offline] one after the other; prints what came of each.
ASK = """
import json, sys
from clipcli.errors import ModelError
from clipcli.hub import hub_file

def ask(repository, filename, offline):
    try:
        return hub_file(repository, filename, offline=offline).read_text()
    except ModelError as error:
        return f"ModelError: {error}"

print(json.dumps([ask(*wish) for wish in json.loads(sys.argv[1])]))
"""


@pytest.fixture
def hub():
    with serve() as running:
        yield running


def environment(url, home, **more):
    return {"HF_ENDPOINT": url, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1", **more}


def ask(url, home, *wishes, **more):
    command = [sys.executable, "-c", ASK, json.dumps(wishes)]
    env = {**clean_environment(), **environment(url, home, **more)}
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60)
    assert run.stderr == ""
    return json.loads(run.stdout)


@pytest.mark.slow
def test_a_model_is_downloaded_once_and_then_needs_no_hub(hub, clipcli, photos, tmp_path):
    hub.answers = {f"{REPOSITORY}/{name}": Answer((TINY / name).read_bytes()) for name in FILES}
    photo = photos / "chelsea.png"
    arguments = (photo, "-l", "a cat", "-l", "a dog", "--model", MODEL)
    first = clipcli(*arguments, env=environment(hub.url, tmp_path))
    hint = "' once makes every later start of this model faster"
    assert first.stderr.decode() == f"clipcli: 'clipcli pull {MODEL}{hint}\n"
    assert first.returncode == 0
    assert first.stdout.startswith(os.fsencode(photo) + b"\ta cat\t")
    assert {f"GET /{REPOSITORY}/resolve/main/{name}" for name in FILES} <= set(hub.requests)

    hub.requests.clear()
    second = clipcli(*arguments, "-q", env=environment(hub.url, tmp_path))
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, b"")
    assert hub.requests == []


def test_a_file_is_cached_and_found_there_offline(hub, tmp_path):
    hub.answers = {"org/name/a.txt": Answer(b"content")}
    found = ask(
        hub.url,
        tmp_path,
        ("org/name", "a.txt", True),
        ("org/name", "a.txt", False),
        ("org/name", "a.txt", False),
        ("org/name", "a.txt", True),
    )
    assert "it is not in the cache, and offline is set" in found[0]
    assert found[1:] == ["content"] * 3
    assert sum(request.startswith("GET /org") for request in hub.requests) == 1


@pytest.mark.parametrize("offline", [True, False])
def test_the_hubs_own_offline_switch_holds(hub, tmp_path, offline):
    (found,) = ask(hub.url, tmp_path, ("org/name", "a.txt", offline), HF_HUB_OFFLINE="1")
    assert "offline is set" in found
    assert hub.requests == []


def test_each_refusal_of_the_hub_is_said_in_its_own_words(hub, tmp_path):
    hub.answers = {
        "org/name/a.txt": Answer(b"content"),
        "org/name/forbidden.txt": Answer(status=403),
        "org/gated/a.txt": Answer(status=401, error="GatedRepo"),
        "org/private/a.txt": Answer(status=401),
    }
    words = {
        ("org/name", "b.txt"): "the repository holds no such file",
        ("org/nothing", "a.txt"): "there is no such repository, or it is private",
        ("org/name", "forbidden.txt"): "the hub answered 403",
        ("org/gated", "a.txt"): "the repository is gated: ask for access on its page",
        ("org/private", "a.txt"): "the hub answered 401",
    }
    found = ask(hub.url, tmp_path, *((*file, False) for file in words))
    for (repository, filename), message in zip(words, found, strict=True):
        url = f"{hub.url}/{repository}/resolve/main/{filename}"
        expected = f"ModelError: cannot get the model: {url}: {words[repository, filename]}"
        assert message.startswith(expected)
        assert message.endswith("--model tiny")
        assert "\n" not in message


def test_a_name_that_is_none_asks_no_hub(hub, tmp_path):
    names = ("a/b/c", "", "../tiny", "org/na me", "org/name@main")
    for message in ask(hub.url, tmp_path, *((name, "a.txt", False) for name in names)):
        assert "is not a repository's name: use hf-hub:org/name" in message
    assert hub.requests == []


def test_content_of_another_sha256_is_refused_and_not_kept(hub, tmp_path):
    hub.answers = {"org/name/a.txt": Answer(b"content", sha256="0" * 64)}
    wish = ("org/name", "a.txt", False)
    found = ask(hub.url, tmp_path, wish, wish, ("org/name", "a.txt", True))
    assert "does not have the sha256 that the hub names" in found[0]
    assert "does not have the sha256 that the hub names" in found[1]
    assert "it is not in the cache" in found[2]


def test_a_download_that_is_cut_is_tried_again_and_whole(hub, tmp_path):
    hub.answers = {"org/name/a.txt": Answer(b"content" * 10_000, cuts=1)}
    (found,) = ask(hub.url, tmp_path, ("org/name", "a.txt", False))
    assert found == "content" * 10_000


@pytest.mark.parametrize(("listens", "reason"), [(True, "timed out"), (False, "refused")])
def test_an_unreachable_hub_ends_the_run_within_seconds(clipcli, photos, tmp_path, listens, reason):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connects, and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        if not listens:
            silent.close()
        arguments = (photos / "chelsea.png", "-l", "a cat", "-l", "a dog", "--model", MODEL)
        start = time.monotonic()
        run = clipcli(*arguments, env=environment(url, tmp_path, HF_HUB_ETAG_TIMEOUT="1"))
        # The hub's own client tries for half a minute.
        assert time.monotonic() - start < 10
    message = run.stderr.decode()
    assert (run.returncode, run.stdout) == (5, b"")
    assert message.startswith(f"clipcli: cannot get the model: {url}/{REPOSITORY}/resolve/main/")
    assert message.count("\n") == 1
    for part in (reason, "--checkpoint FILE.safetensors", "--model ./FOLDER", "--model tiny"):
        assert part in message


def test_offline_without_the_model_ends_the_run(clipcli, photos, tmp_path):
    arguments = (photos / "chelsea.png", "-l", "a cat", "-l", "a dog", "--offline")
    for model in (MODEL, "ViT-B/32"):
        run = clipcli(*arguments, "--model", model, env={"HF_HOME": str(tmp_path)})
        assert (run.returncode, run.stdout) == (5, b"")
        assert b"it is not in the cache, and offline is set. Give the weights" in run.stderr
