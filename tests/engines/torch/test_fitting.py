"""Weights under names that are longer than a model's, or in one table of several."""

import json
import warnings
from argparse import Namespace
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from checkpoint_files import load
from numpy.testing import assert_array_equal
from safetensors.torch import load_file, save_file
from small_models import CLIP, TEXT, VISION, write_model
from timm.models import register_model
from transformers_models import pixels, random_model, to_transformers, translated, write_config

from clipcli.engines.torch.conversion import convert
from clipcli.errors import ClipcliWarning, ModelError
from clipcli.models import catalogue
from clipcli.models.specs import ModelRequest


class Settings(dict):
    """As Lightning keeps a model's hyper-parameters: a table that is a class of its own."""


class Kind(Enum):
    SMALL = "small"


@dataclass
class Schedule:
    steps: int


def trainers_own(model):
    """What a trainer leaves beside the weights, and torch's reader of tensors refuses."""
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.step()
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "callbacks": {Namespace: {"best": Path("best.ckpt")}, "EarlyStopping{}": {"wait": 0}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [{"function": partial(max, 1)}],
        "hyper_parameters": Settings(
            kind=Kind.SMALL, schedule=Schedule(3), options=Namespace(lr=1e-3), folder=Path("x")
        ),
        "counts": defaultdict(int, steps=3),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model's configuration beside its weights."""
    folder = tmp_path_factory.mktemp("fitting") / "model"
    model = random_model(folder, {**CLIP, "quick_gelu": True})
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def state(folder):
    return load_file(folder / "open_clip_model.safetensors")


@pytest.fixture(scope="module")
def expected(folder):
    return load(ModelRequest(str(folder))).encode_images(pixels())


def prefixed(prefix, state):
    return {prefix + key: value for key, value in state.items()}


def changed(state):
    return {key: value + 1 if value.is_floating_point() else value for key, value in state.items()}


def saved(content, file):
    (save_file if file.suffix == ".safetensors" else torch.save)(content, file)
    return file


def read(folder, file):
    return load(ModelRequest(str(folder), file, allow_pickle=True))


PREFIXES = [
    *("model.", "clip.", "net.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."),
    *("model.module.", "model.clip.model.", "student.", "visual."),
]
TABLES = [("model",), ("model_state_dict",), ("ema",), ("module",), ("ema", "shadow")]


class TestFits:
    @pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_without_its_common_prefix(self, folder, state, expected, tmp_path, prefix, suffix):
        file = saved(prefixed(prefix, state), tmp_path / f"x{suffix}")
        with pytest.warns(ClipcliWarning) as told:
            engine = read(folder, file)
        assert_array_equal(engine.encode_images(pixels()), expected)
        assert [str(each.message) for each in told] == [
            f"{file}: the weights without the prefix {prefix!r} fit, and are taken"
        ]

    @pytest.mark.parametrize("prefix", ["", "module.", "clip."])
    @pytest.mark.parametrize("path", TABLES, ids=".".join)
    def test_as_one_table_of_several(self, folder, state, expected, tmp_path, path, prefix):
        content = prefixed(prefix, state)
        for name in reversed(path):
            content = {name: content, "decay": 0.99, "optimizer": {"state": {0: torch.ones(3)}}}
        with pytest.warns(ClipcliWarning, match=rf"x\.pt: the weights of '{'.'.join(path)}'"):
            engine = read(folder, saved(content, tmp_path / "x.pt"))
        assert_array_equal(engine.encode_images(pixels()), expected)

    @pytest.mark.parametrize("content", ["plain", "state_dict", "module.", "state_dict module."])
    def test_what_open_clip_itself_reads_needs_no_word(
        self, folder, state, expected, tmp_path, content
    ):
        found = prefixed("module." if "module." in content else "", state)
        if "state_dict" in content:
            # An average beside them, too, as training scripts keep one.
            found = {"epoch": 3, "state_dict": found, "state_dict_ema": changed(state)}
        engine = read(folder, saved(found, tmp_path / "x.pt"))
        assert_array_equal(engine.encode_images(pixels()), expected)

    def test_of_a_trainer_with_all_that_it_keeps(self, folder, state, expected, tmp_path):
        own = trainers_own(torch.nn.Linear(2, 2))
        own["state_dict"] = {**prefixed("model.", state), "loss.logit_scale": torch.ones(())}
        file = saved(own, tmp_path / "last.ckpt")
        message = r"of 'state_dict' without the prefix 'model\.' fit, and are taken \(of 1 other"
        with pytest.warns(ClipcliWarning, match=message):
            engine = read(folder, file)
        assert_array_equal(engine.encode_images(pixels()), expected)
        # The classes that it names were not looked for: this one runs nothing.
        convert(file, tmp_path / "x.safetensors")
        assert load_file(tmp_path / "x.safetensors").keys() == own["state_dict"].keys()

    def test_a_part_that_torch_wrapped(self, folder, state, expected, tmp_path):
        wrapped = {
            key.replace("visual.", "visual._orig_mod."): value for key, value in state.items()
        }
        with pytest.warns(ClipcliWarning, match="without the names of torch's wrappers"):
            engine = read(folder, saved(wrapped, tmp_path / "x.pt"))
        assert_array_equal(engine.encode_images(pixels()), expected)

    def test_under_two_names_that_are_the_same_weights(self, folder, state, expected, tmp_path):
        both = {**prefixed("model.", state), **prefixed("net.", state)}
        with pytest.warns(ClipcliWarning, match="prefix"):
            engine = read(folder, saved(both, tmp_path / "x.pt"))
        assert_array_equal(engine.encode_images(pixels()), expected)

    def test_transformers_names(self, tmp_path):
        model = random_model(tmp_path / "model", translated())
        content = prefixed("clip.", to_transformers(model.state_dict()))
        with pytest.warns(ClipcliWarning, match=r"without the prefix 'clip\.'"):
            engine = read(tmp_path / "model", saved(content, tmp_path / "x.pt"))
        assert torch.equal(engine.image_tower().model.visual.proj, model.visual.proj)

    def test_todays_layout_of_older_names(self, tmp_path):
        model = write_model(tmp_path / "plain", CLIP)
        write_model(tmp_path / "custom", {**CLIP, "custom_text": True})
        content = saved(prefixed("model.", model.state_dict()), tmp_path / "x.pt")
        with pytest.warns(ClipcliWarning, match=r"without the prefix 'model\.'"):
            engine = read(tmp_path / "custom", content)
        assert torch.equal(engine.image_tower().model.visual.proj, model.visual.proj)


class TestRefused:
    """Nothing is guessed: all names and shapes fit, or none of it is taken."""

    def refused(self, folder, content, file, message):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ModelError, match=message) as caught:
                read(folder, saved(content, file))
        assert "\n" not in str(caught.value)

    def test_two_sets_of_weights(self, folder, state, tmp_path):
        content = {"model": state, "ema": changed(state)}
        message = r"more than one set .*\(the weights of 'model'; the weights of 'ema'\): save the"
        self.refused(folder, content, tmp_path / "x.pt", message)
        content = {**prefixed("student.", state), **prefixed("teacher.", changed(state))}
        message = r"prefix 'student\.'; the weights without the prefix 'teacher\.'\): save the one"
        self.refused(folder, content, tmp_path / "x.pt", message)
        message = "holds more than one set of weights"
        with pytest.raises(ModelError, match=message + r" \(model, ema\): save one alone"):
            convert(
                saved({"model": state, "ema": changed(state)}, tmp_path / "x.pt"),
                tmp_path / "x.safetensors",
            )

    def test_one_that_lacks_a_tensor(self, folder, state, tmp_path):
        part = {key: value for key, value in state.items() if key != "visual.proj"}
        message = r"'model\.'\) does not fit this architecture: 1 missing \(visual\.proj\)$"
        self.refused(folder, prefixed("model.", part), tmp_path / "x.pt", message)

    def test_one_with_a_foreign_tensor_under_the_same_prefix(self, folder, state, tmp_path):
        more = {**state, "head.weight": torch.zeros(2)}
        message = r"'model\.'\) does not fit .*: 1 unknown \(head\.weight\)$"
        self.refused(folder, prefixed("model.", more), tmp_path / "x.pt", message)

    def test_one_with_a_foreign_tensor_and_no_prefix(self, folder, state, tmp_path):
        more = {**state, "head.weight": torch.zeros(2)}
        message = r"x\.pt does not fit this architecture: 1 unknown \(head\.weight\)$"
        self.refused(folder, more, tmp_path / "x.pt", message)

    def test_two_prefixes(self, folder, state, tmp_path):
        content = {
            ("image." if key.startswith("visual.") else "text.") + key: value
            for key, value in state.items()
        }
        self.refused(
            folder,
            content,
            tmp_path / "x.pt",
            r"'image\.'\) does not fit this architecture: 18 missing",
        )

    def test_a_class_in_a_tensors_place(self, folder, state, tmp_path):
        content = {**state, "visual.proj": Namespace(a=1)}
        self.refused(folder, content, tmp_path / "x.pt", r"1 missing \(visual\.proj\)")
        message = r"asks for argparse\.Namespace, .* nothing of it was run"
        self.refused(folder, Namespace(a=1), tmp_path / "x.pt", message)

    def test_a_table_that_holds_itself(self, folder, tmp_path):
        content = OrderedDict(a=torch.ones(2))
        content["b"] = {"c": content}
        self.refused(folder, content, tmp_path / "x.pt", "missing")

    def test_without_leave_a_trainers_file_is_not_opened(self, folder, tmp_path):
        torch.save({}, tmp_path / "x.ckpt")
        with pytest.raises(ModelError, match=r"x\.ckpt: clipcli reads only .* --allow-pickle"):
            load(ModelRequest(str(folder), tmp_path / "x.ckpt"))


