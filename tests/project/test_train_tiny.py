"""The scripts that trained the bundled model: names, batches, loss, one step, and the folder."""

import importlib
import json
import random
import sys
from itertools import repeat

import numpy as np
import open_clip
import pytest
import torch
from command import ROOT
from PIL import Image

from scripts.train_tiny import concepts, datasets, templates, text_tower, vocabulary
from scripts.train_tiny.batches import SIZE, Batch, epochs, mixed, prefetched
from scripts.train_tiny.checkpoints import ARCHITECTURE, Checkpoint
from scripts.train_tiny.folders import DataFolder, WorkFolder
from scripts.train_tiny.more_concepts import BROADER, CALTECH101, CLOTHING, names_of
from scripts.train_tiny.objectives import concept_loss
from scripts.train_tiny.phrases import Phrases
from scripts.train_tiny.pictures import Pictures, read_views
from scripts.train_tiny.schedule import LearningRates, Stage
from scripts.train_tiny.train_images import STAGE
from scripts.train_tiny.training import Checks, Trainer, train, update_average
from scripts.train_tiny.vocabulary import BASE_COUNT, Vocabulary
from scripts.train_tiny.write_model import write_model

BUNDLED = ROOT / "src" / "clipcli" / "assets" / "tiny"
SCRIPTS = ["pack", "pack_more", "distill_text", "train_images", "train_more", "write_model"]
BASE = [*concepts.TINY_IMAGENET.values(), *concepts.CIFAR10.values()]
MORE = [names_of(name) for name in sorted({*CALTECH101.values(), *CLOTHING.values(), "cat", "dog"})]
QUICK = Stage(
    learning_rates=LearningRates(1e-3, 1e-3, 1e-3),
    warmup_steps=1,
    full_rate_until=0.0,
    resolutions=((1.0, 32),),
    smallest_crops=((1.0, 44),),
    average_decay=0.9,
    first_evaluation=-1,
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return open_clip.CLIP(**ARCHITECTURE)


@pytest.fixture(scope="module")
def words():
    return Vocabulary.of(BASE + MORE)


def pictures(count, labels=BASE_COUNT):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    return Pictures(images, np.arange(count) % labels)


def test_every_class_has_different_names():
    assert len(concepts.TINY_IMAGENET) == 200
    assert len(concepts.CIFAR10) == 10
    for names in BASE + MORE:
        assert all(names), names
        assert 1 <= len(names) == len(set(names)), names


def test_no_two_classes_share_their_own_name_within_a_data_set():
    for classes in (BASE[:200], BASE[200:], MORE):
        own = [names[0] for names in classes]
        assert len(own) == len(set(own))


def test_broader_names_and_synonyms_belong_to_known_names():
    assert all(BROADER.values())
    assert set(concepts.ALSO_TRUE) <= {names[0] for names in BASE}
    assert {name for names in BASE for name in names} <= set(concepts.concept_names())


def test_templates_take_exactly_the_name():
    for template in (*templates.PHRASE_TEMPLATES, *templates.PICTURE_TEMPLATES):
        assert template.count("{}") == 1
        assert template.format("cat").replace("cat", "{}", 1) == template


def test_a_class_excludes_its_own_names_and_what_it_may_be_but_nothing_else(words):
    def excluded(label):
        return {name for name, column in words.concepts.items() if words.excluded[label, column]}

    tabby, cat, ship = (
        next(label for label, names in enumerate(words.classes) if names[0] == own)
        for own in ("tabby cat", "cat", "ship")
    )
    assert excluded(tabby) == {"tabby cat", "cat", "animal"}
    assert excluded(cat) == {"tabby cat", "Persian cat", "Egyptian cat", "cat", "animal"}
    assert excluded(ship) >= {"ship", "vehicle", "boat", "gondola", "lifeboat"}
    assert not words.excluded.all(axis=1).any()


def test_targets_are_true_of_their_class_and_mostly_its_own_name(words):
    random.seed(0)
    labels = list(range(len(words.classes))) * 20
    targets = words.draw_targets(labels)
    assert all(words.excluded[label, target] for label, target in zip(labels, targets, strict=True))
    several = [
        target == words.concepts[words.classes[label][0]]
        for label, target in zip(labels, targets, strict=True)
        if len(words.classes[label]) > 1
    ]
    assert np.mean(several) == pytest.approx(vocabulary.OWN_NAME_SHARE, abs=0.03)


def test_no_target_is_excluded_from_the_loss(words):
    random.seed(0)
    labels = list(range(len(words.classes)))
    targets = torch.tensor(words.draw_targets(labels))
    excluded = torch.from_numpy(words.excluded)
    rows = torch.arange(len(labels))
    right = torch.zeros(excluded.shape)
    right[rows, targets] = 50.0
    wrong = torch.zeros(excluded.shape)
    wrong[rows, targets] = -50.0
    assert concept_loss(wrong, excluded, targets) > concept_loss(right, excluded, targets) + 30
    assert excluded[rows, targets].all(), "the loss changed the mask it was given"


def test_what_else_is_true_of_a_picture_does_not_count(words):
    excluded = torch.from_numpy(words.excluded)
    targets = torch.tensor([words.concepts[names[0]] for names in words.classes])
    logits = torch.randn(excluded.shape, generator=torch.Generator().manual_seed(0))
    others = excluded.clone()
    others[torch.arange(len(targets)), targets] = False
    assert others.any()
    changed = torch.where(others, logits + 40, logits)
    assert torch.equal(
        concept_loss(logits, excluded, targets), concept_loss(changed, excluded, targets)
    )


def test_loss_is_label_smoothed_cross_entropy_where_nothing_is_excluded():
    logits = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])
    expected = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=0.08)
    torch.testing.assert_close(concept_loss(logits, torch.zeros(8, 5).bool(), targets), expected)


