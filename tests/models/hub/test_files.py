"""Files of a model hub: which commit is used, what is cached, and that it is what it was."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import ROOT, clean_environment
from fake_hub import COMMIT, Answer, ask, environment, serve

from clipcli.errors import ModelError
from clipcli.models.hub.cache import HubFile, MissingFileError, cache_root
from clipcli.models.hub.files import hub_file

TINY = ROOT / "src" / "clipcli" / "assets" / "tiny"
REPOSITORY = "test-org/tiny"
MODEL = f"hf-hub:{REPOSITORY}"
FILES = ("open_clip_config.json", "open_clip_model.safetensors")
NEWER = "f" * 40

A = ("org/name", "a.txt", {})
A_OFFLINE = ("org/name", "a.txt", {"offline": True})


@pytest.fixture
def hub():
    with serve() as running:
        yield running


def sha256(content):
    return hashlib.sha256(content).hexdigest()


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
    assert {f"GET /{REPOSITORY}/resolve/{COMMIT}/{name}" for name in FILES} <= set(hub.requests)

    hub.requests.clear()
    second = clipcli(*arguments, "-q", env=environment(hub.url, tmp_path))
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, b"")
    assert hub.requests == []


def test_a_file_is_downloaded_once_and_found_without_the_hubs_client(hub, tmp_path):
    hub.answers = {"org/name/a.txt": Answer(b"content")}
    first = ask(hub.url, tmp_path, A_OFFLINE, A, A, A_OFFLINE)
    assert "MissingFileError" in first.found[0]
    assert "it is not in the cache, and offline is set" in first.found[0]
    assert first.found[1:] == ["content"] * 3
    assert hub.downloads("a.txt") == 1

    hub.requests.clear()
    for wish in (A, A_OFFLINE):
        again = ask(hub.url, tmp_path, wish)
        assert (again.found, again.client) == (["content"], False)
    assert hub.requests == []


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_the_hubs_own_offline_switch_holds(hub, tmp_path, name):
    at_main = ("org/name", "a.txt", {"revision": "main"})
    code = """
from clipcli.models.hub.files import MissingFileError, hub_commit
try:
    hub_commit("org/name", "a.txt", "main")
except MissingFileError:
    told.append("unknown")
