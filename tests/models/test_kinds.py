"""One small model of each kind of architecture, with random weights, in both engines.

The README's table of kinds says what works; these tests fail when that is no longer so.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from command import PHOTOS, ROOT
from numpy.testing import assert_allclose
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file
from tokenizer_files import save as save_tokenizer
from tokenizer_files import siglip as siglip_tokenizer

import clipcli.engines.torch.loading
from clipcli.engines.base import EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.engines.onnx import OnnxEngine
from clipcli.engines.torch.export import Preparation, prepare
from clipcli.errors import ModelError
from clipcli.heads.labels import LabelSet
from clipcli.heads.zero_shot import build_head
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.images.sources import ImageRef
from clipcli.models import catalogue
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest
from clipcli.runs.options import PipelineOptions
from clipcli.runs.pipeline import classify

HEADER = "| kind | torch | onnx |"
LABELS = ("a cat", "a cup of coffee", "a rocket on its launch pad")
IMAGES = sorted(PHOTOS.iterdir())

TEXT = {"width": 64, "heads": 2, "layers": 1}
VIT = {"image_size": 64, "width": 64, "layers": 1, "patch_size": 16}


@dataclass(frozen=True)
class Kind:
    """An architecture of open_clip, made small.

    Attributes:
        name: in the README's table.
        architecture: whose configuration is taken.
        vision: what of its `vision_cfg` is smaller here; timm's towers are other sizes of theirs.
        text: likewise of its `text_cfg`.
        more: likewise of the rest.
        tag: whose preprocessing is taken.
    """

    name: str
    architecture: str
    tag: str
    vision: dict = field(default_factory=dict)
    text: dict = field(default_factory=lambda: TEXT)
    more: dict = field(default_factory=dict)

    @property
    def size(self) -> int:
        return self.vision["image_size"]

    def config(self) -> dict:
        config = catalogue.architecture_config(self.architecture)
        small = {"embed_dim": 64, **self.more}
        vision, text = {**config["vision_cfg"], **self.vision}, {**config["text_cfg"], **self.text}
        return {**config, **small, "vision_cfg": vision, "text_cfg": text}

    def preprocess(self) -> dict:
        return dict(catalogue.pretrained_tags(self.architecture)[self.tag].preprocess)


KINDS = [
    Kind("ViT", "ViT-B-32", "laion2b_s34b_b79k", VIT),
    Kind("ModifiedResNet", "RN50", "openai", {"image_size": 64, "layers": [1] * 4, "width": 16}),
    Kind(
        "ConvNeXt",
        "convnext_base",
        "laion400m_s13b_b51k",
        {"image_size": 64, "timm_model_name": "test_convnext"},
    ),
    Kind(
        "SigLIP",
        "ViT-B-16-SigLIP",
        "webli",
        {"image_size": 160, "timm_model_name": "test_vit3"},
        {**TEXT, "vocab_size": 600},
        {"embed_dim": 96},
    ),
    Kind(
        "CoCa",
        "coca_ViT-B-32",
        "laion2b_s13b_b90k",
        {**VIT, "attn_pooler_heads": 2},
        more={
            "multimodal_cfg": {
                "context_length": 76,
                "vocab_size": 49408,
                "attn_pooler_heads": 2,
                **TEXT,
            }
        },
    ),
    Kind(
        "MobileCLIP",
        "MobileCLIP-S1",
        "datacompdr",
        {"image_size": 64, "timm_model_name": "fastvit_sa12"},
    ),
]
FOREIGN_TEXT = "text tower of transformers"


def write_folder(kind: Kind, folder: Path) -> torch.nn.Module:
    """An open_clip folder with random weights, and open_clip's own model of it."""
    content = {"model_cfg": kind.config(), "preprocess_cfg": kind.preprocess()}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    if "hf_tokenizer_name" in content["model_cfg"]["text_cfg"]:
        save_tokenizer(folder, *siglip_tokenizer())
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False).eval()
    save_file(dict(model.state_dict()), folder / "open_clip_model.safetensors")
    return model


