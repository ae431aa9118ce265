"""Prepared models on disk: whole or not at all, found by what they are, refused when spoiled."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from bundle_copies import FILES, MANIFEST, MODEL_FILES, TINY, copy_of_tiny, cut, prepare_copy

from clipcli.disk import folders, hashes
from clipcli.disk.folders import remove_abandoned, remove_folder, temporary_folder
from clipcli.disk.hashes import hash_file
from clipcli.disk.paths import hashes_folder
from clipcli.errors import ModelError, UsageError
from clipcli.models import bundles
from clipcli.models.bundles import (
    IMAGE_GRAPH,
    Bundle,
    Damaged,
    bundle_folder,
    check_preparable,
    find_bundle,
    open_bundle,
    prepared_bundles,
    steadily,
)
from clipcli.models.configurations import MANIFEST_FILE
from clipcli.models.hub.pins import pin
from clipcli.models.manifests import record_file
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest

EMPTY_FILE = {"size": 0, "sha256": hashlib.sha256().hexdigest()}
REPAIR = r"Repair it with 'clipcli pull MODEL', or use --engine torch$"

# Installs a small bundle many times over: arguments are its folder, its source, how many times, and
# whether folders can change places.
INSTALL = """
import sys
from pathlib import Path
from clipcli.disk import folders
from clipcli.models import bundles
folder, source, times, can_exchange = Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]
if can_exchange == "False":
    folders.exchange = lambda *_: False
for _ in range(int(times)):
    temporary = folders.temporary_folder(folder)
    temporary.mkdir()
    for file in source.iterdir():
        (temporary / file.name).write_bytes(file.read_bytes())
    bundles.install(temporary, folder)
"""

# Opens a bundle, one of its graphs with it, again and again until it is told to end.
READ = """
import sys
from pathlib import Path
from clipcli.models.bundles import open_bundle, steadily
folder, end, count = Path(sys.argv[1]), Path(sys.argv[2]), 0
def look():
    return [(folder / name).read_bytes() for name in ("image.onnx", "image.onnx.data")]
while not end.exists():
    assert open_bundle(folder).size == sum(len(name) for name in sys.argv[3:])
    assert steadily(folder, look) == [b"image.onnx", b"image.onnx.data"]
    count += 1
    print(count, flush=True)
"""


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPCLI_CACHE_DIR", str(tmp_path / "cache"))
    return copy_of_tiny(tmp_path / "copy")


@pytest.fixture
def bundle(spec):
    return prepare_copy(spec)


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that were hashed."""
    names = []

    def note(path):
        names.append(path.name)
        return hash_file(path)

    monkeypatch.setattr(hashes, "hash_file", note)
    return names


def change(path):
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