"""
    outcome = ask(hub.url, tmp_path, A, A_OFFLINE, at_main, first=code, **{name: "1"})
    assert all("offline is set" in found for found in outcome.found)
    assert outcome.told == ["unknown"]
    assert (hub.requests, outcome.client) == ([], False)


def test_each_refusal_of_the_hub_is_said_in_its_own_words(hub, tmp_path):
    hub.answers = {
        "org/name/a.txt": Answer(b"content"),
        "org/name/pytorch_model.bin": Answer(b"a pickle"),
        "org/name/forbidden.txt": Answer(status=403),
        "org/gated/a.txt": Answer(status=401, error="GatedRepo"),
        "org/private/a.txt": Answer(status=401),
    }
    words = {
        ("org/name", "model.safetensors", None): "the repository holds no such file",
        ("org/nothing", "a.txt", None): "there is no such repository, or it is private",
        ("org/name", "forbidden.txt", None): "the hub answered 403",
        ("org/name", "a.txt", "v9"): "the repository has no revision v9",
        ("org/gated", "a.txt", None): "the repository is gated: ask for access on its page",
        ("org/private", "a.txt", None): "the hub answered 401",
    }
    wishes = [(name, file, {"revision": revision}) for name, file, revision in words]
    outcome = ask(hub.url, tmp_path, *wishes)
    for (repository, filename, revision), message in zip(words, outcome.found, strict=True):
        url = f"{hub.url}/{repository}/resolve/{revision or 'main'}/{filename}"
        reason = words[repository, filename, revision]
        assert f"Error: {url}: {reason}" in message
        assert "\n" not in message
    # Nothing was tried in a missing file's place, and nothing twice.
    assert len(hub.requests) == len(words)
    assert outcome.told == []


@pytest.mark.parametrize(
    "name", ["a/b/c", "", "../tiny", "org/na me", "org/name@main", "org/", "org--name"]
)
def test_a_name_that_is_none_asks_no_hub(name):
    with pytest.raises(ModelError, match=r"is not a repository's name: use hf-hub:org/name"):
        hub_file(name, "a.txt")


@pytest.mark.parametrize("revision", ["", "..", "../main", "a//b", "a/../b", "/a", "a\0", "-x"])
def test_a_revision_that_is_none_asks_no_hub(revision):
    with pytest.raises(ModelError, match=r"is not a revision: use a branch, a tag, or a commit"):
        hub_file("org/name", "a.txt", revision=revision)


def test_a_mirrors_password_is_not_shown(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://me:secret@mirror.test/hub/")
    with pytest.raises(ModelError, match=r"^https://mirror\.test/hub/org/name/resolve/main/a"):
        hub_file("org/name", "a.txt", offline=True)


class TestRevisions:
    def test_the_first_commit_stays_until_main_is_asked_for(self, hub, tmp_path):
        for name in ("a.txt", "b.txt"):
            hub.answers[f"org/name/{name}"] = Answer(f"old {name}".encode())
            hub.answers[f"org/name/{name}@{NEWER}"] = Answer(f"new {name}".encode())
        assert ask(hub.url, tmp_path, A).found == ["old a.txt"]
        hub.revisions = {"main": NEWER, "v1": COMMIT}
        b = ("org/name", "b.txt", {})
        at_main = ("org/name", "a.txt", {"revision": "main"})
        at_first = ("org/name", "b.txt", {"revision": COMMIT})
        at_tag = ("org/name", "a.txt", {"revision": "v1"})
        at_tag_offline = ("org/name", "a.txt", {"revision": "v1", "offline": True})
        wishes = (A, b, at_tag, at_main, A, b, at_first, at_tag_offline)
        found = ask(hub.url, tmp_path, *wishes).found
        # All files are of one commit, whichever came first.
        expected = "old a, old b, old a, new a, new a, new b, old b, old a"
        assert ", ".join(found) == expected.replace(",", ".txt,") + ".txt"
        assert [hub.downloads(name) for name in ("a.txt", "b.txt")] == [2, 2]

    def test_a_commit_that_is_gone_is_named_with_the_way_on(self, hub, tmp_path):
        hub.answers = {"org/name/a.txt": Answer(b"a"), "org/name/b.txt": Answer(b"b")}
        ask(hub.url, tmp_path, A)
        hub.revisions = {"main": NEWER}
        (message,) = ask(hub.url, tmp_path, ("org/name", "b.txt", {})).found
        assert f"no revision {COMMIT}: --revision main takes today's" in message

    def test_a_file_that_the_commit_in_use_lacks_is_asked_for_once(self, hub, tmp_path):
        hub.answers = {"org/name/a.txt": Answer(b"a")}
        lacking = ("org/name", "b.txt", {})
        found = ask(hub.url, tmp_path, lacking, lacking, A, lacking, lacking).found
        assert all("MissingFileError" in found[place] for place in (0, 1, 3, 4))
        # Tomorrow's commit may have it, but not the one that is used from A on.
        assert sum(line.endswith("b.txt") for line in hub.requests) == 2

    def test_what_a_revision_means_is_asked_and_remembered(self, hub, tmp_path):
        hub.answers = {"org/name/a.txt": Answer(b"a")}
        hub.revisions = {"main": COMMIT, "v1": NEWER}
        code = """
from clipcli.models.hub.files import hub_commit
for revision, filename, offline in (("v1", "a.txt", False), ("v1", "none.txt", True)):
    told.append(hub_commit("org/name", filename, revision, offline=offline))
