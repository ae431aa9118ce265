"""`clipcli pull` and `clipcli models`, and the runs after them."""

import os
import re
import shutil
import socket
from pathlib import Path

import pytest
from bundle_copies import TINY, copy_of_tiny, cut, prepare_copy

from clipcli.disk.paths import bundles_folder
from clipcli.models.bundles import open_bundle
from clipcli.models.configurations import MANIFEST_FILE
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest

LABELS = ("-l", "a cat", "-l", "a dog")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPCLI_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def spec(tmp_path):
    return copy_of_tiny(tmp_path / "copy")


def test_a_pull_says_one_line_and_the_next_run_needs_neither_torch_nor_network(
    spec, clipcli, photos, tmp_path
):
    photo = photos / "chelsea.png"
    before = clipcli(photo, *LABELS, "--model", spec.folder)
    assert b"' once makes every later start of this model faster" in before.stderr

    pulled = clipcli("pull", spec.folder)
    folder = re.escape(os.fsencode(bundles_folder()))
    assert (pulled.returncode, pulled.stderr) == (0, b"")
    pattern = rb".*/copy \(fp32\) is ready: (\d+) MB in (%b/copy-fp32-[0-9a-f]{12})\n" % folder
    told = re.fullmatch(pattern, pulled.stdout)
    assert told
    assert int(told[1]) == round(open_bundle(Path(os.fsdecode(told[2]))).size / 1e6)

    for model in ([spec.folder, "--engine", "onnx"], [f"{spec.folder}/", "-v"]):
        run = clipcli(photo, *LABELS, "--model", *model, env={"HF_HUB_OFFLINE": "1"})
        assert run.returncode == 0
        assert run.stdout.split(b"\t")[:2] == before.stdout.split(b"\t")[:2]
    told = run.stderr.decode().splitlines()
    assert told[0].startswith("clipcli: onnx runs, because ")
    assert told[0].endswith("is prepared")
    assert "ONNX Runtime" in told[1]


def test_verbose_shows_the_steps_on_standard_error(spec, clipcli):
    run = clipcli("pull", spec.folder, "-v", "--precision", "int8")
    steps = [line.partition(": ")[2] for line in run.stderr.decode().splitlines()]
    assert steps[0].endswith("finding its files")
    assert steps[1:] == [
        "loading the model into torch",
        "exporting the image tower",
        "exporting the text tower",
        "checking it against torch",
    ]
    assert (run.returncode, run.stdout.count(b"\n")) == (0, 1)


def test_the_bundled_model_is_ready_and_stays_as_it_is(clipcli):
    before = {path: path.stat().st_mtime_ns for path in TINY.iterdir()}
    run = clipcli("pull", "tiny")
    assert (run.returncode, run.stderr) == (0, b"")
    assert run.stdout.startswith(b"tiny (fp32) is ready: ")
    assert {path: path.stat().st_mtime_ns for path in TINY.iterdir()} == before


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nope"], "there is no model 'nope'"),
            (["./nowhere"], "there is no such folder"),
            (["ViT-B-32", "--checkpoint", "x.safetensors", "--quick-gelu"], "no such weights file"),
            (["ViT-B-16-SigLIP:webli"], "webli is not on this computer and offline is set"),
            (["roberta-ViT-B-32:laion2b_s12b_b32k"], "is published only as a pickle|cannot be pre"),
        ],
    )
    def test_a_model_that_cannot_be_had_or_prepared(self, clipcli, tmp_path, arguments, message):
        run = clipcli("pull", *arguments, cwd=tmp_path, env={"HF_HUB_OFFLINE": "1"})
        assert (run.returncode, run.stdout) == (5, b"")
        assert re.search(message, run.stderr.decode())
        assert run.stderr.count(b"\n") == 1

    def test_without_a_network_it_ends_at_once(self, clipcli, tmp_path):
        with socket.create_server(("127.0.0.1", 0)) as closed:
            url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        env = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}
        run = clipcli("pull", "ViT-B/32", env=env)
        assert (run.returncode, run.stdout) == (5, b"")
        assert run.stderr.decode() == (
            "clipcli: ViT-B/32 is not on this computer and the hub cannot be reached: the same"
            " command once with a network\n"
        )

    @pytest.mark.parametrize(
        ("options", "code", "message"),
        [
            (["--engine", "onnx", "--device", "cuda"], 2, "--engine onnx runs on the CPU"),
            (["--engine", "torch", "--precision", "int8"], 2, "int8 runs on the CPU"),
            (["--precision", "int8"], 5, "--precision int8' first"),
            (["--engine", "onnx"], 5, "--precision fp32' first"),
        ],
    )
    def test_engines_and_precisions_that_are_not_there(
        self, spec, clipcli, photos, options, code, message
    ):
        run = clipcli(photos / "chelsea.png", *LABELS, "--model", spec.folder, *options)
        assert (run.returncode, run.stdout) == (code, b"")
        assert message in run.stderr.decode()

    def test_a_damaged_one_and_torch_runs_in_its_place(self, spec, clipcli, photos):
        cut(prepare_copy(spec).folder / "image.onnx.data")
        arguments = (photos / "chelsea.png", *LABELS, "--model", spec.folder)
        run = clipcli(*arguments)
        assert (run.returncode, run.stdout) == (5, b"")
        assert b"image.onnx.data is not as long as it was. Repair it with 'clipcli p" in run.stderr
        run = clipcli(*arguments, "--engine", "torch")
        assert (run.returncode, run.stderr) == (0, b"")