@dataclass(frozen=True)
class Built:
    kind: Kind
    folder: Path
    reference: torch.nn.Module
    torch: object
    onnx: object


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def built(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds") / "small"
    folder.mkdir()
    reference = write_folder(request.param, folder)
    spec = resolve_model(ModelRequest(str(folder)))
    engine = load_engine(spec, EngineOptions("cpu", engine="torch"))
    preparation = Preparation(spec, spec.weights, "fp32", lambda _: None)
    bundle = prepare(preparation, folder.with_name("prepared"))
    return Built(request.param, folder, reference, engine, OnnxEngine(bundle, EngineOptions("cpu")))


@pytest.mark.slow
class TestSmallModels:
    def test_the_embeddings_are_open_clips_in_both_engines(self, built):
        settings = PreprocessCfg(**built.kind.preprocess(), size=built.kind.size)
        transform = image_transform_v2(settings, is_train=False)
        pixels = torch.stack([transform(Image.open(path)) for path in IMAGES])
        tokens = built.torch.tokenize(LABELS).ids
        with torch.inference_mode():
            images = built.reference.encode_image(pixels, normalize=True).numpy()
            texts = built.reference.encode_text(torch.from_numpy(tokens), normalize=True).numpy()
        for engine in (built.torch, built.onnx):
            assert_allclose(engine.encode_images(pixels.numpy()), images, rtol=0, atol=1e-5)
            head = build_head(engine, LabelSet(LABELS))
            assert_allclose(head.embeddings, texts, rtol=0, atol=1e-5)
            assert np.array_equal(engine.tokenize(LABELS).ids, tokens)
        # Otherwise mixed-up rows would pass.
        assert np.abs(images[0] - images[1]).max() > 1e-4 < np.abs(texts[0] - texts[1]).max()

    def test_it_classifies_with_one_answer_in_both_engines(self, built):
        refs = [ImageRef(index, path.name, path) for index, path in enumerate(IMAGES)]
        tables = []
        for engine in (built.torch, built.onnx):
            head = build_head(engine, LabelSet(LABELS))
            found = list(classify(refs, engine, head, PipelineOptions()))
            shares = [{score.label: score.probability for score in one.scores} for one in found]
            tables.append([[row[label] for label in LABELS] for row in shares])
        assert_allclose(*tables, rtol=0, atol=1e-5)
        # A sigmoid's shares are each on their own; after a bias of -10 random ones are near zero.
        sums = np.sum(tables[0], axis=1)
        assert (sums < 0.1).all() if built.kind.name == "SigLIP" else sums == pytest.approx(1)

    def test_what_is_particular_to_the_kind_is_taken_from_its_configuration(self, built):
        particular = {
            "ViT": ("softmax", True, 77),
            "ModifiedResNet": ("softmax", True, 77),
            "ConvNeXt": ("softmax", True, 77),
            "SigLIP": ("sigmoid", False, 64),
            "CoCa": ("softmax", False, 76),
            "MobileCLIP": ("softmax", False, 77),
        }
        for info in (built.torch.info, built.onnx.info):
            found = info.activation, info.short_context, info.context_length
            assert found == particular[built.kind.name]
            assert info.preprocess == PreprocessConfig.from_open_clip(
                built.kind.preprocess(), built.kind.size
            )
        padded = {len(row) for row in built.torch.tokenize(LABELS).ids}
        assert padded == {info.context_length}


def foreign_folder(folder: Path) -> Path:
    content = {"model_cfg": catalogue.architecture_config("roberta-ViT-B-32")}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    (folder / "open_clip_model.safetensors").touch()
    return folder


def test_a_text_tower_of_transformers_is_refused_without_transformers(tmp_path, monkeypatch):
    monkeypatch.setattr(clipcli.engines.torch.loading, "find_spec", lambda _name: None)
    spec = resolve_model(ModelRequest(str(foreign_folder(tmp_path)), allow_remote_names=True))
    with pytest.raises(ModelError, match=r"of the package transformers \(pip install transformers"):
        load_engine(spec, EngineOptions("cpu", engine="torch"))


@pytest.mark.slow
def test_a_text_tower_of_transformers_runs_in_torch_with_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    config = transformers.RobertaConfig(vocab_size=600, num_attention_heads=2, **sizes)
    config.save_pretrained(tmp_path / "text")
    content = {"model_cfg": catalogue.architecture_config("roberta-ViT-B-32")}
    content["model_cfg"]["vision_cfg"].update(VIT)
    names = dict.fromkeys(("hf_model_name", "hf_tokenizer_name"), str(tmp_path / "text"))
    content["model_cfg"]["text_cfg"].update(names)
    save_tokenizer(tmp_path, *siglip_tokenizer())
    save_tokenizer(tmp_path / "text", *siglip_tokenizer())
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    torch.manual_seed(0)
    model = open_clip.create_model(
        f"local-dir:{tmp_path}", load_weights=False, pretrained_text=False
    ).eval()
    save_file(dict(model.state_dict()), tmp_path / "open_clip_model.safetensors")
    spec = resolve_model(ModelRequest(str(tmp_path)))
    engine = load_engine(spec, EngineOptions("cpu", engine="torch"))
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path}")(list(LABELS))
    with torch.inference_mode():
        texts = model.encode_text(tokens, normalize=True).numpy()
    assert_allclose(build_head(engine, LabelSet(LABELS)).embeddings, texts, rtol=0, atol=1e-5)
    assert np.abs(texts[0] - texts[1]).max() > 1e-4


def test_a_text_tower_of_transformers_is_never_prepared(tmp_path):
    spec = resolve_model(ModelRequest(str(foreign_folder(tmp_path)), allow_remote_names=True))
    with pytest.raises(ModelError, match=r"cannot be prepared: .* it runs with --engine torch"):
        prepare(Preparation(spec, spec.weights, "fp32", lambda _: None), tmp_path / "prepared")
    with pytest.raises(ModelError, match=r"cannot be prepared: .* it runs with --engine torch"):
        load_engine(spec, EngineOptions("cpu", engine="onnx"))


def readme_table() -> dict[str, tuple[str, str]]:
    """Kind -> what the README says of torch and of onnx."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert HEADER in lines, "the README has no table of kinds"
    rows = {}
    for line in lines[lines.index(HEADER) + 2 :]:
        if not line.startswith("|"):
            break
        kind, torch_, onnx = (cell.strip() for cell in line.strip("|").split("|"))
        rows[kind.split(" (")[0]] = (torch_, onnx)
    return rows


def test_the_readmes_table_says_what_these_tests_show():
    expected = {kind.name: ("yes", "yes") for kind in KINDS}
    expected[FOREIGN_TEXT] = ("with the package transformers", "no")
    assert readme_table() == expected
