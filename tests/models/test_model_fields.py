"""Every field of a model's own files, wrong in every way: refused at once, and by its name."""

import json
import re
from contextlib import suppress
from copy import deepcopy

import open_clip
import pytest
from bundle_copies import MANIFEST
from hypothesis import given
from hypothesis import strategies as st
from transformers_models import CONFIG as TRANSFORMERS
from transformers_models import PIXELS

from clipcli.errors import ModelError
from clipcli.models.fields import LARGEST_FILE, parse_json
from clipcli.models.manifests import Manifest
from clipcli.models.model_fields import check_model, least_weights
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest
from clipcli.models.weights import fetch_model

VISION = {"image_size": 32, "patch_size": 16, "width": 32, "head_width": 16, "layers": 1}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
MODEL = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}

# What no field of its kind can hold. JSON has no NaN, and Python writes and reads one.
NO_TABLE = ["x", 7, True, [1]]
NO_WORD = [7, True, [], {}, ["argmax"], "x" * 10_000, "no such word", ""]
NO_FLAG = ["yes", "true", 0, 1, 1.0, [], {}]
NO_NUMBER = ["x", "1", "", True, [], {}, float("nan"), float("inf"), -float("inf"), 10**400, 1e300]
NO_COUNT = [*NO_NUMBER, -1, 1.5, 10**9, 10**40, [[1]], [1, 2, 3], {"a": 1}]

COUNTS = {
    "": ["embed_dim"],
    "vision_cfg": ["layers", "width", "head_width", "patch_size", "image_size"],
    "text_cfg": ["context_length", "vocab_size", "width", "heads", "layers", "pad_id", "eos_id"],
}
NUMBERS = {
    "": ["init_logit_scale", "init_logit_bias"],
    "vision_cfg": ["mlp_ratio", "ls_init_value", "patch_dropout", "timm_drop", "timm_drop_path"],
    "text_cfg": ["mlp_ratio", "ls_init_value"],
}
FLAGS = {
    "": ["quick_gelu", "custom_text", "nonscalar_logit_scale"],
    "vision_cfg": ["no_ln_pre", "qk_norm", "scale_fc", "timm_proj_bias", "output_tokens"],
    "text_cfg": ["no_causal_mask", "embed_cls", "proj_bias", "scale_heads", "hf_model_pretrained"],
}
WORDS = {
    "vision_cfg": ["pool_type", "block_type", "pos_embed_type"],
    "text_cfg": ["pool_type", "block_type", "proj_type", "hf_pooler_type"],
}
TABLES = {
    "": ["vision_cfg", "text_cfg", "multimodal_cfg"],
    "vision_cfg": ["norm_kwargs", "act_kwargs"],
    "text_cfg": ["norm_kwargs", "act_kwargs", "tokenizer_kwargs"],
}
KINDS = (
    (COUNTS, NO_COUNT),
    (NUMBERS, NO_NUMBER),
    (FLAGS, NO_FLAG),
    (WORDS, NO_WORD),
    (TABLES, NO_TABLE),
)
MUTANTS = [
    (tower, name, value)
    for fields, values in KINDS
    for tower, names in fields.items()
    for name in names
    for value in values
]
PREPROCESS = [
    *(("mean", value) for value in [*NO_NUMBER, [0.5], [1, 2, 3, 4], [0, 0, "x"], [0, 0, None]]),
    *(("std", value) for value in [*NO_NUMBER, 0, -1, [1, 1], [1, 1, 0], [1, 1, float("nan")]]),
    *(("interpolation", value) for value in NO_WORD),
    *(("resize_mode", value) for value in NO_WORD),
    *(("fill_color", value) for value in [*NO_COUNT, 256]),
    *(("size", value) for value in NO_COUNT),
    *(("mode", value) for value in ["L", "rgb", 3]),
    ("crop_pct", 0.9),
    ("interpolaton", "bicubic"),
]


def write(folder, content, name="open_clip_config"):
    folder.mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / f"{name}.json").write_text(text)
    return folder


def with_field(tower, name, value):
    config = deepcopy(MODEL)
    (config[tower] if tower else config)[name] = value
    return config


def refusal(folder):
    with pytest.raises(ModelError) as caught:
        resolve_model(ModelRequest(str(folder)))
    message = str(caught.value)
    assert len(message) < len(str(folder)) + 350
    assert "\n" not in message
    return message


def refused_by_name(folder, name, contents):
    for content in contents:
        message = refusal(write(folder, content))
        assert f"{name} is" in message or f"{name}.0 is" in message, content