class TestFound:
    def test_by_every_way_to_its_folder(self, spec, bundle, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        for name in ("./copy", "copy/", f"{tmp_path}/copy/../copy"):
            found = find_bundle(resolve_model(ModelRequest(name)), "fp32")
            assert found is not None
            assert found.folder == bundle.folder

    def test_not_for_another_precision_configuration_or_preprocessing(self, spec, bundle):
        quick = replace(spec, config={**spec.config, "quick_gelu": True})
        squashed = replace(spec, preprocess={**spec.preprocess, "resize_mode": "squash"})
        assert find_bundle(spec, "fp32") == bundle
        assert find_bundle(spec, "int8") is None
        assert find_bundle(quick, "fp32") is None
        assert find_bundle(squashed, "fp32") is None

    def test_not_for_a_checkpoint_that_has_changed_since(self, spec, bundle):
        change(spec.weights)
        assert find_bundle(spec, "fp32") is None

    def test_by_the_commit_that_is_in_use_however_it_was_named(self, spec, monkeypatch, tmp_path):
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        name, old, new = "ViT-B/32", "a" * 40, "b" * 40
        hub_spec = resolve_model(ModelRequest(name))
        pin(hub_spec.weights.repository, "main", old, {})
        prepared = prepare_copy(hub_spec)
        assert find_bundle(hub_spec, "fp32") == prepared
        assert find_bundle(resolve_model(ModelRequest(name, revision=old)), "fp32") == prepared
        pin(hub_spec.weights.repository, "main", new, {})
        assert find_bundle(hub_spec, "fp32") is None

    def test_a_checkpoint_cannot_replace_what_is_prepared_already(self, bundle):
        for name in (str(bundle.folder), f"{bundle.folder}/"):
            with pytest.raises(UsageError, match=r"--checkpoint does not go with .* is prepared"):
                resolve_model(ModelRequest(name, Path("other.safetensors")))

    def test_the_bundled_models_graphs_are_not_for_a_checkpoint(self, spec):
        tiny = resolve_model(ModelRequest("tiny"))
        other = resolve_model(ModelRequest("tiny", checkpoint=spec.weights))
        assert find_bundle(tiny, "fp32").folder == TINY
        assert find_bundle(other, "fp32") is None

    def test_after_its_weights_are_gone_torch_has_the_word(self, spec, bundle):
        spec.weights.unlink()
        assert find_bundle(spec, "fp32") is None

    def test_models_with_long_and_strange_names_have_folders_of_their_own(self, spec):
        names = ["x" * 300, "../../etc", "a b\n", "hf-hub:org/name", "hf-hub:org:name"]
        specs = [replace(spec, name=name, folder=None) for name in names]
        folders = {bundle_folder(each, "fp32") for each in specs}
        assert {folder.parent for folder in folders} == {bundles.bundles_folder()}
        assert all(len(folder.name) < 120 for folder in folders)


class TestDamaged:
    @pytest.mark.parametrize("name", FILES)
    @pytest.mark.parametrize(
        ("damage", "words"),
        [
            (cut, "is not as long as it was"),
            (change, "has changed"),
            (Path.unlink, r"cannot be read \(No such file"),
        ],
        ids=["cut", "changed", "missing"],
    )
    def test_each_file_that_is_not_as_it_was(self, spec, bundle, name, damage, words):
        damage(bundle.folder / name)
        with pytest.raises(ModelError, match=rf"is damaged: {name} {words}.*{REPAIR}"):
            find_bundle(spec, "fp32")

    @pytest.mark.parametrize(
        "content",
        [
            "",
            "no json",
            "[]",
            "null",
            "\0",
            json.dumps({**MANIFEST, "format": 99}),
            json.dumps({key: MANIFEST[key] for key in MANIFEST if key != "logit_scale"}),
            json.dumps({key: MANIFEST[key] for key in MANIFEST if key != "files"}),
            json.dumps({**MANIFEST, "more": 1}),
            json.dumps({**MANIFEST, "files": {}}),
            json.dumps({**MANIFEST, "files": {"image.onnx": 3}}),
            json.dumps({**MANIFEST, "preprocess": {}}),
            json.dumps({**MANIFEST, "preprocess": None}),
            json.dumps({**MANIFEST, "preprocess": {**MANIFEST["preprocess"], "size": [64]}}),
            json.dumps({**MANIFEST, "preprocess": {**MANIFEST["preprocess"], "mean": "x"}}),
            json.dumps({**MANIFEST, "preprocess": {**MANIFEST["preprocess"], "std": [1, 1]}}),
            json.dumps({**MANIFEST, "embed_dim": "wide"}),
            json.dumps({**MANIFEST, "embed_dim": 0}),
            json.dumps({**MANIFEST, "context_length": True}),
            json.dumps({**MANIFEST, "logit_scale": float("nan")}),
            json.dumps({**MANIFEST, "logit_bias": None}),
            json.dumps({**MANIFEST, "activation": "tanh"}),
            json.dumps({**MANIFEST, "precision": ["fp32"]}),
            json.dumps({**MANIFEST, "versions": []}),
            json.dumps({**MANIFEST, "hub_tokenizer": {"a": 1}}),
            json.dumps(
                {**MANIFEST, "files": {**MANIFEST["files"], "../x": {"size": 1, "sha256": ""}}}
            ),
        ],
    )
    def test_a_manifest_that_is_none(self, spec, bundle, content):
        (bundle.folder / MANIFEST_FILE).write_text(content)
        with pytest.raises(ModelError, match=rf"its {MANIFEST_FILE} cannot be used .*{REPAIR}"):
            find_bundle(spec, "fp32")

    def test_a_manifest_that_is_missing(self, spec, bundle):
        (bundle.folder / MANIFEST_FILE).unlink()
        with pytest.raises(ModelError, match=rf"its {MANIFEST_FILE} cannot be used .*{REPAIR}"):
            find_bundle(spec, "fp32")

    def test_it_is_listed_by_name_while_that_can_be_read(self, spec, bundle):
        cut(bundle.folder / IMAGE_GRAPH)
        (found,) = prepared_bundles()
        assert isinstance(found, Damaged)
        assert (found.folder, found.model) == (bundle.folder, spec.name)
        (bundle.folder / MANIFEST_FILE).write_text("")
        (found,) = prepared_bundles()
        assert found.model is None


class TestNotes:
    """Of how the files look, in clipcli's own cache."""

    def test_files_that_look_as_they_did_are_not_read(self, bundle, hashed):
        open_bundle(bundle.folder)
        assert hashed == []

    def test_a_copy_is_hashed_once_and_nothing_is_written_into_it(self, bundle, tmp_path, hashed):
        copy = tmp_path / "elsewhere"
        shutil.copytree(bundle.folder, copy)
        before = {path.name: path.stat() for path in (copy, *copy.iterdir())}
        assert open_bundle(copy).manifest == bundle.manifest
        assert sorted(hashed) == FILES
        open_bundle(copy)
        assert sorted(hashed) == FILES
        after = {path.name: path.stat() for path in (copy, *copy.iterdir())}
        for name, status in before.items():
            assert (after[name].st_mtime_ns, after[name].st_size) == (
                status.st_mtime_ns,
                status.st_size,
            )
        assert after.keys() == before.keys()

    @pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "stamps"])
    def test_what_a_stranger_calls_its_stamps_is_neither_read_nor_written(
        self, bundle, tmp_path, hashed, kind
    ):
        copy, yours = tmp_path / "elsewhere", tmp_path / "yours"
        shutil.copytree(bundle.folder, copy)
        yours.write_text("yours")
        stamps = copy / "stamp.json"
        if kind == "pipe":
            os.mkfifo(stamps)
        elif kind == "stamps":
            change(copy / IMAGE_GRAPH)
            found = {name: (copy / name).stat() for name in FILES}
            told = {name: [s.st_size, s.st_mtime_ns, s.st_ino] for name, s in found.items()}
            stamps.write_text(json.dumps(told))
            with pytest.raises(ModelError, match=r"is damaged: image\.onnx has changed"):
                open_bundle(copy)
            return
        else:
            stamps.symlink_to(yours if kind == "link" else tmp_path / "new")
        assert open_bundle(copy).manifest == bundle.manifest
        assert yours.read_text() == "yours"
        assert not (tmp_path / "new").exists()
        assert sorted(hashed) == FILES

    @pytest.mark.parametrize("content", ["", "[]", "{", '{"sha256": 3}', "\0", "x" * (1 << 25)])
    def test_unreadable_ones_are_written_anew(self, bundle, hashed, content):
        notes = sorted(hashes_folder().iterdir())
        whole = [note.read_text() for note in notes]
        for note in notes:
            note.write_text(content)
        assert open_bundle(bundle.folder) == bundle
        assert sorted(hashed) == FILES
        assert [note.read_text() for note in notes] == whole

    def test_a_pipe_in_the_place_of_a_note_holds_nobody_up(self, bundle, hashed):
        for note in hashes_folder().iterdir():
            note.unlink()
            os.mkfifo(note)
        assert open_bundle(bundle.folder) == bundle
        assert sorted(hashed) == FILES

    def test_a_cache_that_cannot_be_written_to_serves_all_the_same(self, bundle, monkeypatch):
        shutil.rmtree(hashes_folder())

        def fail(*_arguments):
            raise PermissionError(13, "Read-only file system")

        monkeypatch.setattr(hashes, "write_text", fail)
        assert open_bundle(bundle.folder) == bundle


