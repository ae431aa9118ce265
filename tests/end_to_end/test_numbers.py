"""The numbers are open_clip's own, on a full-size model and on the bundled one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import pytest
import skimage
import torch
from command import ROOT
from numpy.testing import assert_allclose
from PIL import Image
from safetensors.torch import save_file
from small_models import CLIP, write_model

from clipcli.engines.base import EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.engines.onnx import OnnxEngine
from clipcli.engines.torch.export import Preparation, prepare
from clipcli.errors import InputError, UsageError
from clipcli.heads.labels import LabelSet, collect_labels, collect_templates
from clipcli.heads.results import Failure
from clipcli.heads.zero_shot import build_head
from clipcli.images.decoding import preprocess
from clipcli.images.options import ImageOptions
from clipcli.images.sources import ImageRef
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest
from clipcli.runs.options import PipelineOptions
from clipcli.runs.pipeline import classify

LABELS = ("a photo of a cat", "a cup of coffee", "a rocket on its launch pad", "text", "a coin")
# Of many sizes, plain RGB or grey: what else there is, clipcli prepares better on purpose.
NAMES = (
    "cell.png clock_motion.png coins.png color.png microaneurysms.png hubble_deep_field.jpg"
    " motorcycle_left.png page.png phantom.png text.png astronaut.png camera.png"
)
# Some of the photos have a colour profile, which open_clip passes over.
REFERENCE = ImageOptions(reference=True)
EXAMPLES = ROOT / "examples" / "photos"
IMAGES = [
    *sorted(path for path in EXAMPLES.iterdir() if path.suffix in (".jpg", ".png")),
    *(Path(skimage.data_dir, name) for name in NAMES.split()),
]


@dataclass
class Reference:
    """open_clip's own answers for IMAGES and LABELS with its own weights."""

    checkpoint: Path
    images: np.ndarray
    texts: np.ndarray
    probabilities: np.ndarray
    classifier: np.ndarray


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    torch.manual_seed(0)
    model, _, transform = open_clip.create_model_and_transforms("ViT-B-32-quickgelu")
    model.eval()
    tokenizer = open_clip.get_tokenizer("ViT-B-32-quickgelu")
    checkpoint = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file(model.state_dict(), checkpoint)
    pixels = torch.stack([transform(Image.open(path)) for path in IMAGES])
    with torch.inference_mode():
        images = model.encode_image(pixels, normalize=True)
        texts = model.encode_text(tokenizer(list(LABELS)), normalize=True)
        probabilities = (model.logit_scale.exp() * images @ texts.T).softmax(dim=-1)
        classifier = open_clip.build_zero_shot_classifier(
            model, tokenizer, LABELS[:2], open_clip.SIMPLE_IMAGENET_TEMPLATES
        )
    arrays = (tensor.numpy() for tensor in (images, texts, probabilities, classifier.T))
    return Reference(checkpoint, *arrays)


def full_size(checkpoint, quick_gelu=True):
    return resolve_model(ModelRequest("ViT-B-32", checkpoint=checkpoint, quick_gelu=quick_gelu))


def load(checkpoint, quick_gelu):
    return load_engine(full_size(checkpoint, quick_gelu), EngineOptions("cpu", engine="torch"))


@pytest.fixture(scope="module")
def engine(reference):
    return load(reference.checkpoint, quick_gelu=True)


@pytest.fixture(scope="module")
def prepared(reference, tmp_path_factory):
    """The same model in ONNX Runtime."""
    preparation = Preparation(
        full_size(reference.checkpoint), reference.checkpoint, "fp32", lambda _: None
    )
    bundle = prepare(preparation, tmp_path_factory.mktemp("models") / "prepared")
    return OnnxEngine(bundle, EngineOptions("cpu"))


@pytest.fixture(scope="module")
def head(engine):
    return build_head(engine, LabelSet(LABELS))


def load_tiny(device="cpu", precision="fp32"):
    options = EngineOptions(device, precision, engine="torch")
    return load_engine(resolve_model(ModelRequest("tiny")), options)


@pytest.fixture(scope="module")
def tiny():
    return load_tiny()


def refs(sources):
    return [ImageRef(index, f"image {index}", source) for index, source in enumerate(sources)]


def results(engine, head, sources, **options):
    return list(classify(refs(sources), engine, head, PipelineOptions(images=REFERENCE, **options)))


def table(predictions, labels):
    """Probabilities of predictions in the order of the labels, shape (n, len(labels))."""
    rows = [{score.label: score.probability for score in found.scores} for found in predictions]
    return np.array([[row[label] for label in labels] for row in rows])