@pytest.mark.parametrize(
    ("fraction", "factor", "side", "crop"),
    [(0.0, 1.0, 32, 44), (0.1, 1.0, 32, 44), (0.36, 0.64, 48, 44), (0.95, 0.05, 64, 56)],
)
def test_the_first_stage_follows_the_time_spent(fraction, factor, side, crop):
    assert STAGE.rate_factor(300, fraction) == pytest.approx(factor)
    assert STAGE.rate_factor(150, fraction) == pytest.approx(factor / 2)
    assert (STAGE.resolution(fraction), STAGE.smallest_crop(fraction)) == (side, crop)


def test_the_average_moves_by_what_the_decay_leaves():
    average, present = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    torch.nn.init.constant_(present.weight, 3.0)
    present.num_batches_tracked += 7
    update_average(average, present, 0.75)
    assert average.weight.tolist() == [1.5, 1.5]
    assert average.num_batches_tracked.item() == 7
    assert [STAGE.decay(1), STAGE.decay(10**6)] == [2 / 11, 0.998]


def touched(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def test_tiny_imagenet_comes_before_cifar10_and_labels_count_on(tmp_path):
    data = DataFolder(tmp_path)
    touched(data.tiny_imagenet / "train" / "n2" / "images", "b.JPEG", "a.JPEG")
    touched(data.tiny_imagenet / "train" / "n1", "c.JPEG", "n1_boxes.txt")
    (data.tiny_imagenet / "wnids.txt").write_text("n2\nn1\n")
    for name in concepts.CIFAR10:
        touched(data.cifar10 / "train" / name, f"{name}.png")
    found = [(path.name, label) for path, label in datasets.base_training(data)]
    assert found[:4] == [("a.JPEG", 0), ("b.JPEG", 0), ("c.JPEG", 1), ("airplane.png", 2)]
    assert found[-1] == ("truck.png", 11)


def test_additional_pictures_are_limited_and_named_in_plain_words(tmp_path):
    data = DataFolder(tmp_path)
    touched(data.caltech101 / "BACKGROUND_Google", "0.jpg")
    touched(data.caltech101 / "soccer_ball", "0.jpg")
    touched(data.caltech101 / "Faces", *(f"{number:03}.jpg" for number in range(201)))
    touched(data.clothing / "longsleeve", "0.jpg")
    caltech = list(datasets.caltech101(data))
    assert [name for _, name in caltech] == ["human face"] * 200 + ["soccer ball"]
    assert caltech[199][0].name == "199.jpg"
    assert [name for _, name in datasets.clothing(data)] == ["long-sleeved shirt"]


def test_a_picture_is_seen_by_its_centre_and_squashed(tmp_path):
    bars = np.zeros((64, 192, 3), np.uint8)
    bars[:, 64:128] = 255
    Image.fromarray(bars).save(tmp_path / "bars.png")
    centre, whole = read_views(tmp_path / "bars.png")
    assert centre.shape == whole.shape == (64, 64, 3)
    assert centre.min() == 255
    assert whole[:, :18].max() == 0
    assert whole[:, 26:38].min() > 250


def test_batches_repeat_and_an_epoch_shows_no_picture_twice():
    many = pictures(2 * SIZE + 3, labels=2 * SIZE + 3)
    first, second = (
        [batch for _, batch in zip(range(3), epochs(many, lambda: 44), strict=False)]
        for _ in range(2)
    )
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.images, other.images)
        assert 44 <= one.images.shape[1] == one.images.shape[2] <= 64
    assert len({*first[0].labels.tolist(), *first[1].labels.tolist()}) == 2 * SIZE


