"""The catalogue agrees with the installed open_clip, without importing it."""

import importlib.util
import json
import subprocess
import sys

import open_clip
import pytest
from command import ROOT
from open_clip.pretrained import get_pretrained_cfg

from clipcli.models import catalogue
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest

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
    update_assets.main([])
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


def test_every_tag_is_open_clips_with_its_preprocessing_and_quick_gelu():
    own_word = set()
    for architecture, tag in open_clip.list_pretrained():
        base = architecture.removesuffix("-quickgelu")
        weights = catalogue.pretrained_tags(base)[tag]
        expected = get_pretrained_cfg(architecture, tag)
        assert weights.architecture == base
        for field in ("mean", "std", "interpolation", "resize_mode"):
            stored, theirs = weights.preprocess[field], expected[field]
            assert stored == theirs or tuple(stored) == theirs, (weights.name, field)
        if weights.quick_gelu != expected.get("quick_gelu", False):
            own_word.add(base)
    # open_clip builds this one with QuickGELU and warns that its tag does not say so.
    assert own_word == {"roberta-ViT-B-32"}
    assert open_clip.get_model_config("roberta-ViT-B-32")["quick_gelu"]


@pytest.fixture(scope="module")
def specs():
    """Architecture -> how its first weights are run, for all that have weights to be run."""
    entries = [entry for entry in catalogue.available() if entry.weights == "safetensors"]
    found = {}
    for entry in entries:
        spec = resolve_model(ModelRequest(entry.name))
        assert (spec.name, spec.config["quick_gelu"]) == (entry.name, entry.quick_gelu)
        assert spec.needs_transformers == entry.needs_transformers
        found.setdefault(entry.name.partition(":")[0], spec)
    return found


def test_sigmoid_models_are_the_siglips_and_only_these(specs):
    sigmoid = {name for name, spec in specs.items() if spec.activation == "sigmoid"}
    assert sigmoid == {name for name in specs if "siglip" in name.lower()}
    assert len(sigmoid) > 20


def test_texts_are_cut_only_where_the_text_tower_is_causal_and_pools_at_their_end(specs):
    whole = {name for name, spec in specs.items() if not spec.short_context}
    families = ("siglip", "coca", "mobileclip", "clipa", "roberta", "nllb")
    assert all(any(family in name.lower() for family in families) for name in whole)
    assert whole >= {"ViT-B-16-SigLIP", "coca_ViT-B-32", "MobileCLIP-S1", "ViT-L-14-CLIPA"}
    # MobileCLIP-B, unlike its smaller sisters, is causal.
    assert not whole & {"ViT-B-32", "RN50", "convnext_base", "EVA02-B-16", "MobileCLIP-B"}


@pytest.mark.parametrize(
    ("architecture", "length"),
    [
        ("ViT-B-32", 77),
        ("coca_ViT-B-32", 76),
        ("PE-Core-B-16", 32),
        ("ViT-B-16-SigLIP", 64),
        ("ViT-SO400M-14-SigLIP", 16),
    ],
)
def test_the_context_length_is_the_architectures(specs, architecture, length):
    assert specs[architecture].context_length == length
    if not specs[architecture].hub_tokenizer:
        assert open_clip.get_tokenizer(architecture).context_length == length


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


def test_the_list_has_every_tag_once_and_every_architecture_without_tags():
    names = [entry.name for entry in catalogue.available()]
    tagged = {
        f"{name}:{tag}" for name, tag in open_clip.list_pretrained() if "quickgelu" not in name
    }
    assert len(names) == len(set(names))
    assert set(names) >= tagged
    untagged = {name for name in open_clip.list_models() if "quickgelu" not in name}
    assert set(names) - tagged == untagged - {name.partition(":")[0] for name in tagged}


