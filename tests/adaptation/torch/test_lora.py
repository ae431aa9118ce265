"""LoRA in training: what it learns, what it leaves as it was, and what it refuses."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from command import PHOTOS
from host_state import torch_state
from PIL import Image
from small_models import CLIP, SIGMOID, VISION, write_model

from benchmarks.sweep import torch_engine
from clipcli.adaptation.augmentation import kept_picture
from clipcli.adaptation.lora_options import LoraOptions
from clipcli.adaptation.torch import lora
from clipcli.adaptation.torch.lora import TIMED_STEPS, Estimate, Examples, Watch, train_lora
from clipcli.engines.base import EngineOptions, TooLittleMemoryError
from clipcli.engines.choice import load_engine
from clipcli.errors import ModelError, UsageError
from clipcli.heads.labels import LabelSet
from clipcli.heads.zero_shot import build_head
from clipcli.images.decoding import preprocess
from clipcli.images.options import ImageOptions
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest

LABELS = LabelSet(("a cat", "a cup of coffee", "a rocket"), ("{}", "a photo of {}"))
# Enough for a small random model to learn from, in few steps.
FAST = LoraOptions(steps=20, learning_rate=0.02, dropout=0.0)


def examples_for(engine, labels=LABELS):
    files = sorted(file for file in PHOTOS.iterdir() if file.suffix in (".png", ".jpg"))
    pictures = [kept_picture(Image.open(file), engine.info.preprocess) for file in files]
    assert len(pictures) == len(labels.names)
    return Examples(pictures, list(range(len(pictures))), labels, build_head(engine, labels))


def small_engine(folder, config):
    with torch.random.fork_rng():
        write_model(folder, config)
    return torch_engine(folder, "fp32")


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return small_engine(
        tmp_path_factory.mktemp("model") / "model", {**CLIP, "vision_cfg": {**VISION, "layers": 3}}
    )


@pytest.fixture(scope="module")
def tiny():
    return load_engine(
        resolve_model(ModelRequest("tiny")), EngineOptions("cpu", threads=1, engine="torch")
    )


class TestLearning:
    @pytest.mark.parametrize("layers", ["vision", "text", "both"])
    def test_its_loss_falls_on_real_pictures(self, engine, layers):
        trained = train_lora(engine, examples_for(engine), replace(FAST, layers=layers))
        assert len(trained.losses) == 20
        assert np.mean(trained.losses[-5:]) < np.mean(trained.losses[:5]) - 0.1

    def test_a_tower_of_convolutions_learns_as_well(self, tiny):
        """The bundled model, taught that its pictures are called something else."""
        labels = LabelSet(("blue", "old", "loud"))
        options = replace(FAST, steps=8, learning_rate=0.005, last=2)
        trained = train_lora(tiny, examples_for(tiny, labels), options)
        assert any(name.startswith("visual.trunk.") for name in trained.layers)
        assert np.mean(trained.losses[-2:]) < np.mean(trained.losses[:2]) - 0.1

    def test_a_model_of_a_sigmoid_learns_by_its_own_loss(self, tmp_path):
        engine = small_engine(tmp_path / "model", SIGMOID)
        assert engine.info.activation == "sigmoid"
        trained = train_lora(engine, examples_for(engine), FAST)
        # Of three labels at even odds, each picture's terms would be 3 log 2; its bias is -10.
        assert trained.losses[0] == pytest.approx(10, abs=9)
        assert trained.losses[-1] < trained.losses[0] - 0.1

    @pytest.mark.parametrize("config", [CLIP, SIGMOID], ids=["softmax", "sigmoid"])
    def test_the_first_loss_is_that_of_the_models_own_answers(self, tmp_path, monkeypatch, config):
        engine = small_engine(tmp_path / "model", config)

        def whole(image, config, _random):
            return preprocess(image, config, ImageOptions())

        monkeypatch.setattr(lora, "random_view", whole)
        examples = examples_for(engine)
        trained = train_lora(engine, examples, replace(FAST, steps=1, layers="vision"))
        pixels = np.stack(
            [whole(picture, engine.info.preprocess, 0) for picture in examples.pictures]
        )
        head = examples.head
        probabilities = head.probabilities(head.similarities(engine.encode_images(pixels)))
        true = np.diagonal(probabilities)
        expected = -np.log(true).mean()
        if head.activation == "sigmoid":
            expected -= (np.log1p(-probabilities).sum() - np.log1p(-true).sum()) / len(true)
        assert trained.losses == (pytest.approx(expected, rel=1e-4),)

    def test_what_is_learned_is_what_was_asked_for(self, engine):
        options = replace(FAST, steps=1, targets=("v", "out"), last=1, layers="vision", rank=3)
        trained = train_lora(engine, examples_for(engine), options)
        block = "visual.transformer.resblocks.2.attn"
        names = (f"{block}.in_proj_weight.v", f"{block}.out_proj.weight")
        assert trained.layers == names
        shapes = {name: value.shape for name, value in trained.weights.items()}
        sides = {"lora_A": (3, 32), "lora_B": (32, 3)}
        assert shapes == {f"{name}.{side}": sides[side] for name in names for side in sides}
        assert trained.parameters == 2 * 2 * 3 * 32
        assert trained.scale == 1 / math.sqrt(3)
        assert {value.dtype for value in trained.weights.values()} == {np.dtype(np.float32)}
        # One step, and B is no more what it was.
        assert all(value.any() for value in trained.weights.values())

    def test_the_same_seed_learns_the_same(self, engine):
        examples, options = examples_for(engine), replace(FAST, steps=3, dropout=0.25)
        first, again = (train_lora(engine, examples, options) for _ in range(2))
        other = train_lora(engine, examples, replace(options, seed=1))
        assert first.losses == again.losses
        assert all(
            np.array_equal(first.weights[name], again.weights[name]) for name in first.weights
        )
        assert first.losses != other.losses

    def test_dropout_leaves_out_its_share_of_inputs_anew_in_each_step(self, engine, monkeypatch):
        kept = []
        learn = lora._Training._learn

        def watched(self, *arguments):
            kept.append(np.concatenate([change.kept.ravel() for change in self.changes]))
            return learn(self, *arguments)

        monkeypatch.setattr(lora._Training, "_learn", watched)
        train_lora(engine, examples_for(engine), replace(FAST, steps=20, dropout=0.25))
        assert {*np.unique(kept)} == {np.float32(0), np.float32(1 / 0.75)}
        assert np.mean(kept) == pytest.approx(1, abs=0.05)
        assert len({each.tobytes() for each in kept}) == 20

    def test_each_step_takes_one_prompt_of_each_label(self, engine):
        labels = LabelSet.of({"cat": ["a", "b c d"], "dog": ["e"], "rat": ["f", "g", "h"]}, ("{}",))
        prompts = lora._Prompts(engine, labels)
        random = np.random.default_rng(0)
        drawn = np.stack([prompts.drawn(random) for _ in range(40)])
        for place, texts in enumerate(labels.prompts()):
            wanted = {ids.tobytes() for ids in engine.tokenize(texts).ids[:, : drawn.shape[2]]}
            assert {ids.tobytes() for ids in np.ascontiguousarray(drawn[:, place])} == wanted
        # As long as the longest, with its start and its end.
        assert drawn.shape[2] == 5

    def test_every_picture_comes_before_any_comes_again(self):
        batches = lora._batches(5, 2, np.random.default_rng(0))
        seen = np.concatenate([next(batches) for _ in range(10)])
        assert all({*part} == {*range(5)} for part in seen.reshape(4, 5))
        assert {len(next(lora._batches(3, 32, np.random.default_rng(0)))) for _ in range(3)} == {3}


class TestWatch:
    @pytest.mark.parametrize("steps", [1, TIMED_STEPS, TIMED_STEPS + 3])
    def test_it_is_told_of_each_step_and_asked_once(self, engine, steps):
        told, asked = [], []
        watch = Watch(lambda *step: told.append(step), lambda estimate: not asked.append(estimate))
        trained = train_lora(engine, examples_for(engine), replace(FAST, steps=steps), watch)
        assert [step[:3] for step in told] == [
            (place + 1, steps, loss) for place, loss in enumerate(trained.losses)
        ]
        seconds = [step[3] for step in told]
        assert seconds == sorted(seconds)
        assert [estimate.steps_left for estimate in asked] == [3] * (steps > TIMED_STEPS)
        assert all(0 < estimate.seconds_a_step < seconds[-1] for estimate in asked)

    def test_an_estimate_is_of_the_steps_that_are_left(self):
        assert Estimate(0.5, 70).seconds == 35

    def test_where_it_says_no_nothing_is_learned(self, engine):
        told = []
        watch = Watch(lambda step, *_: told.append(step), lambda _: False)
        assert train_lora(engine, examples_for(engine), replace(FAST, steps=50), watch) is None
        assert told == [*range(1, TIMED_STEPS + 1)]


def state_of(engine):
    return {name: value.clone() for name, value in engine.state().items()}


def interrupt(*_arguments):
    raise KeyboardInterrupt


class TestNothingIsLeft:
    def test_of_a_training_in_the_model_that_it_began_with(self, tiny):
        """Batch norms, too: their statistics are the model's, and no step may move them."""
        before = state_of(tiny)
        train_lora(tiny, examples_for(tiny), replace(FAST, steps=2))
        after = tiny.state()
        assert all(torch.equal(value, after[name]) for name, value in before.items())

    @pytest.mark.parametrize("owner", ["watch", "encode_text", "random_view"])
    def test_of_one_that_is_interrupted(self, engine, monkeypatch, owner):
        examples = examples_for(engine)
        before, switches = state_of(engine), torch_state()
        watch = Watch(interrupt) if owner == "watch" else Watch()
        if owner != "watch":
            monkeypatch.setattr(lora, owner, interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_lora(engine, examples, FAST, watch)
        assert torch_state() == switches
        after = engine.state()
        assert all(torch.equal(value, after[name]) for name, value in before.items())

    def test_of_one_in_a_program_that_wants_no_gradients_and_other_devices(self, engine):
        examples = examples_for(engine)
        expected = train_lora(engine, examples, replace(FAST, steps=2))
        torch.manual_seed(7)
        with torch.no_grad(), torch.device("meta"), torch.autocast("cpu"):
            switches = torch_state()
            found = train_lora(engine, examples, replace(FAST, steps=2))
            assert torch_state() == switches
        assert found.losses == expected.losses

    def test_and_within_a_step_attention_takes_its_slow_path(self, engine, monkeypatch):
        seen = []

        def watched(*arguments):
            seen.append(torch.backends.mha.get_fastpath_enabled())
            return lora_encode_image(*arguments)

        lora_encode_image = lora.encode_image
        monkeypatch.setattr(lora, "encode_image", watched)
        train_lora(engine, examples_for(engine), replace(FAST, steps=1))
        assert seen == [False]
        assert torch.backends.mha.get_fastpath_enabled()


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"pictures": [], "classes": []}, "0 pictures with 0 labels: give at least one"),
            ({"classes": [0, 1]}, "3 pictures with 2 labels"),
            ({"classes": [0, 1, 3]}, "3 labels, and a picture of another"),
            ({"classes": [0, 1, -1]}, "3 labels, and a picture of another"),
        ],
    )
    def test_examples_that_are_none(self, engine, change, message):
        with pytest.raises(UsageError, match=message):
            train_lora(engine, replace(examples_for(engine), **change), FAST)

    def test_a_model_that_rounds(self, engine, tmp_path):
        with torch.random.fork_rng():
            write_model(tmp_path / "model", CLIP)
        half = torch_engine(tmp_path / "model", "bf16")
        with pytest.raises(UsageError, match="trained in fp32"):
            train_lora(half, examples_for(engine), FAST)

    def test_a_loss_that_is_no_number(self, engine):
        examples = examples_for(engine)
        head = replace(examples.head, logit_scale=math.inf)
        with pytest.raises(ModelError, match=r"its loss is (nan|inf).* smaller --learning-rate"):
            train_lora(engine, replace(examples, head=head), FAST)

    @pytest.mark.parametrize(
        "error",
        [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("can't allocate memory")],
    )
    def test_more_pictures_at_once_than_fit(self, engine, monkeypatch, error):
        def fail(*_arguments):
            raise error

        monkeypatch.setattr(lora, "encode_image", fail)
        message = "not enough memory on cpu to train on 3 pictures at once: .*--last 2"
        with pytest.raises(TooLittleMemoryError, match=message):
            train_lora(engine, examples_for(engine), FAST)

    def test_another_error_is_not_taken_for_want_of_memory(self, engine, monkeypatch):
        def fail(*_arguments):
            raise RuntimeError("shapes differ")

        monkeypatch.setattr(lora, "encode_image", fail)
        with pytest.raises(ModelError, match="cannot be trained: shapes differ"):
            train_lora(engine, examples_for(engine), FAST)
