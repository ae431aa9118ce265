"""A process that clipcli is a guest in: its settings, its threads, its forks."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree
from threading import Barrier, Thread

import numpy as np
import pytest
import torch
from command import PATIENCE, clean_environment
from host_state import differences, snapshot, torch_state
from safetensors.torch import load_file, save_file
from small_models import CLIP, write_model

from clipcli import Classifier, ModelRequest, Prediction
from clipcli.engines.onnx import OnnxEngine
from clipcli.engines.torch.openclip import OpenClipEngine
from clipcli.errors import ModelError, UsageError
from clipcli.process import ProcessLock, Shared, unchanged

SUPPORT = Path(__file__).parent / "support"
LABELS = ["a cat", "a dog"]
ENGINES = ["onnx", "torch"]


@pytest.fixture(scope="module", params=ENGINES)
def classifier(request: pytest.FixtureRequest) -> Classifier:
    return Classifier("tiny", engine=request.param)


def program(script: str, *arguments: str | Path, **environment: str) -> list[str]:
    """The lines that a script of the tests' prints."""
    run = subprocess.run(
        [sys.executable, SUPPORT / script, *arguments],
        env={**clean_environment(), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


class TestSettings:
    @pytest.mark.parametrize("engine", ENGINES)
    def test_a_host_keeps_its_own_and_has_the_same_answer(self, engine: str, photos: Path) -> None:
        photo = photos / "chelsea.png"
        usual, hostile = (
            program("host_state.py", engine, photo, *how) for how in ([], ["hostile"])
        )
        assert len(usual) == 1
        assert usual == hostile

    @pytest.mark.parametrize(
        ("name", "value"),
        [("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "1"), ("NVIDIA_TF32_OVERRIDE", "1"), ("NOTHING", "")],
    )
    def test_fp32_is_exact_whatever_the_environment_says(self, name: str, value: str) -> None:
        code = (
            "import os, sys; from clipcli import Classifier\n"
            "classifier = Classifier('tiny', engine='torch')\n"
            "import torch; before = torch.get_float32_matmul_precision()\n"
            "parts = torch.backends.cuda.matmul, torch.backends.cudnn.conv\n"
            "seen = lambda *_: print(torch.get_float32_matmul_precision(),\n"
            "    *[part.fp32_precision for part in parts])\n"
            "classifier._engine._model.visual.register_forward_hook(seen)\n"
            "classifier.classify(sys.argv[1], ['a cat', 'a dog'])\n"
            "print(before, torch.get_float32_matmul_precision(), os.environ.get(sys.argv[2]))"
        )
        run = subprocess.run(
            [sys.executable, "-c", code, SUPPORT.parents[1] / "examples/photos/coffee.png", name],
            env={**clean_environment(), name: value},
            capture_output=True,
            text=True,
            check=True,
        )
        within, after = run.stdout.splitlines()
        assert within == "highest ieee ieee"
        usual = "high" if name.startswith("TORCH") else "highest"
        assert after == f"{usual} {usual} {value}"

    def test_a_failed_run_leaves_them_alone(
        self, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = snapshot()
        engine = classifier._engine
        with pytest.raises(Exception, match=r".+"):
            engine.encode_images(np.zeros((1, 5, 2, 2), np.float32))
        with pytest.raises(Exception, match=r".+"):
            engine.encode_tokens(np.full((1, 77), 10**9))
        assert differences(before, snapshot()) == []

    def test_of_what_is_imported_nothing_stays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KEPT", "before")
        monkeypatch.setenv("DELETED", "before")
        logger = logging.getLogger("somebody's")

        def change() -> None:
            os.environ["KEPT"] = "after"
            os.environ["NEW"] = "after"
            del os.environ["DELETED"]
            warnings.simplefilter("error")
            logger.setLevel(logging.ERROR)
            raise ZeroDivisionError

        before = snapshot()
        with pytest.raises(ZeroDivisionError), unchanged():
            change()
        assert differences(before, snapshot()) == []


class TestThreads:
    def test_several_may_use_classifiers_at_once(self, photos: Path) -> None:
        classifiers = [Classifier("tiny", engine=engine) for engine in ENGINES * 2]
        paths = [photos / name for name in ("chelsea.png", "coffee.png", "rocket.jpg")]
        expected = [one.classify(paths, LABELS) for one in classifiers]
        before, together = torch_state(), Barrier(8)

        def use(number: int) -> list[object]:
            together.wait(PATIENCE)
            return [classifiers[number % 4].classify(paths, LABELS) for _ in range(5)]

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(use, range(8)))
        for number, results in enumerate(found):
            assert results == [expected[number % 4]] * 5
        assert torch_state() == before

    def test_a_graph_is_opened_by_one_of_them(
        self, photos: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = []
        real = OnnxEngine._open

        def counted(engine: OnnxEngine, graph: str, threads: int) -> object:
            opened.append(graph)
            return real(engine, graph, threads)

        monkeypatch.setattr(OnnxEngine, "_open", counted)
        classifier, together = Classifier("tiny", engine="onnx"), Barrier(4)

        def use(_number: int) -> object:
            together.wait(PATIENCE)
            return classifier.classify(photos / "coffee.png", LABELS)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(use, range(4)))
        assert len(opened) == 2

    def test_what_several_share_is_made_once_and_undone_once(self) -> None:
        made = []

        @Shared
        @contextmanager
        def change():
            made.append("made")
            yield
            made.append("undone")

        with change():
            with pytest.raises(ZeroDivisionError), change():
                raise ZeroDivisionError
            assert made == ["made"]
        assert made == ["made", "undone"]
        with change():
            assert made[2:] == ["made"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
class TestForks:
    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize("way", ["the same", "a new one", "a worker's worker", "spawn"])
    def test_a_worker_has_the_parents_answer(self, way: str, engine: str, photos: Path) -> None:
        lines = program("forking.py", way, engine, photos / "chelsea.png")
        assert {"parent a cat", "child a cat"} <= set(lines)
        assert set(lines) == {"parent a cat", "child a cat", "exit 0"}

    @pytest.mark.parametrize("engine", ENGINES)
    def test_a_forked_process_ends_as_usual(self, engine: str, photos: Path) -> None:
        lines = program("forking.py", "the usual end", engine, photos / "chelsea.png")
        assert lines == ["parent a cat", "exit 0"]

    def test_a_worker_may_be_the_first_to_import_clipcli(self, photos: Path) -> None:
        way = "clipcli in the worker alone"
        lines = program("forking.py", way, "torch", photos / "chelsea.png")
        assert lines == ["parent 998001", "child a cat", "exit 0"]

    def test_a_gpu_is_not_there_after_a_fork(self, monkeypatch: pytest.MonkeyPatch) -> None:
        engine = Classifier("tiny", engine="torch")._engine
        assert isinstance(engine, OpenClipEngine)
        monkeypatch.setattr(engine, "_device", torch.device("cuda"))
        monkeypatch.setattr("clipcli.engines.torch.openclip.forks", lambda: 1)
        with pytest.raises(UsageError, match=r"cuda cannot be used after a fork: .*'spawn'"):
            engine.encode_tokens(np.zeros((1, 77), np.int64))

    def test_a_lock_is_free_in_the_child(self) -> None:
        lock, held, done = ProcessLock(), Barrier(2), Barrier(2)

        def hold() -> None:
            with lock:
                held.wait(PATIENCE)
                done.wait(PATIENCE)

        thread = Thread(target=hold)
        thread.start()
        held.wait(PATIENCE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of it
            child = os.fork()
        if not child:
            with lock:
                os._exit(7)
        done.wait(PATIENCE)
        thread.join(PATIENCE)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


class TestCopies:
    def test_what_was_pickled_answers_the_same(self, classifier: Classifier, photos: Path) -> None:
        expected = classifier.classify(photos / "chelsea.png", LABELS)
        data = pickle.dumps(classifier)
        assert len(data) < 10_000
        twice = pickle.loads(pickle.dumps(pickle.loads(data)))
        assert twice.classify(photos / "chelsea.png", LABELS) == expected
        assert twice.info == classifier.info

    def test_the_model_is_opened_when_it_is_needed(
        self, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = pickle.dumps(classifier)
        monkeypatch.setattr("clipcli.api.load_engine", None)
        lazy = pickle.loads(data)
        with pytest.raises(TypeError):
            lazy.info  # noqa: B018

    def test_a_copy_is_itself(self, classifier: Classifier) -> None:
        assert copy.copy(classifier) is classifier
        assert copy.deepcopy([classifier])[0] is classifier

    def test_it_may_be_unpickled_in_another_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: Path
    ) -> None:
        write_model(tmp_path / "model", CLIP)
        copytree(tmp_path / "model", tmp_path / "checkpoints")
        monkeypatch.chdir(tmp_path)
        weights = Path("checkpoints", "open_clip_model.safetensors")
        known = [Classifier("./model"), Classifier(ModelRequest("./model"), checkpoint=weights)]
        data = pickle.dumps(known)
        monkeypatch.chdir(photos)
        for one, other in zip(known, pickle.loads(data), strict=True):
            assert one.info == other.info
            (result,) = other.classify("coffee.png", LABELS)
            assert isinstance(result, Prediction)

    def test_a_model_that_has_changed_since_is_refused(self, tmp_path: Path) -> None:
        write_model(tmp_path / "model", CLIP)
        data = pickle.dumps(Classifier(str(tmp_path / "model")))
        file = tmp_path / "model" / "open_clip_model.safetensors"
        save_file({name: value * 1.5 for name, value in load_file(file).items()}, file)
        with pytest.raises(ModelError, match=r"is not what it was when .* make a new Classifier"):
            pickle.loads(data).classify([], LABELS)