class TestModels:
    def lines(self, clipcli):
        run = clipcli("models")
        assert (run.returncode, run.stderr) == (0, b"")
        return run.stdout.decode().splitlines()

    def test_lists_what_is_bundled_prepared_damaged_and_available(self, spec, clipcli, tmp_path):
        bundle = prepare_copy(spec)
        bundled, prepared, available = self.lines(clipcli)
        megabytes = round(bundle.size / 1e6)
        assert re.fullmatch(rf"bundled    tiny  fp32  {megabytes} MB  .*/assets/tiny", bundled)
        expected = rf"prepared   {spec.name}  fp32  {megabytes} MB  {bundle.folder}"
        assert re.fullmatch(expected, prepared)
        assert available.startswith("available  ViT-B/32 and every other ARCHITECTURE:TAG")
        cut(bundle.folder / "text.onnx")
        _, damaged, _ = self.lines(clipcli)
        assert damaged.startswith(f"damaged    {spec.name}  {bundle.folder}: repair it with ")

    @pytest.mark.parametrize("name", ["ViT-B/32", "ViT-B-32", "ViT-B-32:openai", "canonical"])
    def test_removes_by_any_name_and_only_that(self, spec, clipcli, name):
        canonical = resolve_model(ModelRequest("ViT-B/32"))
        folders = []
        for model in (spec, canonical):
            bundle = prepare_copy(model)
            folders.append(bundle.folder)
        wanted = canonical.name if name == "canonical" else name
        run = clipcli("models", "--remove", wanted)
        assert (run.returncode, run.stdout.decode()) == (0, f"removed {folders[1]}\n")
        assert [folder.exists() for folder in folders] == [True, False]

    def test_removes_damaged_ones_by_what_is_shown(self, spec, clipcli):
        folder = prepare_copy(spec).folder
        (folder / MANIFEST_FILE).write_text("")
        (_, shown, _) = self.lines(clipcli)
        run = clipcli("models", "--remove", shown.split()[1])
        assert (run.returncode, folder.exists()) == (0, False)

    @pytest.mark.parametrize("name", ["nope", "ViT-B/32", "tiny", ""])
    def test_says_so_where_there_is_nothing_to_remove(self, clipcli, name):
        run = clipcli("models", "--remove", name)
        assert (run.returncode, run.stdout) == (2, b"")
        message = f"no prepared model is called {name}: 'clipcli models' lists them"
        stays = "tiny comes with clipcli and stays with it"
        assert (stays if name == "tiny" else message) in run.stderr.decode()


@pytest.mark.parametrize("command", ["pull", "models"])
def test_help_shows_examples(clipcli, command):
    run = clipcli(command, "--help")
    assert run.returncode == 0
    assert re.search(rf"^  clipcli {command}", run.stdout.decode(), re.MULTILINE)


def test_a_bundle_is_a_model_by_its_folder_wherever_it_lies(spec, clipcli, photos, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(prepare_copy(spec).folder, copy)
    named = clipcli(photos / "chelsea.png", *LABELS, "--model", copy)
    assert (named.returncode, named.stderr) == (0, b"")
    assert named.stdout == clipcli(photos / "chelsea.png", *LABELS, "--model", "tiny").stdout
    other = clipcli(photos / "chelsea.png", *LABELS, "--model", copy, "--precision", "int8")
    assert other.returncode == 5
    assert b"is prepared in fp32: add --precision fp32" in other.stderr
    assert b" (fp32) is ready: " in clipcli("pull", copy).stdout
