"""The doctor finds what is broken, names it, and breaks at nothing."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import PIL.features
import pytest
from command import clean_environment

import clipcli
from clipcli.cli.commands.doctor import doctor as command
from clipcli.cli.console import Console
from clipcli.disk.paths import bundles_folder
from clipcli.doctor import environment, inventory, selftest
from clipcli.doctor import examine as doctor
from clipcli.doctor.findings import Check, Examination, Fact, Outcome, Section
from clipcli.doctor.known_answers import CHECK_PHOTOS, known_answers
from clipcli.engines.base import EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.models.bundles import open_bundle
from clipcli.models.hub.pins import pin
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest
from clipcli.runs.provenance import library_versions, provenance

TINY = Path(clipcli.__file__).parent / "assets" / "tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def no_models(tmp_path, monkeypatch):
    """Caches of clipcli and of the hub without anything in them."""
    monkeypatch.setenv("CLIPCLI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)


def outcomes(checks):
    return {check.name: check.outcome for check in checks}


def load_tiny(engine):
    return load_engine(resolve_model(ModelRequest("tiny")), EngineOptions("cpu", engine=engine))


class TestExamination:
    def test_of_a_whole_installation_finds_nothing_wrong(self):
        steps = []
        report = doctor.examine(None, steps.append)
        assert report.agreed, report.failed
        assert len(steps) > 3
        found = report.to_json()
        assert list(found) == [
            *("ok", "versions", "device", "engines", "codecs", "caches", "models", "self_test"),
            "published_answers",
        ]
        assert found["versions"]["clipcli"] == clipcli.__version__
        assert found["device"]["processors"] >= 1
        assert [check["name"] for check in found["self_test"]][:2] == ["tiny, onnx", "tiny, torch"]
        assert {check["outcome"] for check in found["self_test"]} == {"ok"}
        missing = "it is neither prepared nor in the hub's cache"
        assert {check["detail"] for check in found["published_answers"]} == {missing}
        (tiny,) = found["models"]
        assert (tiny["name"], tiny["kind"], len(tiny["fingerprint"])) == ("tiny", "bundled", 32)
        assert json.loads(json.dumps(found)) == found

    def test_survives_a_library_that_breaks_at_its_import(self, tmp_path):
        (tmp_path / "onnxruntime").mkdir()
        broken = "raise OSError('libgomp.so.1: cannot open')"
        (tmp_path / "onnxruntime" / "__init__.py").write_text(broken)
        code = (
            "import json; from clipcli.doctor.examine import examine;"
            "print(json.dumps(examine(None, str).to_json()))"
        )
        environment = {**clean_environment(), "PYTHONPATH": str(tmp_path)}
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, check=False
        )
        found = json.loads(run.stdout)
        assert (found["ok"], run.returncode) == (False, 0)
        onnx, torch, *_ = found["engines"]
        assert (onnx["outcome"], torch["outcome"]) == ("failed", "ok")
        assert onnx["detail"] == "OSError: libgomp.so.1: cannot open"
        assert [check["name"] for check in found["self_test"]] == ["tiny, torch"]


class TestEngines:
    def test_one_that_cannot_be_imported_fails_and_the_other_runs(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "clipcli.engines.torch.openclip", None)
        checks, loaded = selftest.engines()
        assert outcomes(checks)["torch"] is Outcome.FAILED
        assert list(loaded) == ["onnx"]

    def test_one_that_is_not_installed_is_not_run(self, monkeypatch):
        monkeypatch.setattr(selftest, "find_spec", lambda name: None if name == "torch" else name)
        checks, loaded = selftest.engines()
        assert outcomes(checks) == {
            "onnx": Outcome.OK,
            "torch": Outcome.NOT_RUN,
            "torch on CUDA": Outcome.NOT_RUN,
        }
        assert checks[1].detail == "the package torch is not installed"
        assert list(loaded) == ["onnx"]

    def test_without_any_there_is_nothing_to_trust(self, monkeypatch):
        monkeypatch.setattr(selftest, "find_spec", lambda _name: None)
        checks, loaded = selftest.engines()
        assert loaded == {}
        assert [check.name for check in checks if check.outcome is Outcome.FAILED] == ["any engine"]


class Distorted:
    """An engine whose image embeddings are not its own."""

    def __init__(self, engine, distort):
        self._engine, self._distort = engine, distort
        self.info, self.tokenize = engine.info, engine.tokenize
        self.encode_tokens = engine.encode_tokens

    def encode_images(self, pixels):
        return self._distort(self._engine.encode_images(pixels))


class TestKnownAnswers:
    def test_are_well_formed(self):
        answers = known_answers()
        assert {answer.model for answer in answers} == {
            *("tiny", "ViT-B-32:openai", "ViT-B-32:laion2b_s34b_b79k")
        }
        for answer in answers:
            assert set(answer.best) <= set(answer.labels), answer.image
            assert len(answer.best) == len(answer.probabilities) > 0
            assert list(answer.probabilities) == sorted(answer.probabilities, reverse=True)
            assert 0 < answer.tolerance <= 5e-3
            if answer.model == "tiny":
                assert (CHECK_PHOTOS / answer.image).is_file()
                assert sum(answer.probabilities) == pytest.approx(1, abs=1e-5)

    @pytest.mark.parametrize("engine", ["onnx", "torch"])
    @pytest.mark.parametrize(
        "distort",
        [
            lambda rows: rows[:, ::-1].copy(),
            lambda rows: rows * np.float32(0.999),
            lambda rows: rows * np.nan,
        ],
        ids=["other features", "a thousandth less", "NaN"],
    )
    def test_that_do_not_come_out_are_named(self, engine, distort):
        (check,) = selftest.self_test({engine: Distorted(load_tiny(engine), distort)})
        assert (check.name, check.outcome) == (f"tiny, {engine}", Outcome.FAILED)
        first = known_answers()[0]
        assert f"{first.image}: {first.best[0]!r} has " in check.detail
        assert f" and should have {first.probabilities[0]:.5f}" in check.detail

    def test_with_another_order_are_named_however_near_they_are(self, monkeypatch):
        first = known_answers()[0]
        swapped = (first.best[1], first.best[0], *first.best[2:])
        answer = replace(first, best=swapped, tolerance=1.0)
        monkeypatch.setattr(selftest, "known_answers", lambda: [answer])
        (check,) = selftest.self_test({"onnx": load_tiny("onnx")})
        told = f"{first.image}: the order is {', '.join(first.best)} and should be "
        assert check.detail.startswith(f"{told}{', '.join(swapped[:2])}")

    def test_with_other_logits_are_named_though_the_probabilities_agree(self, monkeypatch):
        first = known_answers()[0]
        monkeypatch.setattr(
            selftest, "known_answers", lambda: [replace(first, logits=(24.5701, 19.3049))]
        )
        (check,) = selftest.self_test({"onnx": load_tiny("onnx")})
        assert check.detail.startswith("chelsea.jpg: 'a cat' has the logit ")
        assert check.detail.endswith(" and should have 19.3049")

    def test_of_an_engine_that_breaks_at_work_fail(self):
        def fail(_rows):
            raise RuntimeError("out of\nluck")

        (check,) = selftest.self_test({"onnx": Distorted(load_tiny("onnx"), fail)})
        assert (check.outcome, check.detail) == (Outcome.FAILED, "RuntimeError: out of luck")


def put_into_hub(root: Path, repository: str, file: Path, content: bytes, name: str | None = None):
    """A file as the hub's client caches it: a link to what is named by its sha256."""
    folder = root / "hub" / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    for path in (snapshot, folder / "blobs", folder / "refs"):
        path.mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(COMMIT)
    blob = folder / "blobs" / (name or hashlib.sha256(content).hexdigest())
    blob.write_bytes(content)
    (snapshot / file).symlink_to(blob)
    return snapshot / file