def probabilities(engine):
    """Of IMAGES and LABELS, shape (images, labels)."""
    return table(results(engine, build_head(engine, LabelSet(LABELS)), IMAGES), LABELS)


@pytest.mark.slow
class TestFullSize:
    @pytest.mark.parametrize(
        ("batch_size", "workers", "count"), [(1, 1, 5), (2, 4, 5), (3, 1, 5), (32, 4, len(IMAGES))]
    )
    def test_probabilities_are_open_clips_in_batches_of_any_size(
        self, reference, engine, head, batch_size, workers, count
    ):
        found = results(engine, head, IMAGES[:count], batch_size=batch_size, workers=workers)
        assert [prediction.index for prediction in found] == list(range(count))
        assert_allclose(table(found, LABELS), reference.probabilities[:count], rtol=0, atol=1e-6)

    def test_the_reference_tells_the_images_apart(self, reference):
        # Otherwise mixed-up images would pass the tests above.
        distances = np.abs(reference.probabilities[:, None] - reference.probabilities).max(axis=2)
        assert (distances + np.eye(len(IMAGES)) > 1e-5).all()

    def test_text_embeddings_are_open_clips(self, reference, head):
        assert_allclose(head.embeddings, reference.texts, rtol=0, atol=1e-6)

    def test_image_embeddings_are_open_clips(self, reference, engine):
        config, options = engine.info.preprocess, REFERENCE
        pixels = np.stack([preprocess(Image.open(path), config, options) for path in IMAGES[:6]])
        found = engine.encode_images(pixels)
        assert found.dtype == np.float32
        assert_allclose(found, reference.images[:6], rtol=0, atol=1e-5)

    def test_prepared_embeddings_and_answers_are_open_clips(self, reference, prepared, head):
        ours = build_head(prepared, LabelSet(LABELS))
        assert_allclose(ours.embeddings, reference.texts, rtol=0, atol=1e-4)
        config, options = prepared.info.preprocess, REFERENCE
        pixels = np.stack([preprocess(Image.open(path), config, options) for path in IMAGES])
        found = prepared.encode_images(pixels)
        assert_allclose(found, reference.images, rtol=0, atol=1e-4)
        order = np.argsort(-ours.similarities(found), axis=1, kind="stable")
        expected = np.argsort(-head.similarities(reference.images), axis=1, kind="stable")
        assert np.array_equal(order, expected)

    def test_a_short_context_is_the_full_one_in_both_engines(self, reference, engine, prepared):
        tokens = engine.tokenize(LABELS)
        length = tokens.lengths.max()
        assert length < tokens.ids.shape[1]
        for each in (engine, prepared):
            found = each.encode_tokens(np.ascontiguousarray(tokens.ids[:, :length]))
            assert_allclose(found, each.encode_tokens(tokens.ids), rtol=0, atol=1e-6)

    def test_templates_average_as_in_open_clips_zero_shot_classifier(self, reference, engine):
        labels = LabelSet(LABELS[:2], collect_templates(["openai7"]))
        found = build_head(engine, labels).embeddings
        assert_allclose(found, reference.classifier, rtol=0, atol=1e-6)

    def test_a_failure_in_the_block_changes_no_bit_of_its_neighbours(self, engine, head):
        whole = results(engine, head, IMAGES[:5], batch_size=3)
        holed = results(engine, head, [IMAGES[0], b"no image", *IMAGES[2:4], b""], batch_size=3)
        assert [i for i, result in enumerate(holed) if isinstance(result, Failure)] == [1, 4]
        assert [holed[i] for i in (0, 2, 3)] == [whole[i] for i in (0, 2, 3)]

    def test_without_quick_gelu_the_numbers_are_others(self, reference, head):
        plain = load(reference.checkpoint, quick_gelu=False)
        found = table(results(plain, build_head(plain, LabelSet(LABELS)), IMAGES[:2]), LABELS)
        assert np.abs(found - reference.probabilities[:2]).max() > 1e-4


def test_a_thousand_labels_share_one_probability(tiny, photos):
    head = build_head(tiny, LabelSet.of(collect_labels([], ["imagenet"]), ["{}"]))
    found = results(tiny, head, [photos / "chelsea.png", photos / "coffee.png"])
    for prediction in found:
        assert len(prediction.scores) == 1000
        assert sum(score.probability for score in prediction.scores) == pytest.approx(1, abs=1e-12)
        assert min(score.probability for score in prediction.scores) >= 0