def test_an_entry_says_what_one_chooses_by():
    (found,) = catalogue.available("ViT-B-32:openai")
    assert found == catalogue.CatalogueEntry(
        name="ViT-B-32:openai",
        weights="safetensors",
        parameters=151.28,
        image_size=224,
        embed_dim=512,
        quick_gelu=True,
        needs_transformers=False,
        imagenet_top1=63.32,
    )
    assert {entry.weights for entry in catalogue.available("vitamin")} == {"pickle"}
    (bare,) = catalogue.available("ViT-S-32")[:1]
    assert (bare.name, bare.weights, bare.imagenet_top1) == ("ViT-S-32", None, None)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("vit-b-32:LAION2B_E", ["ViT-B-32:laion2b_e16"]),
        ("ViT-B/32:laion2b_*", ["ViT-B-32:laion2b_e16", "ViT-B-32:laion2b_s34b_b79k"]),
        ("vit-b-32-quickgelu:openai", ["ViT-B-32:openai"]),
        ("ViT-B-32-quickgelu:laion2b_e16", []),
        ("RN50:[oc]?*", ["RN50:openai", "RN50:cc12m"]),
        ("openai:", []),
    ],
)
def test_a_pattern_is_a_part_of_a_name_or_a_glob_of_a_whole_one(pattern, expected):
    assert [entry.name for entry in catalogue.available(pattern)] == expected


def test_every_architecture_has_its_figures():
    stored = json.loads((ASSETS / "figures.json").read_text(encoding="utf-8"))
    assert stored.keys() == {name for name in open_clip.list_models() if "quickgelu" not in name}
    for name, figures in stored.items():
        assert 40 < figures["parameters"] < 6000, name
        assert figures["imagenet_top1"].keys() <= catalogue.pretrained_tags(name).keys(), name
        assert all(0 < percent < 90 for percent in figures["imagenet_top1"].values()), name


@pytest.mark.parametrize("architecture", ["ViT-B-32", "RN50", "MobileCLIP-S1"])
def test_the_parameters_are_those_that_open_clip_builds(update_assets, architecture):
    (entry, *_) = catalogue.available(f"{architecture}:*")
    assert update_assets.count_parameters(architecture) == entry.parameters


def test_of_two_measurements_the_one_with_the_weights_own_activation_counts(
    update_assets, tmp_path
):
    results = tmp_path / "results.csv"
    results.write_text(
        "name,pretrained,ImageNet 1k\n"
        "ViT-B-32-quickgelu,laion400m_e32,0.6293\n"
        "ViT-B-32,laion400m_e32,0.6024\n"
        "ViT-B-32-quickgelu,laion2b_e16,0.1\n"
        "ViT-B-32,laion2b_e16,0.6565\n"
        "ViT-B-32,of another open_clip,0.5\n"
    )
    assert update_assets.imagenet_top1(results) == {
        "ViT-B-32": {"laion2b_e16": 65.65, "laion400m_e32": 62.93}
    }


def test_what_open_clip_cannot_build_by_itself_is_counted_in_its_own_table(
    update_assets, monkeypatch, tmp_path
):
    (tmp_path / "results.csv").write_text("name,pretrained,ImageNet 1k\n")
    (tmp_path / "profile.csv").write_text("model,mparams\nroberta-ViT-B-32,212.72\n")
    names = ("ViT-B-32", "ViT-B-32-quickgelu", "roberta-ViT-B-32")
    monkeypatch.setattr(update_assets, "architectures", lambda: names)
    found = update_assets.figures(tmp_path / "results.csv", tmp_path / "profile.csv")
    assert found == {
        "ViT-B-32": {"parameters": 151.28, "imagenet_top1": {}},
        "roberta-ViT-B-32": {"parameters": 212.72, "imagenet_top1": {}},
    }


def test_half_of_the_tables_is_refused(update_assets, capsys):
    with pytest.raises(SystemExit):
        update_assets.main(["--results", "results.csv"])
    assert "--results and --profile go together" in capsys.readouterr().err


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
        "import sys; from clipcli.models.names import ModelRequest, resolve_model;"
        "resolve_model(ModelRequest('ViT-B/32')); resolve_model(ModelRequest('tiny'));"
        "from clipcli.models import catalogue; assert len(catalogue.available()) > 150;"
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