@pytest.mark.parametrize("tower", ["", "vision_cfg", "text_cfg"])
def test_each_field_that_is_wrong_is_named(tower, tmp_path):
    mutants = [mutant for mutant in MUTANTS if mutant[0] == tower]
    assert len(mutants) > 60
    for _, name, value in mutants:
        place = f"{tower}.{name}" if tower else name
        content = {"model_cfg": with_field(tower, name, value)}
        refused_by_name(tmp_path / "clip", place, [content])


def test_so_is_each_of_the_preprocessing(tmp_path):
    for name, value in PREPROCESS:
        content = {"model_cfg": MODEL, "preprocess_cfg": {name: value}}
        refused_by_name(tmp_path / "clip", f"preprocess_cfg.{name}", [content])


@pytest.mark.parametrize(
    ("tower", "change", "words"),
    [
        ("", {"wings": 2}, "model_cfg.wings is unknown"),
        ("", {"embed_dimm": 2}, r"embed_dimm is unknown \(did you mean embed_dim\?\)"),
        ("vision_cfg", {"a\nb": 2}, r"vision_cfg.'a\\nb' is unknown"),
        ("vision_cfg", {"layers": 10**9}, "vision_cfg.layers is 1000000000: it must be a whole"),
        ("vision_cfg", {"layers": [1, 2, 3]}, "vision_cfg.layers is"),
        ("vision_cfg", {"layers": None}, "vision_cfg.layers is null: only towers of timm"),
        ("vision_cfg", {"layers": [1] * 4, "image_size": [32, 32]}, "image_size is a list"),
        ("vision_cfg", {"width": 40}, "vision_cfg.width is 40, no multiple of its head_width 16"),
        ("vision_cfg", {"head_width": 64}, "vision_cfg.width is 32, no multiple of its head_width"),
        ("vision_cfg", {"patch_size": 64}, "vision_cfg.patch_size is 64, larger than its image_si"),
        ("vision_cfg", {"norm_kwargs": {"eps": -1}}, "vision_cfg.norm_kwargs.eps is -1"),
        ("vision_cfg", {"act_kwargs": {"inplace": True}}, "vision_cfg.act_kwargs.inplace is unkn"),
        ("text_cfg", {"width": 33}, "text_cfg.width is 33, no multiple of its 2 heads"),
        ("text_cfg", {"vocab_size": 49407}, "text_cfg.vocab_size is 49,407, fewer than the 49,408"),
        ("text_cfg", {"pool_type": "none"}, "text_cfg.pool_type is 'none'"),
        ("text_cfg", {"tokenizer_mode": "clips"}, "tokenizer_mode goes with a hf_tokenizer_name"),
        ("text_cfg", {"tokenizer_kwargs": {"context_length": 8}}, "kwargs.context_length is unkno"),
        ("text_cfg", {"tokenizer_kwargs": {"bpe_path": "/etc/passwd"}}, "bpe_path is unknown"),
        ("text_cfg", {"tokenizer_kwargs": {"clean": "upper"}}, "tokenizer_kwargs.clean is 'upper'"),
        *(
            ("text_cfg", {"tokenizer_kwargs": {"reduction_mask": mask}}, "reduction_mask is .*rand")
            for mask in ("simple", "random", "shuffle", "syntax", "x", 3)
        ),
        *(
            (
                "text_cfg",
                {"tokenizer_kwargs": {"additional_special_tokens": tokens}},
                "additional_special_tokens (is|cannot be used)",
            )
            for tokens in ("<a>", [3], [""], ["cat"], ["[MASK]"], ["(a+)+$"], ["<a>", "<a>"])
        ),
        (
            "text_cfg",
            {
                "vocab_size": 49409,
                "tokenizer_kwargs": {"additional_special_tokens": ["<a>", "<b>"]},
            },
            "text_cfg.vocab_size is 49,409, fewer than the 49,410",
        ),
        *(
            ("text_cfg", {"hf_tokenizer_name": "o/n", "tokenizer_kwargs": {name: True}}, name)
            for name in ("trust_remote_code", "cache_dir", "use_fast", "proxies", "vocab_file")
        ),
    ],
)
def test_what_does_not_go_together_or_is_not_done_is_named(tmp_path, tower, change, words):
    config = deepcopy(MODEL)
    (config[tower] if tower else config).update(change)
    assert re.search(words, refusal(write(tmp_path / "clip", {"model_cfg": config})))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"model_cfg": {}, "model_cfg": {}}', "it has 'model_cfg' twice in one table"),
        ('{"model_cfg": {"embed_dim": 8, "embed_dim": 9}}', "it has 'embed_dim' twice"),
        ('{"a": ' * 5000 + "1" + "}" * 5000, "not readable as JSON"),
        ('{"model_cfg": {"embed_dim": ' + "9" * 5000 + "}}", "not readable as JSON"),
        (" " * LARGEST_FILE + "{}", "it has more than 16,777,216 bytes"),
    ],
)
def test_a_file_that_says_one_thing_twice_or_too_much_is_none(tmp_path, text, words):
    assert words in refusal(write(tmp_path / "clip", text))


