"""The catalogue agrees with the installed open_clip, without importing it."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
from open_clip.pretrained import get_pretrained_cfg

from clipcli import catalogue

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "src" / "clipcli" / "assets"


@pytest.fixture(scope="module")
def update_assets():
    script = ROOT / "scripts" / "update_assets.py"
    spec = importlib.util.spec_from_file_location("update_assets", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stored_tags_are_open_clips(update_assets):
    stored = json.loads((ASSETS / "pretrained.json").read_text(encoding="utf-8"))
    assert stored == update_assets.pretrained_tags()


def test_running_the_script_would_change_no_file(update_assets, monkeypatch, tmp_path):
    for folder in ("labels", "templates"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(update_assets, "ASSETS", tmp_path)
    update_assets.main()
    written = [path.relative_to(tmp_path) for path in tmp_path.rglob("*.*")]
    assert len(written) == 4
    for path in written:
        assert (ASSETS / path).read_bytes() == (tmp_path / path).read_bytes(), path


def test_imagenet_has_a_thousand_distinct_labels_open_clips_but_for_two(update_assets):
    labels = (ASSETS / "labels" / "imagenet.txt").read_text(encoding="utf-8").splitlines()
    theirs = open_clip.IMAGENET_CLASSNAMES
    assert len(set(labels)) == len(labels) == 1000
    changed = {
        i for i, (ours, other) in enumerate(zip(labels, theirs, strict=True)) if ours != other
    }
    assert changed == update_assets.DISTINCT_CLASSNAMES.keys()


def test_architectures_are_open_clips():
    assert sorted(catalogue.architectures()) == sorted(open_clip.list_models())
    for name in catalogue.architectures():
        assert catalogue.architecture_config(name) == open_clip.get_model_config(name), name


def test_every_tag_is_open_clips_with_its_quick_gelu():
    own_word = set()
    for architecture, tag in open_clip.list_pretrained():
        base = architecture.removesuffix("-quickgelu")
        weights = catalogue.pretrained_tags(base)[tag]
        expected = get_pretrained_cfg(architecture, tag)
        assert weights.architecture == base
        assert list(weights.preprocess["mean"]) == list(expected["mean"])
        assert weights.preprocess["interpolation"] == expected["interpolation"]
        if weights.quick_gelu != expected.get("quick_gelu", False):
            own_word.add(base)
    # open_clip builds this one with QuickGELU and warns that its tag does not say so.
    assert own_word == {"roberta-ViT-B-32"}
    assert open_clip.get_model_config("roberta-ViT-B-32")["quick_gelu"]


def test_a_quickgelu_name_lists_the_tags_that_need_it():
    tags = catalogue.pretrained_tags("ViT-B-32-quickgelu")
    assert list(tags) == [
        tag for arch, tag in open_clip.list_pretrained() if arch.endswith("B-32-quickgelu")
    ]
    assert {weights.name for weights in tags.values()} >= {"ViT-B-32:openai"}
    assert "laion2b_s34b_b79k" not in tags


def test_a_quickgelu_architecture_is_its_twin_with_quick_gelu():
    twins = [name for name in catalogue.architectures() if name.endswith("-quickgelu")]
    assert len(twins) > 10
    for name in twins:
        plain = catalogue.architecture_config(name.removesuffix("-quickgelu"))
        assert catalogue.architecture_config(name) == {**plain, "quick_gelu": True}, name


@pytest.mark.parametrize(
    ("word", "expected"),
    [("vit-b-23", "ViT-B-32"), ("ViTB32", "ViT-B-32"), ("vit-l14", "ViT-L-14"), ("qwxyz", None)],
)
def test_the_nearest_names_of_a_misspelt_one(word, expected):
    found = catalogue.nearest(word, catalogue.architectures())
    assert len(found) <= 3
    assert expected in found if expected else found == []


def test_reading_the_catalogue_imports_neither_torch_nor_open_clip():
    code = (
        "import sys; from clipcli.models import ModelRequest, resolve_model;"
        "resolve_model(ModelRequest('ViT-B/32')); resolve_model(ModelRequest('tiny'));"
        "sys.exit(bool({'torch', 'open_clip', 'numpy', 'huggingface_hub'} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_open_clip_there_are_no_architectures(monkeypatch):
    monkeypatch.setattr(catalogue, "find_spec", lambda name: None)
    catalogue.architectures.cache_clear()
    try:
        assert catalogue.architectures() == {}
    finally:
        catalogue.architectures.cache_clear()