class TestPublishedAnswers:
    REPOSITORY = resolve_model(ModelRequest("ViT-B-32:openai")).weights.repository

    def openai(self, *arguments):
        found = selftest.published_answers(*arguments)
        return [check for check in found if check.name.startswith("ViT-B-32:openai")]

    def test_name_the_images_that_are_missing(self, tmp_path):
        put_into_hub(tmp_path / "hub", self.REPOSITORY, "open_clip_model.safetensors", b"weights")
        (check,) = self.openai({"torch"}, None)
        assert check.outcome is Outcome.NOT_RUN
        assert check.detail.startswith("needs CLIP.png (openai/CLIP, beside its README) and 0000")
        assert check.detail.endswith(" in a folder that --images names")

    def test_are_asked_for_with_the_images_that_are_there(self, tmp_path):
        put_into_hub(tmp_path / "hub", self.REPOSITORY, "open_clip_model.safetensors", b"weights")
        shutil.copy(CHECK_PHOTOS / "chelsea.jpg", tmp_path / "CLIP.png")
        missing, torch = self.openai({"torch"}, tmp_path)
        assert "CLIP.png" not in missing.detail
        assert (torch.name, torch.outcome) == ("ViT-B-32:openai, torch", Outcome.FAILED)
        assert "is not a whole safetensors file" in torch.detail
        _, torch = self.openai({"onnx"}, tmp_path)
        assert (torch.outcome, torch.detail) == (Outcome.NOT_RUN, "the engine does not load")

    def test_are_compared_in_every_engine_that_can_run_the_model(self, monkeypatch):
        answers = [replace(answer, model=str(TINY)) for answer in known_answers()[:3]]
        wrong = replace(answers[0], probabilities=(0.7, *answers[0].probabilities[1:]))
        monkeypatch.setattr(selftest, "known_answers", lambda: answers)
        found = selftest.published_answers({"onnx", "torch"}, CHECK_PHOTOS)
        names = [f"{TINY}, onnx", f"{TINY}, torch"]
        assert outcomes(found) == dict.fromkeys(names, Outcome.OK)
        monkeypatch.setattr(selftest, "known_answers", lambda: [wrong, *answers[1:]])
        found = selftest.published_answers({"onnx", "torch"}, CHECK_PHOTOS)
        assert outcomes(found) == dict.fromkeys(names, Outcome.FAILED)
        assert {check.detail for check in found} == {
            f"{wrong.image}: {wrong.best[0]!r} has {answers[0].probabilities[0]:.5f}"
            " and should have 0.70000"
        }