told.append(hub_commit("org/name", "none.txt", "main"))
"""
        assert ask(hub.url, tmp_path, first=code).told == [NEWER, NEWER, COMMIT]
        assert hub.requests == [
            "HEAD /org/name/resolve/v1/a.txt",
            "HEAD /org/name/resolve/main/none.txt",
        ]

    def test_another_tools_commit_is_used_for_what_it_did_not_cache(self, hub, tmp_path):
        hub.answers = {"org/name/a.txt": Answer(b"a"), "org/name/b.txt": Answer(b"b")}
        hub.revisions = {"main": NEWER, "v1": COMMIT}
        fill_cache(tmp_path / "hf" / "hub", b"a")
        b = ("org/name", "b.txt", {})
        assert ask(hub.url, tmp_path, A, b).found == ["a", "b"]
        assert hub.requests[-1] == f"GET /org/name/resolve/{COMMIT}/b.txt"


def fill_cache(root, content, name="", large=True):
    """A cache as another tool leaves it: a link to the content, which goes by its hash."""
    folder = root / "models--org--name"
    blob = folder / "blobs" / (name or (sha256(content) if large else "5" * 40))
    file = folder / "snapshots" / COMMIT / "a.txt"
    for path in (blob, file, folder / "refs" / "main"):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    file.symlink_to(blob)
    (folder / "refs" / "main").write_text(COMMIT)
    return file


class TestCachedFile:
    @pytest.fixture(autouse=True)
    def own_caches(self, tmp_path, monkeypatch):
        for name, value in environment("http://127.0.0.1:1", tmp_path).items():
            monkeypatch.setenv(name, value)

    @pytest.fixture
    def root(self, tmp_path):
        return tmp_path / "hf" / "hub"

    @pytest.mark.parametrize("large", [True, False])
    def test_what_another_tool_cached_is_used_and_noted(self, root, tmp_path, large):
        file = fill_cache(root, b"content", large=large)
        assert hub_file("org/name", "a.txt") == file
        (note,) = (tmp_path / "clipcli" / "pins").iterdir()
        assert json.loads(note.read_text()) == {
            "commits": {"main": COMMIT},
            "files": {f"{COMMIT}/a.txt": sha256(b"content")},
        }
        # The note outlives what another tool does to its own.
        (root / "models--org--name" / "refs" / "main").write_text(NEWER)
        assert hub_file("org/name", "a.txt") == file

    def test_what_cannot_be_noted_is_used_all_the_same(self, root, tmp_path):
        file = fill_cache(root, b"content")
        (tmp_path / "clipcli").write_text("in the way of a folder")
        assert hub_file("org/name", "a.txt") == file

    @pytest.mark.parametrize("stored", [True, False])
    def test_a_damaged_file_is_never_used(self, root, stored):
        file = fill_cache(root, b"content", name=sha256(b"contents"))
        if stored:  # in a place that several repositories share, where names mean something else
            blob = file.readlink()
            blob.rename(root / ("0" * 64))
            blob.symlink_to(root / ("0" * 64))
        with pytest.raises(ModelError, match="has changed since it was downloaded") as caught:
            hub_file("org/name", "a.txt", offline=True)
        assert str(file) in str(caught.value)
        assert f"is {sha256(b'content')} and was {sha256(b'contents')}" in str(caught.value)

    @pytest.mark.parametrize("offline", [True, False])
    def test_a_file_that_changed_is_refused_and_one_that_was_touched_is_not(self, root, offline):
        file = fill_cache(root, b"content", large=False)
        hub_file("org/name", "a.txt")
        os.utime(file, ns=(1, 1))
        assert hub_file("org/name", "a.txt", offline=offline) == file
        file.write_bytes(b"CONTENT")
        with pytest.raises(ModelError, match="Delete it, and it is downloaded again"):
            hub_file("org/name", "a.txt", offline=offline)

    def test_a_reference_that_is_no_commit_leads_nowhere(self, root):
        file = fill_cache(root, b"content")
        reference = root / "models--org--name" / "refs" / "main"
        for content in (b"", b"../snapshots/" + COMMIT.encode(), b"\xff"):
            reference.write_bytes(content)
            with pytest.raises(MissingFileError):
                hub_file("org/name", "a.txt", offline=True)
        assert hub_file("org/name", "a.txt", revision=COMMIT, offline=True) == file


def test_a_damaged_file_is_downloaded_anew_unless_it_was_right_before(hub, tmp_path):
    hub.answers = {"org/name/a.txt": Answer(b"content")}
    fill_cache(tmp_path / "hf" / "hub", b"CONTENT", name=sha256(b"content"))
    outcome = ask(hub.url, tmp_path, A, A)
    assert outcome.found == ["content"] * 2
    assert hub.downloads("a.txt") == 1


def test_a_cleared_cache_is_filled_with_the_same_file_or_not_at_all(hub, tmp_path):
    hub.answers = {"org/name/a.txt": Answer(b"content")}
    clear = "import os, shutil; shutil.rmtree(os.environ['HF_HOME'])"
    assert ask(hub.url, tmp_path, A).found == ["content"]
    assert ask(hub.url, tmp_path, A, first=clear).found == ["content"]
    hub.answers = {"org/name/a.txt": Answer(b"CONTENT")}
    (message,) = ask(hub.url, tmp_path, A, first=clear).found
    assert f"the hub names the sha256 {sha256(b'CONTENT')}, and at the first download" in message
    assert hub.downloads("a.txt") == 2
    # A small file's etag is no sha256; what comes is compared all the same.
    hub.answers = {"org/name/a.txt": Answer(b"CONTENT", etag="5" * 40)}
    (message,) = ask(hub.url, tmp_path, A).found
    assert "does not have the sha256 that it should have" in message


def test_the_cache_is_where_the_hubs_client_has_it(tmp_path, monkeypatch):
    settings = [
        {},
        {"XDG_CACHE_HOME": "$HOME/xdg"},
        {"HF_HOME": "~/home", "XDG_CACHE_HOME": "/xdg"},
        {"HUGGINGFACE_HUB_CACHE": "$HOME/legacy", "HF_HOME": "/home"},
        {"HF_HUB_CACHE": "~/cache", "HUGGINGFACE_HUB_CACHE": "/legacy"},
        {"HF_HUB_CACHE": "", "HF_HOME": ""},
    ]
    names = {name for setting in settings for name in setting}
    code = """