def test_every_configuration_of_open_clips_is_one():
    for name in open_clip.list_models():
        check_model(open_clip.get_model_config(name))


def test_the_weights_that_are_counted_are_never_more_than_there_are():
    configs = [MODEL, {**MODEL, "vision_cfg": {**VISION, "layers": [1] * 4}}]
    configs += [{**MODEL, "text_cfg": {**TEXT, "mlp_ratio": 3.3, "proj_type": "none", "width": 16}}]
    for config in configs:
        model = open_clip.CLIP(**deepcopy(config))
        visual = sum(weights.numel() for weights in model.visual.parameters())
        others = sum(weights.numel() for weights in model.parameters()) - visual
        counted = least_weights(config)
        assert 0.1 * visual < counted["vision_cfg"] <= visual
        assert 0.5 * others < counted["text_cfg"] <= others


@pytest.mark.parametrize(
    ("tower", "change"),
    [
        ("vision_cfg", {"layers": 512, "width": 65536}),
        ("text_cfg", {"layers": 500, "width": 65536}),
        ("text_cfg", {"vocab_size": 1 << 24}),
        ("vision_cfg", {"layers": [1] * 4, "width": 65536}),
        ("vision_cfg", {"image_size": 8192, "patch_size": 1}),
    ],
)
def test_towers_that_the_weights_cannot_fill_are_refused_before_they_take_memory(
    tmp_path, tower, change
):
    config = deepcopy(MODEL)
    config[tower].update(change)
    folder = write(tmp_path / "clip", {"model_cfg": config})
    (folder / "open_clip_model.safetensors").write_bytes(bytes(1000))
    spec = resolve_model(ModelRequest(str(folder)))
    with pytest.raises(ModelError, match=rf"model_cfg.{tower} describes at least [\d,]+ weights"):
        fetch_model(spec, offline=True)


TRANSFORMERS_FIELDS = [
    ("vision_config", "hidden_size"),
    ("vision_config", "intermediate_size"),
    ("vision_config", "num_hidden_layers"),
    ("vision_config", "num_attention_heads"),
    ("vision_config", "image_size"),
    ("vision_config", "patch_size"),
    ("text_config", "hidden_size"),
    ("text_config", "num_hidden_layers"),
    ("text_config", "max_position_embeddings"),
    ("", "projection_dim"),
]


@pytest.mark.parametrize(("tower", "name"), TRANSFORMERS_FIELDS)
def test_a_field_of_transformers_is_named_as_there(tmp_path, tower, name):
    for value in NO_COUNT:
        content = deepcopy(TRANSFORMERS)
        (content[tower] if tower else content)[name] = value
        message = refusal(write(tmp_path / "clip", content, "config"))
        assert name in message, value
        assert "config.json" in message


@pytest.mark.parametrize("name", ["image_mean", "image_std", "resample", "size", "rescale_factor"])
def test_so_is_one_of_its_preprocessor(tmp_path, name):
    folder = write(tmp_path / "clip", TRANSFORMERS, "config")
    for value in ("x", float("nan"), [[1]], {"a": 1}, -5000, 10**40, [float("inf")] * 3):
        write(folder, {**PIXELS, name: value}, "preprocessor_config")
        message = refusal(folder)
        assert (name in message) or (name == "size" and "resized to" in message), value
    write(folder, {**PIXELS, "image_std": [1, 1, 0]}, "preprocessor_config")
    assert "image_std is [1, 1, 0]" in refusal(folder)