class TestModels:
    @pytest.fixture
    def prepared(self):
        folder = bundles_folder() / "somebodys"
        shutil.copytree(TINY, folder)
        open_bundle(folder)  # notes how its files look
        return folder

    def test_prepared_ones_are_read_to_the_last_byte(self, prepared):
        _, found = inventory.models()
        assert (found.outcome, found.facts["kind"]) == (Outcome.OK, "prepared")
        file = prepared / "image.onnx.data"
        before = file.stat()
        with file.open("r+b") as content:
            content.seek(-1, os.SEEK_END)
            last = content.read(1)
            content.seek(-1, os.SEEK_END)
            content.write(bytes([last[0] ^ 1]))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        open_bundle(prepared)  # a start does not see it
        bundled, found = inventory.models()
        assert (bundled.outcome, found.outcome) == (Outcome.OK, Outcome.FAILED)
        assert "changed since it was made: image.onnx.data; pull it again" in found.detail

    def test_damaged_ones_are_named_with_the_way_out(self, prepared):
        (prepared / "text.onnx").write_bytes(b"")
        _, found = inventory.models()
        assert (found.name, found.outcome) == ("tiny", Outcome.FAILED)
        assert "text.onnx is not as long as it was. Repair it with" in found.detail

    def test_the_bundled_ones_weights_are_compared_with_its_manifest(self, monkeypatch):
        monkeypatch.setattr(inventory, "hash_file", lambda _path: "0" * 64)
        (found,) = inventory.models()
        assert found.outcome is Outcome.FAILED
        assert found.detail.endswith("has changed: install clipcli anew")

    def test_downloaded_ones_have_the_fingerprint_with_which_they_run(self, tmp_path):
        for name in ("open_clip_config.json", "open_clip_model.safetensors"):
            put_into_hub(tmp_path / "hub", "somebody/tiny", name, (TINY / name).read_bytes())
        _, found = inventory.models()
        assert (found.name, found.outcome) == ("hf-hub:somebody/tiny", Outcome.OK)
        spec = resolve_model(ModelRequest(found.name, offline=True))
        engine = load_engine(spec, EngineOptions("cpu", engine="torch"), offline=True)
        assert found.facts["fingerprint"] == engine.info.fingerprint

    def test_downloaded_ones_of_the_catalogue_go_by_their_own_names(self, tmp_path):
        repository = TestPublishedAnswers.REPOSITORY
        put_into_hub(tmp_path / "hub", repository, "open_clip_model.safetensors", b"weights")
        _, found = inventory.models()
        assert (found.name, found.outcome) == ("ViT-B-32:openai", Outcome.OK)
        assert (found.facts["commit"], found.facts["bytes"]) == (COMMIT, 7)

    def test_weights_without_their_configuration_are_verified_all_the_same(self, tmp_path):
        put_into_hub(tmp_path / "hub", "a/b", "open_clip_model.safetensors", b"weights")
        _, found = inventory.models()
        assert (found.name, found.outcome) == ("hf-hub:a/b", Outcome.OK)
        assert found.facts["fingerprint"] is None
        assert hashlib.sha256(b"weights").hexdigest() in found.detail

    def test_those_of_transformers_count_where_clipcli_has_used_them(self, tmp_path):
        repository, name = "somebody/clip", "model.safetensors"
        put_into_hub(tmp_path / "hub", repository, name, b"weights")
        assert [check.name for check in inventory.models()] == ["tiny"]
        pin(repository, "main", COMMIT, {name: hashlib.sha256(b"weights").hexdigest()})
        _, found = inventory.models()
        assert (found.name, found.outcome) == ("hf-hub:somebody/clip", Outcome.OK)

    @pytest.mark.parametrize(
        ("name", "outcome", "detail"),
        [
            ("0" * 64, Outcome.FAILED, "and should have 0000"),
            ("etag of a small file", Outcome.NOT_RUN, "nothing is known of its sha256"),
        ],
    )
    def test_downloaded_ones_are_compared_with_their_names(self, tmp_path, name, outcome, detail):
        config = (TINY / "open_clip_config.json").read_bytes()
        put_into_hub(tmp_path / "hub", "somebody/tiny", "open_clip_config.json", config)
        put_into_hub(
            tmp_path / "hub", "somebody/tiny", "open_clip_model.safetensors", b"weights", name
        )
        _, found = inventory.models()
        assert found.outcome is outcome
        assert detail in found.detail

    def test_one_that_nobody_understands_hides_no_other(self, tmp_path, prepared):
        put_into_hub(tmp_path / "hub", "a/b", "open_clip_config.json", b"no JSON")
        put_into_hub(tmp_path / "hub", "a/b", "open_clip_model.safetensors", b"weights")
        put_into_hub(tmp_path / "hub", "a/dataset", "data.bin", b"something else")
        (tmp_path / "hub" / "hub" / "models--no--name--of--the--hub").mkdir()
        found = [(check.name, check.outcome) for check in inventory.models()]
        assert found == [
            *(("tiny", Outcome.OK), ("tiny", Outcome.OK), ("hf-hub:a/b", Outcome.FAILED))
        ]


