"""From torch to a bundle: the same numbers, or a clear refusal and nothing left behind."""

import errno
import os
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import replace

import onnxruntime
import pytest
import torch
from bundle_copies import FILES, TINY, copy_of_tiny, prepare_copy
from command import clean_environment, installed_command, unmeasured_environment
from numpy.testing import assert_allclose
from small_models import CLIP, SIGMOID, TEXT, write_model

from clipcli.disk.folders import remove_abandoned
from clipcli.disk.paths import bundles_folder
from clipcli.engines import parity
from clipcli.engines.base import EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.engines.onnx import OnnxEngine
from clipcli.engines.parity import check_images, check_prompts
from clipcli.engines.prompts import encode_prompts
from clipcli.engines.torch import export
from clipcli.engines.torch.export import Preparation, prepare
from clipcli.errors import ModelError
from clipcli.models.bundles import bundle_folder, find_bundle
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest

CUSTOM = {**CLIP, "custom_text": True}
# Each with whether its prompts may be cut to the longest. Other image towers are in test_kinds.
ARCHITECTURES = {
    "clip": (CLIP, True),
    "short-context": ({**CLIP, "text_cfg": {**TEXT, "context_length": 6}}, True),
    "custom-text": (CUSTOM, True),
    "end-of-text": ({**CUSTOM, "text_cfg": {**TEXT, "pool_type": "eos", "eos_id": 49407}}, True),
    "bidirectional": ({**CUSTOM, "text_cfg": {**TEXT, "no_causal_mask": True}}, False),
    "class-token": ({**CUSTOM, "text_cfg": {**TEXT, "embed_cls": True}}, False),
    "last-token": ({**CUSTOM, "text_cfg": {**TEXT, "pool_type": "last"}}, False),
    "sigmoid": (SIGMOID, False),
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPCLI_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def spec(tmp_path):
    return copy_of_tiny(tmp_path / "copy")


@pytest.fixture
def small(tmp_path):
    write_model(tmp_path / "small", CLIP)
    return resolve_model(ModelRequest(str(tmp_path / "small")))


@pytest.fixture
def shipped_graphs(monkeypatch):
    """Spares the export: the graphs that ship are those of the same weights."""

    def copy(_engine, folder, _preparation):
        for name in FILES:
            shutil.copyfile(TINY / name, folder / name)

    monkeypatch.setattr(export, "_write_graphs", copy)


def prepared(spec, precision="fp32", tell=lambda _: None):
    return prepare(Preparation(spec, spec.weights, precision, tell))


def left():
    """What lies among the bundles."""
    return [path.name for path in bundles_folder().iterdir()]


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.filterwarnings("ignore:only the first")
def test_both_engines_agree_and_cut_only_what_changes_nothing(tmp_path, name):
    config, is_short = ARCHITECTURES[name]
    write_model(tmp_path / name, config)
    spec = resolve_model(ModelRequest(str(tmp_path / name)))
    bundle = prepared(spec)
    fast = OnnxEngine(bundle, EngineOptions("cpu"))
    slow = load_engine(spec, EngineOptions("cpu", engine="torch"))
    assert replace(fast.info, engine="", doubt_below=None) == replace(slow.info, engine="")
    assert fast.info.short_context is is_short

    images, prompts = check_images(fast.info.preprocess), ["a cat", *check_prompts()[:5]]
    assert_allclose(fast.encode_images(images), slow.encode_images(images), rtol=0, atol=1e-5)
    tokens = slow.tokenize(prompts)
    for engine in (fast, slow):
        full = engine.encode_tokens(tokens.ids)
        assert_allclose(full, slow.encode_tokens(tokens.ids), rtol=0, atol=1e-5)
        assert_allclose(encode_prompts(engine, prompts), full, rtol=0, atol=1e-6)
    # A model that is not to be cut is one that cutting would change, or break.
    short = tokens.ids[:1, : tokens.lengths[0]]
    if is_short:
        for engine in (fast, slow):
            found = engine.encode_tokens(short)
            assert_allclose(found, slow.encode_tokens(tokens.ids[:1]), rtol=0, atol=1e-6)


def test_preparing_tells_its_steps_and_warns_of_nothing(spec):
    steps = []
    bundle = prepared(spec, tell=steps.append)
    assert steps == [
        "loading the model into torch",
        "exporting the image tower",
        "exporting the text tower",
        "checking it against torch",
    ]
    assert find_bundle(spec, "fp32") == bundle
    assert left() == [bundle.folder.name]
    parity = bundle.manifest.parity
    assert 0 < parity["image_difference"] <= 1e-4
    assert parity["agreement"] == 1


@pytest.mark.usefixtures("shipped_graphs")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_one_that_disagrees_with_torch_is_refused_and_leaves_what_was(spec, precision, monkeypatch):
    before = prepare_copy(spec)
    monkeypatch.setattr(parity, "_LARGEST_DIFFERENCE", 1e-9)
    monkeypatch.setattr(parity, "_LEAST_COSINE", 1.1)
    message = r"does not agree with torch \(image_difference .*use torch"
    with pytest.raises(ModelError, match=message):
        prepared(spec, precision)
    assert left() == [before.folder.name]
    assert find_bundle(spec, "fp32") == before


@pytest.mark.usefixtures("shipped_graphs")
def test_int8_that_answers_otherwise_is_refused(spec, monkeypatch):
    monkeypatch.setattr(parity, "_agreement", lambda *_: 0.97)
    with pytest.raises(ModelError, match=r"agreement 0\.97"):
        prepared(spec, "int8")
    assert left() == []


class TestRefused:
    def test_an_architecture_that_cannot_be_exported(self, spec, monkeypatch):
        def fail(*_arguments, **_options):
            raise RuntimeError("step 1 failed\n...") from ValueError("no such operator\nmore")

        monkeypatch.setattr(torch.onnx, "export", fail)
        with pytest.raises(ModelError, match=r"cannot be prepared \(no such operator\)$"):
            prepared(spec)
        assert left() == []

    def test_a_foreign_text_tower_before_anything_is_loaded(self, spec):
        text = {**spec.config["text_cfg"], "hf_model_name": "somebody/something"}
        steps = []
        with pytest.raises(ModelError, match="text tower is one of the package transformers"):
            prepared(replace(spec, config={**spec.config, "text_cfg": text}), tell=steps.append)
        assert steps == []

    @pytest.mark.usefixtures("shipped_graphs")
    @pytest.mark.parametrize("function", ["write_tokenizer_file", "install"])
    def test_a_full_disk(self, spec, monkeypatch, function):
        before = prepare_copy(spec)

        def fail(*_arguments):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(export, function, fail)
        message = r"cannot be written to .* \(No space left on device\)"
        with pytest.raises(ModelError, match=message):
            prepared(spec)
        assert left() == [before.folder.name]
        assert find_bundle(spec, "fp32") == before

    def test_a_graph_that_onnx_runtime_cannot_write(self, spec, monkeypatch):
        def fail(*_arguments, **_options):
            raise RuntimeError("disk quota exceeded")

        monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
        with pytest.raises(ModelError, match=r"cannot write image\.onnx \(disk quota exceeded\)$"):
            prepared(spec)
        assert left() == []


def pull(spec, *options, **process):
    command = [installed_command(), "pull", str(spec.folder), *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=unmeasured_environment(), **pipes, **process)


@pytest.mark.parametrize("limit", [100_000, 3_000_000], ids=["at-once", "on-the-way"])
def test_files_that_may_not_grow_end_a_pull_with_one_line(small, limit):
    def restrain():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    running = pull(small, preexec_fn=restrain)
    output, errors = running.communicate()
    assert (running.returncode, output) == (5, b"")
    assert re.fullmatch(rb"clipcli: .*(too large|cannot write|cannot be).*\n", errors)
    assert left() == []


# The command as a program that stops where a step begins, until somebody kills it.
STOPS = """
import os, signal, sys
from clipcli.cli.console import Console
from clipcli.cli.main import main
step = sys.argv.pop(1)
def stop(_console, text):
    if step in text:
        os.kill(os.getpid(), signal.SIGSTOP)
Console.step = stop
main()
"""


@pytest.mark.parametrize("step", ["exporting the image", "checking it"])
def test_a_kill_harms_no_bundle_and_the_next_pull_tidies_up(small, step):
    before = prepare_copy(small)
    command = [sys.executable, "-c", STOPS, step, "pull", small.folder]
    with subprocess.Popen(command, env=clean_environment()) as running:
        change = os.waitid(os.P_PID, running.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert change.si_code == os.CLD_STOPPED, "it ended before its time"
        running.kill()
    assert find_bundle(small, "fp32") == before
    assert len(left()) == 2
    remove_abandoned(bundles_folder())
    assert left() == [before.folder.name]


def test_two_pulls_at_once_of_one_model_both_succeed(small):
    running = [pull(small) for _ in range(2)]
    ends = [(process.communicate()[1], process.returncode) for process in running]
    assert ends == [(b"", 0)] * 2
    assert left() == [bundle_folder(small, "fp32").name]
    assert find_bundle(small, "fp32") is not None