# Of a manifest, what its fields cannot hold, or do not agree with.
IN_A_MANIFEST = {
    "format": [0, 2, "1", None],
    "model": [3, None, []],
    "fingerprint": ["", "x" * 32, 3, "ab" * 15],
    "precision": ["fp16", "fp64", "", 8, ["fp32"]],
    "weights_sha256": ["", "y" * 64, 3],
    "config": NO_TABLE,
    "preprocess": NO_TABLE,
    "embed_dim": [*NO_COUNT, MANIFEST["embed_dim"] + 1],
    "context_length": [*NO_COUNT, MANIFEST["context_length"] - 1],
    "short_context": [*NO_FLAG, False],
    "clean": ["upper", "whitespace", 3, None],
    "logit_scale": [*NO_NUMBER, None],
    "logit_bias": [*NO_NUMBER, None],
    "activation": ["tanh", "sigmoid", 3, None],
    "versions": NO_TABLE,
    "parity": NO_TABLE,
    "files": NO_TABLE,
    "hub_tokenizer": NO_TABLE,
}


class TestManifest:
    @pytest.mark.parametrize("name", IN_A_MANIFEST)
    def test_each_field_that_is_wrong_or_missing_is_named(self, name):
        for value in IN_A_MANIFEST[name]:
            wish = "not a manifest of this version" if name == "format" else name
            with pytest.raises(ValueError, match=wish):
                Manifest.from_json(json.dumps({**MANIFEST, name: value}))
        rest = {key: value for key, value in MANIFEST.items() if key != name}
        if name not in ("hub_tokenizer", "format"):
            with pytest.raises(ValueError, match=f"{name} is missing"):
                Manifest.from_json(json.dumps(rest))

    @pytest.mark.parametrize(
        ("path", "value", "words"),
        [
            (("preprocess", "size"), [64], "preprocess_cfg.size is"),
            (("preprocess", "size"), 64, "preprocess.size is missing"),
            (("preprocess", "size"), [64, 10**9], "preprocess_cfg.size is"),
            (("preprocess", "mean"), [0, 0, "x"], "preprocess_cfg.mean is"),
            (("preprocess", "std"), [1, 1, 0], "preprocess_cfg.std is"),
            (("config", "embed_dim"), 64, r"embed_dim is \d+, and by its config 64"),
            (("config", "text_cfg", "context_length"), 64, r"context_length is \d+, and by its"),
            (("config", "text_cfg", "no_causal_mask"), True, "short_context is True, and by its"),
            (("config", "text_cfg", "hf_tokenizer_name"), "a/b", "short_context|hub_tokenizer"),
            (("config", "text_cfg", "layers"), 10**9, "model_cfg.text_cfg.layers is 1000000000"),
            (("config", "init_logit_bias"), -10, "activation is 'softmax', and by its config 'sig"),
            (("files", "image.onnx", "size"), -1, "files.'image.onnx'.size|files.image.onnx.size"),
            (("files", "image.onnx", "size"), "9", "size is '9'"),
            (("files", "image.onnx", "sha256"), "", "sha256 is ''"),
            (("files", "image.onnx", "more"), 1, "more is unknown"),
            (("files", "../x"), {"size": 1, "sha256": "0" * 64}, "'../x', which is no name within"),
            (("files", "/etc/passwd"), {"size": 1, "sha256": "0" * 64}, "which is no name within"),
            (("more",), 1, "more is unknown"),
        ],
    )
    def test_so_is_one_within_another_and_what_contradicts_the_configuration(
        self, path, value, words
    ):
        content = deepcopy(MANIFEST)
        table = content
        for name in path[:-1]:
            table = table[name]
        table[path[-1]] = value
        with pytest.raises(ValueError, match=words):
            Manifest.from_json(json.dumps(content))

    def test_the_bundled_one_is_whole(self):
        assert Manifest.from_json(json.dumps(MANIFEST)).embed_dim == MANIFEST["embed_dim"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@given(
    tower=st.sampled_from(["vision_cfg", "text_cfg", "preprocess_cfg"]),
    name=st.sampled_from(
        [*(name for fields, _ in KINDS for names in fields.values() for name in names)]
    ),
    value=JSON,
)
def test_whatever_a_field_holds_it_is_taken_or_refused(tmp_path_factory, tower, name, value):
    content = {"model_cfg": deepcopy(MODEL), "preprocess_cfg": {}}
    (content["model_cfg"].get(tower, content["preprocess_cfg"]))[name] = value
    folder = write(tmp_path_factory.getbasetemp() / "any", content)
    with suppress(ModelError):
        spec = resolve_model(ModelRequest(str(folder)))
        assert spec.context_length > 0
        assert spec.text_cleaning in ("lower", "whitespace", "canonicalize")


def test_json_of_a_table_keeps_its_order():
    assert list(parse_json('{"b": 1, "a": {"d": 1, "c": 2}}')) == ["b", "a"]