class TestEnvironment:
    def test_a_usual_format_without_its_decoder_fails_and_another_is_only_absent(self, monkeypatch):
        here = {"jpg", "zlib", "libtiff"}
        monkeypatch.setattr(PIL.features, "check", lambda name: name in here)
        found = outcomes(environment.codecs())
        assert [name for name in found if found[name] is Outcome.FAILED] == ["WEBP"]
        assert found["JPEG"] is found["BMP"] is found["TIFF"] is Outcome.OK
        assert found["AVIF"] is found["JPEG2000"] is Outcome.NOT_RUN

    def test_heif_is_its_plug_ins(self, monkeypatch):
        assert outcomes(environment.codecs())["HEIF"] is Outcome.OK
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
        assert outcomes(environment.codecs())["HEIF"] is Outcome.NOT_RUN

    def test_a_broken_pillow_is_a_line(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "PIL", None)
        found = outcomes(environment.codecs())
        assert {found[name] for name in ("JPEG", "PNG", "GIF")} == {Outcome.FAILED}

    def test_caches_are_counted_without_their_links(self, tmp_path):
        put_into_hub(tmp_path / "hub", "a/b", "model.bin", b"x" * 1000)
        found = Section("caches", environment.caches()).to_json()
        # The blob, and the commit's name in refs/main.
        assert found["model_hub"] == {"path": str(tmp_path / "hub" / "hub"), "bytes": 1040}
        assert found["prepared_models"]["bytes"] == found["text_embeddings"]["bytes"] == 0

    def test_provenance_has_the_versions_of_what_is_installed(self):
        found = provenance()
        assert found["clipcli"] == clipcli.__version__
        assert found["python"] == platform.python_version()
        for name in ("numpy", "pillow", "onnxruntime", "torch", "open-clip-torch", "tokenizers"):
            assert found[name] == metadata.version(name)
        assert library_versions(["numpy", "no-such-package"]) == {"numpy": found["numpy"]}