LARGER = {**CLIP, "vision_cfg": {**VISION, "image_size": 48}}
LONGER = {**CLIP, "text_cfg": {**TEXT, "context_length": 20}}
BOTH = {**LONGER, "vision_cfg": LARGER["vision_cfg"]}
QUICK = {"quick_gelu": True}
CUSTOM = {**CLIP, "custom_text": True}
RESNET = {"image_size": 64, "layers": [1] * 4, "width": 16}


class TestOtherSizes:
    """The message's configuration loads the weights, with nothing interpolated."""

    @pytest.mark.parametrize(
        ("trained", "asked", "fact"),
        [
            (LARGER, CLIP, "images of 48 pixels and not 32"),
            (CLIP, LARGER, "images of 32 pixels and not 48"),
            (LONGER, CLIP, "a context of 20 tokens and not 16"),
            (
                {**LARGER, **LONGER, "vision_cfg": LARGER["vision_cfg"]},
                CLIP,
                "a context of 20 tokens and not 16 and images of 48 ",
            ),
            (
                {**LONGER, "custom_text": True},
                {**CLIP, "custom_text": True},
                "a context of 20 tokens",
            ),
            (
                {**LONGER, "quick_gelu": True},
                {**CLIP, "quick_gelu": True},
                "a context of 20 tokens",
            ),
            (
                {
                    **LONGER,
                    "custom_text": True,
                    "text_cfg": {**LONGER["text_cfg"], "embed_cls": True},
                },
                {**CLIP, "custom_text": True, "text_cfg": {**TEXT, "embed_cls": True}},
                "a context of 20 tokens and not 16",
            ),
            (
                {**CLIP, "vision_cfg": {**RESNET, "image_size": 96}},
                {**CLIP, "vision_cfg": RESNET},
                "images of 96 pixels and not 64",
            ),
        ],
    )
    @pytest.mark.parametrize("prefix", ["", "model."])
    def test_they_are_named_with_what_loads_them(self, tmp_path, trained, asked, fact, prefix):
        model = write_model(tmp_path / "trained", trained)
        file = saved(prefixed(prefix, model.state_dict()), tmp_path / "x.safetensors")
        write_config(tmp_path / "asked", asked)
        with pytest.raises(ModelError, match=f"It was trained with {fact}") as caught:
            load(ModelRequest(str(tmp_path / "asked"), file))
        message = str(caught.value)
        assert f"the model is ./FOLDER with --checkpoint {file}: " in message
        assert "nothing is interpolated here" in message
        (tmp_path / "pasted").mkdir()
        line = message[message.index("{") :]
        (tmp_path / "pasted" / "open_clip_config.json").write_text(line)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if prefix else "error")
            engine = load(ModelRequest(str(tmp_path / "pasted"), file))
        found = engine.image_tower().model
        assert all(
            torch.equal(value, found.state_dict()[key]) for key, value in model.state_dict().items()
        )
        assert json.loads(line)["model_cfg"].get("quick_gelu") is trained.get("quick_gelu", False)

    def test_open_clips_own_name_for_them_is_given(self, tmp_path, monkeypatch):
        (tmp_path / "small.json").write_text(json.dumps(LARGER))
        monkeypatch.setattr(catalogue, "architectures", lambda: {"S-48": tmp_path / "small.json"})
        model = write_model(tmp_path / "trained", LARGER)
        write_config(tmp_path / "asked", CLIP)
        file = saved(model.state_dict(), tmp_path / "x.safetensors")
        with pytest.raises(ModelError, match=r"open_clip has that as S-48\. Otherwise write this"):
            load(ModelRequest(str(tmp_path / "asked"), file))

    def test_timms_models_are_named_by_their_size(self, tmp_path):
        def config(size):
            def build(pretrained=False, **settings):
                sizes = {"img_size": size, "embed_dim": 64, "depth": 1, "num_heads": 2}
                return timm.create_model("vit_base_patch16_siglip_224", **sizes, **settings)

            build.__name__ = f"toy_{size}"
            register_model(build)
            vision = {"timm_model_name": build.__name__, "image_size": size, "timm_pool": "map"}
            return {**CLIP, "vision_cfg": vision}

        model = write_model(tmp_path / "trained", config(64))
        write_config(tmp_path / "asked", config(32))
        file = saved(model.state_dict(), tmp_path / "x.safetensors")
        with pytest.raises(ModelError, match="images of 64 pixels and not 32") as caught:
            load(ModelRequest(str(tmp_path / "asked"), file))
        line = str(caught.value)[str(caught.value).index("{") :]
        assert json.loads(line)["model_cfg"]["vision_cfg"]["timm_model_name"] == "toy_64"
        (tmp_path / "pasted").mkdir()
        (tmp_path / "pasted" / "open_clip_config.json").write_text(line)
        load(ModelRequest(str(tmp_path / "pasted"), file))

    def test_positions_that_are_no_square_are_left_at_the_plain_refusal(self, tmp_path):
        model = write_model(
            tmp_path / "trained", {**CLIP, "vision_cfg": {**VISION, "image_size": [32, 48]}}
        )
        write_config(tmp_path / "asked", CLIP)
        file = saved(model.state_dict(), tmp_path / "x.safetensors")
        message = r"of another shape \(visual\.positional_embedding 7 x 32 instead of 5 x 32\)$"
        with pytest.raises(ModelError, match=message):
            load(ModelRequest(str(tmp_path / "asked"), file))

    def test_more_that_differs_has_the_plain_refusal(self, tmp_path):
        wider = {**LARGER, "text_cfg": {**TEXT, "width": 64}}
        model = write_model(tmp_path / "trained", wider)
        write_config(tmp_path / "asked", CLIP)
        file = saved(model.state_dict(), tmp_path / "x.safetensors")
        with pytest.raises(ModelError, match="of another shape") as caught:
            load(ModelRequest(str(tmp_path / "asked"), file))
        assert "It was trained with" not in str(caught.value)
