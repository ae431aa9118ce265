"""The fast engine: torch's numbers without torch, from graphs that are opened when needed."""

import json
import shutil
import subprocess
import sys
import warnings
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from bundle_copies import TINY
from command import clean_environment
from numpy.testing import assert_allclose
from small_models import CLIP, write_model

from clipcli.engines import onnx as onnx_engine
from clipcli.engines.base import EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.engines.onnx import OnnxEngine
from clipcli.engines.parity import check_images
from clipcli.engines.prompts import encode_prompts
from clipcli.engines.torch.export import Preparation, prepare
from clipcli.errors import ClipcliWarning, ModelError
from clipcli.heads.labels import LabelSet
from clipcli.heads.results import Failure
from clipcli.heads.text_cache import TextCache
from clipcli.heads.zero_shot import build_head
from clipcli.images.sources import ImageRef
from clipcli.models.bundles import Bundle, open_bundle
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest
from clipcli.runs.options import PipelineOptions
from clipcli.runs.pipeline import classify

HEAVY = "torch torchvision open_clip timm transformers onnx onnxscript requests huggingface_hub"
LABELS = LabelSet(("a cat", "a cup of coffee", "a rocket", "a dog"))
COMMAND = "import sys; from clipcli.cli.main import run; code = run(sys.argv[1:])\n"
PROGRAM = (
    "import sys; from clipcli import Classifier\n"
    "result, = Classifier('tiny').classify(sys.argv[1], ['a cat', 'a dog'])\n"
    "code = result.answer != 'a cat'\n"
)
MODULES = "import json; print(json.dumps(sorted(sys.modules)), file=sys.stderr); sys.exit(code)"


def tiny(engine="onnx", **options):
    return load_engine(
        resolve_model(ModelRequest("tiny")), EngineOptions("cpu", engine=engine, **options)
    )


@pytest.fixture(scope="module")
def fast():
    return tiny()


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    """A small ViT: products with weights are what int8 is about, and `tiny` has only its last."""
    folder = tmp_path_factory.mktemp("models") / "clip"
    write_model(folder, CLIP)
    return resolve_model(ModelRequest(str(folder)))


@pytest.fixture(scope="module")
def int8(transformer):
    preparation = Preparation(transformer, transformer.weights, "int8", lambda _: None)
    return prepare(preparation, transformer.folder.with_name("int8"))


@pytest.fixture
def copied(tmp_path):
    """A bundle that may be changed."""
    folder = tmp_path / "bundle"
    shutil.copytree(TINY, folder)
    return open_bundle(folder)


@pytest.fixture(scope="module")
def images(fast):
    return check_images(fast.info.preprocess)