def report(*checks):
    facts = [Fact("memory", "2.0 GB", 2_000_000_000)]
    return Examination(
        [Section("device", facts), Section("engines", checks), Section("models", [])]
    )


GOOD = Check("onnx", Outcome.OK, "ONNX Runtime")
BAD = Check("torch", Outcome.FAILED, "broken \x1b[2J", {"bytes": 3})
ABSENT = Check("CUDA", Outcome.NOT_RUN, "no device")


class TestCommand:
    def run(self, monkeypatch, capsys, found, *arguments):
        monkeypatch.setattr(doctor, "examine", lambda _images, _tell: found)
        code = command.main(list(arguments), standalone_mode=False, obj=Console())
        return code, capsys.readouterr().out

    def test_exits_with_0_where_all_that_ran_agreed(self, monkeypatch, capsys):
        code, out = self.run(monkeypatch, capsys, report(GOOD, ABSENT))
        assert code == 0
        assert out.splitlines() == [
            *("device", "  memory  2.0 GB", ""),
            *("engines", "  onnx  ok       ONNX Runtime", "  CUDA  not run  no device", ""),
            *("models", "  none", ""),
            "all that ran agreed: 1 ok; 1 not run",
        ]

    def test_exits_with_6_and_names_what_did_not_agree(self, monkeypatch, capsys):
        code, out = self.run(monkeypatch, capsys, report(GOOD, BAD))
        assert code == 6
        assert "  torch  FAILED   broken \\x1b[2J" in out.splitlines()
        assert out.splitlines()[-1] == "1 FAILED: torch"

    def test_writes_one_json_object(self, monkeypatch, capsys):
        code, out = self.run(monkeypatch, capsys, report(BAD), "--json")
        assert code == 6
        broken = {"name": "torch", "outcome": "failed", "detail": "broken \x1b[2J", "bytes": 3}
        assert json.loads(out) == {
            "ok": False,
            "device": {"memory": 2_000_000_000},
            "engines": [broken],
            "models": [],
        }

    def test_hands_on_the_folder_of_images(self, monkeypatch, capsys, tmp_path):
        asked = []
        monkeypatch.setattr(
            doctor, "examine", lambda images, _tell: asked.append(images) or report()
        )
        for name, value in (("CLIPCLI_KNOWN_ANSWERS", str(tmp_path)), ("CLIPCLI_X", "")):
            monkeypatch.setenv(name, value)
            command.main([], standalone_mode=False, obj=Console())
            monkeypatch.delenv(name)
        assert asked == [tmp_path, None]