def test_mixed_batches_hold_both_collections_and_come_in_order_when_prefetched():
    base, more = pictures(50), Pictures(pictures(50).images, np.full(50, BASE_COUNT))
    ahead, plain = prefetched(mixed(base, more, lambda: 64)), mixed(base, more, lambda: 64)
    for _ in range(3):
        batch, expected = next(ahead), next(plain)
        assert np.array_equal(batch.images, expected.images)
        assert (batch.labels == BASE_COUNT).tolist() == [False] * 176 + [True] * 80
    ahead.close()


def test_too_few_pictures_for_a_batch_are_refused():
    with pytest.raises(ValueError, match="do not fill a batch"):
        next(epochs(pictures(SIZE - 1), lambda: 64))


def test_the_shortened_context_gives_the_embeddings_of_the_full_one(model):
    prompts = ["dog", "a photo of a cup of coffee."]
    full = open_clip.SimpleTokenizer(context_length=77)(prompts)
    with torch.no_grad():
        expected = model.encode_text(full, normalize=True)
        assert text_tower.tokenize(prompts).shape[1] < 77
        torch.testing.assert_close(text_tower.encode(model, prompts), expected)


class Clock:
    """A budget that is over after two steps."""

    def __init__(self):
        self.fractions = iter([0.2, 0.4, 1.0])

    def fraction(self):
        return next(self.fractions)

    def elapsed(self):
        return 0.0


def test_training_saves_last_and_averaged_weights_that_load(model, words, tmp_path):
    work = WorkFolder(tmp_path)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    learned = Phrases(["cat", "dog"], torch.nn.functional.normalize(torch.ones(2, 128), dim=1))
    trainer = Trainer(Checkpoint(ARCHITECTURE, before).model(), words, learned, QUICK)
    batches = repeat(Batch(pictures(16).images, pictures(16).labels))
    validation = Pictures(pictures(4).images, np.array([0, 199, 200, 209]))
    train(trainer, batches, Clock(), Checks(validation, work, "images"))
    assert trainer.steps == 2
    averaged, last = (
        Checkpoint.load(work.checkpoint(name)).model().state_dict()
        for name in ("images", "images_raw")
    )
    for weight in ("visual.trunk.conv1.0.weight", "logit_scale"):
        assert not torch.equal(last[weight], before[weight])
        assert not torch.equal(last[weight], averaged[weight])


def test_a_written_model_loads_as_an_open_clip_folder(model, tmp_path):
    write_model(Checkpoint.of(model), tmp_path / "tiny")
    config = (tmp_path / "tiny" / "open_clip_config.json").read_bytes()
    assert json.loads(config) == json.loads((BUNDLED / "open_clip_config.json").read_bytes())
    loaded, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'tiny'}")
    assert preprocess.transforms[0].size == 64
    for name, weight in model.state_dict().items():
        stored = weight.half().float() if weight.ndim >= 2 else weight
        assert torch.equal(loaded.state_dict()[name], stored), name


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_explains_itself(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module(f"scripts.train_tiny.{script}").main()
    assert "--work FOLDER" in capsys.readouterr().out


def test_the_readme_names_every_script_and_module():
    folder = ROOT / "scripts" / "train_tiny"
    readme = (folder / "README.md").read_text()
    for script in SCRIPTS:
        assert f"python -m scripts.train_tiny.{script} " in readme
    for module in folder.glob("*.py"):
        assert f"`{module.stem}`" in readme