import json, os, sys
from importlib import reload
from huggingface_hub import constants
for setting in json.loads(sys.argv[1]):
    os.environ.update(setting)
    print(reload(constants).HF_HUB_CACHE)
    for name in setting:
        del os.environ[name]
"""
    env = {name: value for name, value in clean_environment().items() if name not in names}
    env["HOME"] = str(tmp_path)
    command = [sys.executable, "-c", code, json.dumps(settings)]
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    for setting, expected in zip(settings, run.stdout.splitlines(), strict=True):
        with pytest.MonkeyPatch.context() as patch:
            for name in names:
                patch.delenv(name, raising=False)
            for name, value in setting.items():
                patch.setenv(name, value)
            assert cache_root() == Path(expected), setting
            assert HubFile("a/b", "c").folder == Path(expected) / "models--a--b"


def test_offline_without_the_model_ends_the_run(clipcli, photos, tmp_path):
    arguments = (photos / "chelsea.png", "-l", "a cat", "-l", "a dog", "--offline")
    for model in (MODEL, "ViT-B/32"):
        run = clipcli(*arguments, "--model", model, env={"HF_HOME": str(tmp_path)})
        assert (run.returncode, run.stdout) == (5, b"")
        assert run.stderr.decode() == (
            f"clipcli: {model} is not on this computer and offline is set (--offline): `--model"
            f" tiny` works without; `clipcli pull {model}` once without --offline\n"
        )