def test_a_failure_carries_its_own_reason(tiny, photos):
    missing = InputError("not_found", "no such file")
    labels = build_head(tiny, LabelSet(("a cat", "a dog")))
    first, second = results(tiny, labels, [missing, photos / "chelsea.png"])
    assert (first.code, first.message) == ("not_found", "no such file")
    assert second.answer == "a cat"


# Significant bits of a number.
BITS = {"fp32": 24, "fp16": 11, "bf16": 8}


def most_moved(engine, precision):
    """How far a precision may move a probability.

    Every layer rounds anew, and errors that know nothing of each other grow with the root of their
    number: cosines are off by about 2^-bits times that, logits by `scale` times as much, and
    probabilities by a quarter of a logit's error at most.
    """
    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    layers = sum(isinstance(module, kinds) for module in engine._model.visual.modules())
    return 0.25 * engine.info.logit_scale * 2 ** -BITS[precision] * layers**0.5


class TestPrecision:
    def test_bf16_stays_near_fp32(self, tiny):
        engine = load_tiny("cpu", "bf16")
        assert engine.info.logit_scale == tiny.info.logit_scale
        found, expected = probabilities(engine), probabilities(tiny)
        assert 0 < np.abs(found - expected).max() < most_moved(tiny, "bf16")
        # And where an answer is more than a guess, it is the same.
        is_sure = expected.max(axis=1) > 0.8
        assert is_sure.sum() >= 3
        assert (found.argmax(axis=1) == expected.argmax(axis=1))[is_sure].all()

    def test_a_flat_model_moves_no_further_in_bf16_than_its_last_rounding(self, tmp_path):
        write_model(tmp_path / "clip", CLIP)
        spec = resolve_model(ModelRequest(str(tmp_path / "clip")))
        whole, half = (
            load_engine(spec, EngineOptions("cpu", precision, engine="torch"))
            for precision in ("fp32", "bf16")
        )
        moved = np.abs(probabilities(half) - probabilities(whole)).max()
        assert 0 < moved < 0.25 * whole.info.logit_scale * 2**-8

    def test_bf16_is_nearer_to_fp32_than_open_clips_own(self, tiny):
        """Which rounds the norms' weights, too."""
        folder = resolve_model(ModelRequest("tiny")).folder
        model, _, transform = open_clip.create_model_and_transforms(
            f"local-dir:{folder}", precision="bf16"
        )
        pixels = torch.stack([transform(Image.open(path).convert("RGB")) for path in IMAGES])
        with torch.inference_mode():
            features = model.eval().encode_image(pixels.bfloat16()).float()
        theirs = torch.nn.functional.normalize(features, dim=-1).numpy()
        ours = load_tiny("cpu", "bf16").encode_images(pixels.numpy())
        whole = tiny.encode_images(pixels.numpy())
        far, near = (1 - (whole * rows).sum(axis=1).mean() for rows in (theirs, ours))
        assert 0 < near < far < 0.02

    def test_bf16_keeps_the_layer_norms_in_fp32(self):
        model = load_tiny("cpu", "bf16")._model
        norms = [module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)]
        assert {norm.weight.dtype for norm in norms} == {torch.float32}
        assert model.transformer.resblocks[0].mlp[0].weight.dtype == torch.bfloat16

    def test_fp16_is_refused_on_a_cpu(self):
        with pytest.raises(UsageError, match="fp16 needs a GPU"):
            load_tiny("cpu", "fp16")

    @pytest.mark.skipif(
        torch.cuda.is_available() or torch.backends.mps.is_available(),
        reason="auto finds a GPU here",
    )
    def test_fp16_is_refused_where_auto_finds_only_a_cpu(self):
        with pytest.raises(UsageError, match="fp16 needs a GPU"):
            load_tiny("auto", "fp16")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestCuda:
    @pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
    def test_probabilities_are_those_of_the_cpu(self, tiny, precision):
        found = probabilities(load_tiny("cuda", precision))
        tolerance = max(1e-4, most_moved(tiny, precision))
        assert_allclose(found, probabilities(tiny), rtol=0, atol=tolerance)

    def test_a_device_that_is_not_there_is_refused(self):
        with pytest.raises(UsageError, match=r"cuda:99: torch .* finds \d+ CUDA device"):
            load_tiny("cuda:99", "fp32")

    def test_auto_takes_it(self):
        assert load_tiny("auto", "fp32").info.engine.endswith("on cuda")