class TestInstall:
    @pytest.fixture
    def source(self, tmp_path):
        """A bundle of a few bytes: each file holds its name."""
        source = tmp_path / "source"
        source.mkdir()
        for name in FILES:
            (source / name).write_bytes(name.encode())
        files = {name: vars(record_file(source / name)) for name in FILES}
        (source / MANIFEST_FILE).write_text(json.dumps({**MANIFEST, "files": files}))
        return source

    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("CLIPCLI_CACHE_DIR", str(tmp_path / "cache"))
        folder = tmp_path / "models" / "bundle"
        folder.parent.mkdir()
        return folder

    def test_an_open_file_of_the_old_bundle_stays_readable(self, spec, bundle):
        with (bundle.folder / "image.onnx.data").open("rb") as file:
            prepare_copy(spec)
            assert not os.path.samestat(
                os.fstat(file.fileno()), (bundle.folder / "image.onnx.data").stat()
            )
            assert len(file.read()) == MANIFEST["files"]["image.onnx.data"]["size"]
        assert [path.name for path in bundle.folder.parent.iterdir()] == [bundle.folder.name]

    @pytest.mark.parametrize("can_exchange", [True, False])
    def test_many_at_once_leave_one_whole_bundle_and_nothing_else(
        self, folder, source, can_exchange
    ):
        command = [sys.executable, "-c", INSTALL, folder, source, "60", str(can_exchange)]
        running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
        ends = [(process.communicate()[1], process.returncode) for process in running]
        assert ends == [(b"", 0)] * 3
        assert isinstance(open_bundle(folder), Bundle)
        assert [path.name for path in folder.parent.iterdir()] == ["bundle"]

    @pytest.mark.parametrize("can_exchange", [True, False])
    def test_readers_find_it_whole_at_every_moment_while_it_is_replaced(
        self, tmp_path, folder, source, can_exchange
    ):
        install = [sys.executable, "-c", INSTALL, folder, source]
        subprocess.run([*install, "1", "True"], check=True)
        end = tmp_path / "end"
        readers = [
            subprocess.Popen(
                [sys.executable, "-c", READ, folder, end, *FILES],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for _ in range(2)
        ]
        for reader in readers:
            assert reader.stdout
            assert reader.stdout.readline() == b"1\n"
        subprocess.run([*install, "200", str(can_exchange)], check=True)
        end.touch()
        ends = [(reader.communicate()[1], reader.returncode) for reader in readers]
        assert ends == [(b"", 0)] * 2

    def test_the_new_one_is_in_place_before_the_old_one_goes(self, folder, source, monkeypatch):
        """Where folders can change places: at no moment is there none."""
        subprocess.run([sys.executable, "-c", INSTALL, folder, source, "1", "True"], check=True)
        temporary = temporary_folder(folder)
        shutil.copytree(source, temporary)
        before, seen = folder.stat(), []
        monkeypatch.setattr(
            folders.shutil,
            "rmtree",
            lambda *_, **__: seen.append(os.path.samestat(before, folder.stat())),
        )
        bundles.install(temporary, folder)
        assert seen == [False]
        assert open_bundle(folder)

    def test_a_look_at_files_that_are_replaced_meanwhile_is_taken_again(self, folder, source):
        shutil.copytree(source, folder)
        looks = []

        def look():
            looks.append(folder.stat().st_ino)
            if len(looks) < 3:
                shutil.copytree(source, temporary := temporary_folder(folder))
                bundles.install(temporary, folder)
            if len(looks) == 2:
                raise FileNotFoundError
            return len(looks)

        assert steadily(folder, look) == 3

    def test_what_is_wrong_with_files_that_stay_is_told_at_once(self, folder, source):
        shutil.copytree(source, folder)
        looks = []

        def look():
            looks.append(1)
            raise FileNotFoundError

        with pytest.raises(FileNotFoundError):
            steadily(folder, look)
        assert looks == [1]

    def test_a_place_that_is_no_folder_is_an_error(self, spec, tmp_path):
        folder = bundle_folder(spec, "fp32")
        folder.parent.mkdir(parents=True)
        folder.write_text("in the way")
        with pytest.raises(OSError, match="Not a directory"):
            prepare_copy(spec)

    def test_removing_what_is_gone_is_no_error(self, bundle):
        remove_folder(bundle.folder)
        remove_folder(bundle.folder)
        assert list(prepared_bundles()) == []


class TestAbandoned:
    @pytest.mark.parametrize("kind", ["new", "old"])
    def test_folders_of_dead_processes_go_and_others_stay(self, tmp_path, monkeypatch, kind):
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        # Not the parent: that of a job in the background may be the first process of all.
        living = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        bundle = tmp_path / "ViT-B-32-fp32-0123"

        def folder_of(process):
            monkeypatch.setattr(folders.os, "getpid", lambda: process)
            return temporary_folder(bundle, kind)

        gone = folder_of(dead.pid)
        alive, init = folder_of(living.pid), folder_of(1)
        monkeypatch.undo()
        stranger = tmp_path / f".{bundle.name}.another-machine.{dead.pid}.{kind}"
        other = tmp_path / ".hidden"
        for path in (bundle, gone, alive, init, stranger, other):
            path.mkdir()
            (path / "file").touch()
        remove_abandoned(tmp_path)
        living.communicate(b"\n")
        assert set(tmp_path.iterdir()) == {bundle, alive, init, stranger, other}

    def test_they_are_never_listed(self, bundle):
        bundle.folder.rename(temporary_folder(bundle.folder))
        assert list(prepared_bundles()) == []


def test_a_foreign_text_tower_is_refused(spec):
    text = {**spec.config["text_cfg"], "hf_model_name": "somebody/something"}
    with pytest.raises(ModelError, match=r"cannot be prepared: .* it runs with --engine torch$"):
        check_preparable(replace(spec, config={**spec.config, "text_cfg": text}))


class TestShipped:
    def test_its_files_are_those_of_its_manifest(self):
        found = {name: vars(record_file(TINY / name)) for name in FILES}
        assert found == MANIFEST["files"]

    def test_it_was_made_from_the_weights_and_configuration_beside_it(self):
        spec = resolve_model(ModelRequest("tiny"))
        assert MANIFEST["weights_sha256"] == record_file(TINY / MODEL_FILES[1]).sha256
        assert MANIFEST["config"] == spec.config
        assert MANIFEST["precision"] == "fp32"
        assert {path.name for path in TINY.iterdir()} == {
            *(*FILES, *MODEL_FILES, MANIFEST_FILE, "README.md", "LICENSE-APACHE", "NOTICE")
        }

    def test_it_agreed_with_torch(self):
        parity = MANIFEST["parity"]
        assert max(parity["image_difference"], parity["text_difference"]) <= 1e-4
        assert parity["agreement"] == 1