@pytest.mark.parametrize("program", [COMMAND, PROGRAM], ids=["command", "api"])
def test_nothing_of_torch_and_nothing_of_the_network_is_imported(photos, program):
    arguments = [str(photos / "chelsea.png"), "-l", "a cat", "-l", "a dog", "--model", "tiny"]
    run = subprocess.run(
        [sys.executable, "-c", program + MODULES, *arguments],
        env=clean_environment(),
        capture_output=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    modules = set(json.loads(run.stderr))
    assert "clipcli.engines.onnx" in modules
    assert modules & set(HEAVY.split()) == set()


def test_it_is_the_same_model_as_torchs(fast, images):
    torch = tiny("torch")
    prompts = ["a cat", "a photo of two dogs, playing", "“quoted” &amp; ﬁne", "word " * 99]
    with pytest.warns(ClipcliWarning, match="only the first 77 tokens"):
        ours, theirs = encode_prompts(fast, prompts), encode_prompts(torch, prompts)
    assert replace(fast.info, engine="", doubt_below=None) == replace(torch.info, engine="")
    assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    assert_allclose(fast.encode_images(images), torch.encode_images(images), rtol=0, atol=1e-5)


def test_answers_and_the_order_of_labels_are_torchs(fast, photos):
    refs = [ImageRef(index, path.name, path) for index, path in enumerate(photos.iterdir())]
    found = [
        [
            [score.label for score in prediction.scores]
            for prediction in classify(refs, engine, build_head(engine, LABELS), PipelineOptions())
        ]
        for engine in (fast, tiny("torch"))
    ]
    assert found[0] == found[1]


def test_a_failure_in_the_block_changes_no_bit_of_its_neighbours(fast, photos):
    whole = [path for path in sorted(photos.iterdir()) if path.suffix in (".png", ".jpg")][:3]
    head = build_head(fast, LABELS)
    results = [
        list(
            classify(
                [ImageRef(i, f"image {i}", source) for i, source in enumerate(sources)],
                fast,
                head,
                PipelineOptions(batch_size=3),
            )
        )
        for sources in (whole, [whole[0], b"no image", whole[2]])
    ]
    assert isinstance(results[1][1], Failure)
    assert [results[1][i] for i in (0, 2)] == [results[0][i] for i in (0, 2)]


class TestInt8:
    @pytest.mark.parametrize("image_count", [1, None], ids=["handful", "many"])
    def test_an_image_has_the_same_bits_in_any_company(self, int8, image_count):
        engine = OnnxEngine(int8, EngineOptions("cpu", threads=2, image_count=image_count))
        images = check_images(engine.info.preprocess)
        together = engine.encode_images(images[:7])
        alone = np.concatenate([engine.encode_images(images[i : i + 1]) for i in range(7)])
        loud = np.concatenate([images[:1], 50 * images[1:2]])
        assert np.array_equal(together, alone)
        assert np.array_equal(engine.encode_images(loud)[0], together[0])

    def test_it_is_quantised_and_near_fp32(self, int8, transformer):
        torch = load_engine(transformer, EngineOptions("cpu", engine="torch"))
        engine = OnnxEngine(int8, EngineOptions("cpu", image_count=1))
        images = check_images(engine.info.preprocess)
        ours, theirs = engine.encode_images(images), torch.encode_images(images)
        assert np.abs(ours - theirs).max() > 1e-4
        assert (ours * theirs).sum(axis=1).min() >= 0.99
        assert engine.info.fingerprint != torch.info.fingerprint


class TestGraphs:
    def test_the_text_tower_is_not_opened_for_known_prompts(self, copied, tmp_path):
        cache = TextCache(tmp_path / "texts.sqlite3")
        first = build_head(OnnxEngine(copied, EngineOptions("cpu")), LABELS, cache)
        for name in ("text.onnx", "text.onnx.data", "tokenizer.json"):
            (copied.folder / name).unlink()
        second = build_head(OnnxEngine(copied, EngineOptions("cpu")), LABELS, cache)
        assert np.array_equal(first.embeddings, second.embeddings)
        with pytest.raises(ModelError, match=r"cannot open .*text\.onnx: .* 'clipcli pull MODEL'"):
            OnnxEngine(copied, EngineOptions("cpu")).encode_tokens(np.ones((1, 4), np.int64))

    @pytest.mark.parametrize(
        ("options", "threads", "prepacked"),
        [
            ({"threads": 1}, 1, True),
            ({"threads": 2, "image_count": 8}, 2, False),
            ({"threads": 2, "image_count": 9}, 2, True),
            ({}, 5, True),
        ],
    )
    def test_threads_and_prepacking_are_as_the_job_needs(
        self, copied, monkeypatch, options, threads, prepacked
    ):
        monkeypatch.setattr(onnx_engine, "available_cpus", lambda: 5)
        opened, session = [], onnxruntime.InferenceSession

        def note(path, settings, **rest):
            opened.append(settings)
            return session(path, settings, **rest)

        monkeypatch.setattr(onnxruntime, "InferenceSession", note)
        _ = OnnxEngine(copied, EngineOptions("cpu", **options))._image_session
        (settings,) = opened
        assert settings.intra_op_num_threads == threads
        # It is on by default, and nothing says so.
        with nullcontext() if not prepacked else pytest.raises(RuntimeError, match="not have"):
            assert settings.get_session_config_entry("session.disable_prepacking") == "1"

    @pytest.mark.parametrize("field", ["onnxruntime", "machine"])
    def test_one_of_another_runtime_or_machine_is_optimised_at_load(
        self, copied, fast, images, field
    ):
        versions = {**copied.manifest.versions, field: "another"}
        strange = Bundle(copied.folder, replace(copied.manifest, versions=versions))
        with pytest.warns(ClipcliWarning, match="'clipcli pull MODEL' prepares it anew") as told:
            engine = OnnxEngine(strange, EngineOptions("cpu"))
        found = engine.encode_images(images[:4])
        assert len(told) == 1
        assert_allclose(found, fast.encode_images(images[:4]), rtol=0, atol=1e-6)

    def test_the_bundled_model_runs_anywhere_without_a_word(self, copied):
        bundled = Bundle(TINY, replace(copied.manifest, versions={}))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            OnnxEngine(bundled, EngineOptions("cpu"))
