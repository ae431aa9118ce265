"""The scripts that trained the bundled model: pictures, names, batches, losses, and the folder."""

import importlib
import json
import random
import re
import sys

import numpy as np
import open_clip
import pytest
import torch
from command import ROOT
from PIL import Image

from scripts.train_tiny import (
    backbone,
    caption_names,
    draw,
    extract,
    material,
    measure,
    model,
    pictures,
    places,
    schedule,
    start,
    teacher,
    templates,
    train,
    views,
    vocabulary,
    wordnet,
    write_model,
)

SCRIPTS = ["draw", "extract", "teacher", "start", "train", "write_model", "evaluate"]
HELD_OUT_SETS = ("scenes", "weather", "clothing")
NOUN = (
    "02121620 05 n 02 cat 0 true_cat 0 002 @ 02120997 n 0000 ~ 02122000 n 0000 "
    "| feline mammal; domesticated  \n"
)


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return model.TinyClip().eval()


@pytest.fixture
def made(monkeypatch):
    """Material of three classes and two labelled pictures, each with two views."""
    classes = [
        vocabulary.Names(("tabby cat",), ("cat", "animal")),
        vocabulary.Names(("beagle",), ("dog", "animal")),
        vocabulary.Names(("mug",)),
    ]
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, backbone.FEATURES, generator=generator)
    monkeypatch.setattr(vocabulary, "imagenet", lambda: classes)
    monkeypatch.setattr(backbone, "classifier", lambda _: (weight, torch.zeros(3)))
    monkeypatch.setattr(material, "CLASSES", 3)
    shown = material.Labelled(
        torch.rand(4, backbone.FEATURES, generator=generator),
        [0, 0, 1, 1],
        [("cat", "pet"), ("person",)],
        ["", "", "a.jpg", "a.jpg"],
    )
    names = vocabulary.trained_concepts(classes, shown.names)
    embeddings = dict(zip(names, np.eye(384, dtype=np.float32), strict=False))
    embeddings |= {word: np.full(384, 0.05, np.float32) for word in ("sunset", "metronome", "sky")}
    return material.Material(None, shown, embeddings, seed=0)


def names_of(marks, made):
    return {made.concepts[at] for at in marks.nonzero().flatten().tolist()}


def test_every_row_says_what_its_pictures_show():
    rows = pictures.table()
    for row in rows:
        assert row.part in {"train", "test", "fifth"}
        assert row.most > 0
        assert all(row.names)
        assert len(row.names) == len(set(row.names)), row.names
    assert len({(row.pattern, row.part) for row in rows}) == len(rows)


def test_nothing_kept_out_is_a_name_to_train_on():
    rows = pictures.table()
    kept_out = {row.names[0] for row in rows if row.set == material.UNSEEN}
    trained = {name for row in rows if row.set != material.UNSEEN for name in row.names}
    assert len(kept_out) == 32
    assert not kept_out & trained
    assert all(row.part == "test" for row in rows if row.set == material.UNSEEN)


def test_no_set_of_the_final_tests_is_trained_on():
    forbidden = ("imagen/", "grocery", "natural_images", "five", "daisy", "gender")
    for row in pictures.table():
        assert not any(word in row.pattern.lower() for word in forbidden), row


def test_the_list_of_held_out_files_holds_hashes_of_each_set():
    lines = (pictures.TABLE.with_name("held_out.txt")).read_text().splitlines()
    listed = dict(line.split("\t") for line in lines)
    assert len(listed) == len(lines)
    assert set(listed.values()) == set(HELD_OUT_SETS)
    assert all(len(sha) == 16 and int(sha, 16) >= 0 for sha in listed)


def test_what_is_held_out_is_decided_by_the_files_contents(tmp_path):
    for number in range(200):
        (tmp_path / f"{number}.jpg").write_bytes(bytes([number]))
    row = pictures.Row("set", "*.jpg", 300, "fifth", ("thing",))
    first = list(pictures.of_row(tmp_path, row))
    held = {one.sha256 for one in first if one.held_out}
    assert 20 < len(held) < 60
    for file in tmp_path.glob("*.jpg"):
        file.rename(file.with_name(f"other-{file.name}"))
    assert {one.sha256 for one in pictures.of_row(tmp_path, row) if one.held_out} == held


@pytest.mark.parametrize(("part", "expected"), [("train", False), ("test", True)])
def test_a_set_may_bring_its_own_parts(part, expected):
    assert (
        pictures.is_held_out("00" * 32, part) is pictures.is_held_out("ff" * 32, part) is expected
    )


def test_no_more_pictures_are_taken_than_a_row_says_and_none_twice(tmp_path):
    for number in range(30):
        (tmp_path / f"{number}.jpg").write_bytes(bytes([number % 10]))
    rows = [pictures.Row(name, "*.jpg", 6, "train", (name,)) for name in ("one", "two")]
    found = pictures.pictures(tmp_path, rows)
    assert len({one.sha256 for one in found}) == len(found) == 6
    assert {one.row.set for one in found} == {"one"}


def test_a_picture_is_seen_as_the_model_will_see_it_and_once_more(tmp_path):
    bars = np.zeros((240, 720, 3), np.uint8)
    bars[:, 240:480] = 255
    plain, varied = views.views(Image.fromarray(bars), seed=0)
    assert plain.shape == varied.shape == (240, 240, 3)
    assert plain.min() == 255


def test_small_versions_have_32_to_96_pixels():
    draw_ = random.Random(0)
    sides = {min(views.smaller(Image.new("RGB", (300, 200)), draw_).size) for _ in range(300)}
    assert (min(sides), max(sides)) == (32, 96)
    assert views.smaller(Image.new("RGB", (16, 20)), draw_).size == (16, 20)


def test_pixels_run_from_minus_one_to_one():
    black, white = (np.full((240, 240, 3), shade, np.uint8) for shade in (0, 255))
    pixels = backbone.to_pixels([black, white])
    assert pixels.shape == (2, 3, 240, 240)
    assert [pixels[0].max(), pixels[1].min()] == [-1, 1]


class Session:
    """A backbone that counts what it is given."""

    def __init__(self):
        self.runs = 0

    def run(self, _, given):
        self.runs += 1
        return [np.full((len(given["pixels"]), backbone.FEATURES), 7, np.float32)]


def test_features_are_extracted_once_and_unreadable_files_left_out(tmp_path, capsys):
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    row = pictures.Row("set", "*.png", 5, "train", ("thing",))
    session = Session()
    for _ in range(2):
        found = pictures.pictures(tmp_path, [row])
        extract.extract("set", found, tmp_path, session)
    done = extract.load(tmp_path / "features" / "set.npz")
    assert session.runs == 1
    assert [one.shape for one in done.values()] == [(2, backbone.FEATURES)]
    assert "b.png: not readable, left out" in capsys.readouterr().out


def test_the_wheels_names_become_timms():
    blocks = backbone.block_places()
    assert backbone.timm_name("_fc.weight", blocks) == "classifier.weight"
    assert backbone.timm_name("_blocks.0._bn1.bias", blocks) == "blocks.0.0.bn1.bias"
    assert backbone.timm_name("_blocks.1._bn1.bias", blocks) == "blocks.1.0.bn2.bias"
    assert backbone.timm_name("_blocks.15._expand_conv.weight", blocks).startswith("blocks.6.0.")


def test_every_imagenet_class_has_different_names_and_its_own_first():
    classes = vocabulary.imagenet()
    assert len(classes) == 1000
    assert len({names.own[0] for names in classes}) >= 995
    for names in classes:
        assert all(names.all)
        assert len(set(names.all)) == len(names.all), names
    tabby = classes[281]
    assert tabby.own[0] == "tabby cat"
    assert {"cat", "animal"} <= set(tabby.broader)


def test_captions_name_what_two_of_them_agree_on():
    captions = ["A dog runs.", "The dog on grass", "grass and a man", "a red ball", "sky"]
    assert set(caption_names.names_of(captions)) == {"dog", "animal", "grass"}


@pytest.fixture
def dictionary(tmp_path):
    """WordNet of one noun with two meanings, of which the second is a visible thing."""
    gossip = NOUN.replace("02121620 05", "09900153 04").replace("feline mammal", "a woman")
    (tmp_path / "data.noun").write_text("  1 a licence\n" + gossip + NOUN)
    (tmp_path / "cntlist.rev").write_text("cat%1:05:00:: 1 18\nrun%2:38:00:: 1 40\n")
    (tmp_path / "index.noun").write_text("  1 a licence\ncat n 2 2 @ ~ 2 1 09900153 02121620  \n")
    return tmp_path


def test_wordnets_lines_are_read(dictionary):
    synset = wordnet.nouns(dictionary)["02121620"]
    assert synset.words == ("cat", "true cat")
    assert (synset.kind, synset.broader) == ("animal", ("02120997",))
    assert synset.gloss == "feline mammal; domesticated"
    assert wordnet.likely_words(dictionary) == ["cat", "true cat"]
    assert wordnet.senses(dictionary) == {"cat": ["09900153", "02121620"]}


def test_a_word_is_explained_by_its_commonest_visible_meaning(dictionary, monkeypatch):
    monkeypatch.setattr(vocabulary, "offsets", lambda: [("09900153", ("tabby",))])
    words = ["cat", "Cats", "black cat", "tabby", "x-ray"]
    assert vocabulary.explained(words, dictionary) == {
        "cat": "cat: feline mammal",
        "Cats": "Cats: feline mammal",
        "black cat": "black cat: feline mammal",
        "tabby": "tabby: a woman",
        "x-ray": "x-ray",
    }


def test_what_the_teacher_has_embedded_is_not_embedded_again(tmp_path, monkeypatch):
    asked = []
    encode = lambda texts: asked.extend(texts) or np.ones((len(texts), 384), np.float32)  # noqa: E731
    monkeypatch.setattr(teacher, "teacher", lambda: encode)
    file = tmp_path / "explained.npz"
    teacher.embed({"cat": "cat: feline"}, file)
    teacher.embed({"cat": "cat: feline", "dog": "dog: canine"}, file)
    assert asked == ["cat: feline", "dog: canine"]
    assert set(teacher.load(file)) == {"cat", "dog"}


def test_templates_take_exactly_the_name():
    for template in templates.TEMPLATES:
        assert template.count("{}") == 1
        assert template.format("cat").replace("cat", "{}", 1) == template


def test_captions_stand_without_a_template():
    caption = "a dog that runs across a meadow in the rain"
    drawn = templates.Templates(np.random.default_rng(0)).around([caption] * 20 + ["cat"] * 60)
    assert set(drawn[:20]) == {caption}
    assert len(set(drawn[20:])) > 5


def test_a_class_excuses_its_names_and_no_other_classs(made):
    assert names_of(made.class_excuses[0], made) == {"tabby cat", "cat", "animal"}
    assert names_of(made.class_excuses[1], made) == {"beagle", "dog", "animal"}


def test_near_synonyms_excuse_each_other_but_classes_do_not(made):
    for one, other in (("pet", "animal"), ("beagle", "mug")):
        made.embeddings[one] = made.embeddings[other]
    near = made.near()
    number = made.number
    assert near[number["pet"], number["animal"]]
    assert not near[number["beagle"], number["mug"]]


def test_no_target_is_excused_and_every_target_is_true(made):
    batch = made.batch()
    rows = torch.arange(len(batch.targets))
    assert len(rows) == material.MADE + material.SHOWN + material.JUDGED
    assert not batch.excused[rows, batch.targets].any()
    shown = batch.targets[material.MADE : material.MADE + material.SHOWN]
    assert {made.concepts[at] for at in shown.tolist()} == {"cat", "pet", "person"}


def test_made_features_point_to_their_class(made):
    classes = torch.tensor([0, 1, 2] * 20)
    centred = made.make(classes) - made.mean
    assert ((centred @ made.directions.T).argmax(1) == classes).all()


def test_what_the_classifier_sees_is_not_held_against_a_picture(made):
    opinion = made.opinion(made.directions[1:2] * 50)
    seen = names_of(made.seen(opinion)[0], made)
    assert {"beagle", "dog", "animal"} <= seen
    assert "mug" not in seen


def test_the_shortened_context_gives_the_embeddings_of_the_full_one(tiny):
    prompts = ["dog", "a photo of a cup of coffee.", "a cat"]
    full = open_clip.SimpleTokenizer(context_length=77)(prompts)
    with torch.no_grad():
        torch.testing.assert_close(tiny.encode_texts(prompts), tiny.encode_tokens(full))


@pytest.fixture
def space(made):
    """Directions, the constant, and the first places of the material's concepts."""
    directions, constant = places.projection(made)
    named, known = places.of_classes(made, directions)
    first = torch.nn.functional.normalize(torch.ones(len(made.concepts), len(directions.T[0])))
    first[known] = named
    return directions, constant, first


def test_names_of_classes_are_where_their_classes_are(made, space):
    directions, _, first = space
    centred = made.make(torch.tensor([0, 1, 2])) - made.mean
    cosines = torch.nn.functional.normalize(centred @ directions.T) @ first.T
    for row, own in zip(cosines, ("tabby cat", "beagle", "mug"), strict=True):
        assert row[made.number[own]] == max(row[made.number[name]] for name in made.concepts)


def test_a_broader_name_is_amid_its_classes(made, space):
    _, _, first = space
    animal, cat, dog, mug = (
        first[made.number[name]] for name in ("animal", "tabby cat", "beagle", "mug")
    )
    assert animal @ cat > animal @ mug
    assert animal @ dog > animal @ mug


def test_phrases_are_put_beside_those_that_mean_the_same():
    known = np.eye(4)
    goals = torch.eye(4, 3)
    goals[3] = torch.tensor([0.6, 0.8, 0])
    between = np.array([[0.9, 0.1, 0, 0], [0, 0, 1, 0]])
    between /= np.linalg.norm(between, axis=1, keepdims=True)
    found = places.Regression(known, goals).places(between, at_once=1)
    assert (found @ goals.T).argmax(1).tolist() == [0, 2]
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))


def test_a_meaning_is_of_the_word_and_of_its_explanation(tmp_path):
    cat, told, dog = np.eye(384, dtype=np.float32)[:3]
    teacher.save(tmp_path / teacher.PHRASES, {"cat": cat, "dog": dog})
    teacher.save(tmp_path / teacher.EXPLAINED, {"cat": told})
    rows = places.meanings(tmp_path, ["dog", "cat"])
    np.testing.assert_allclose(rows[0], np.concatenate([dog, dog]) / 2**0.5)
    np.testing.assert_allclose(rows[1], np.concatenate([cat, told]) / 2**0.5)


def test_only_names_with_pictures_learn_their_places(made, space):
    torch.manual_seed(0)
    learner = start.Learner(made, *space)
    before = learner.places().detach().clone()
    learner.learn(20)
    moved = (learner.places().detach() - before).norm(dim=1) > 1e-3
    assert names_of(moved, made) == {"cat", "pet", "person"}
    projection = learner.projection()
    assert (projection["weight"].shape, projection["bias"].shape) == ((4, 1280), (4,))


def test_names_with_pictures_need_less_to_win_in_training(made, space):
    learner = start.Learner(made, *space)
    learner.free.data[:] = learner.fixed.data[:] = learner.fixed[0]
    losses = []
    for name in ("cat", "mug"):
        excused = torch.zeros(1, len(made.concepts), dtype=torch.bool)
        batch = material.Batch(made.features[:1], torch.tensor([made.number[name]]), excused)
        made.batch = lambda batch=batch: batch
        losses.append(learner.loss().item())
    assert losses[1] - losses[0] == pytest.approx(material.PRIOR, abs=1e-4)


@pytest.fixture
def trainer(made, monkeypatch):
    for name in ("LIKELY", "WORDS", "OTHER_NAMES", "CAPTIONED"):
        monkeypatch.setattr(train, name, 2)
    torch.manual_seed(0)
    phrases = ["sky", *reversed(made.concepts), "sunset"]
    goals = torch.nn.functional.normalize(torch.randn(len(phrases), 256))
    weight, bias = torch.randn(256, backbone.FEATURES) / 36, torch.zeros(256)
    tensors = {"places": goals, "weight": weight, "bias": bias, "scale": torch.tensor(3.0)}
    told = {"a.jpg": ["a person runs"] * 5}
    return train.Trainer(model.TinyClip(), made, phrases, tensors, told)


def test_the_towers_last_matrix_is_fitted_to_the_places(trainer):
    with torch.no_grad():
        texts = trainer.model.encode_texts(trainer.phrases)
        assert (texts * trainer.places).sum(1).mean() > 0.5


def test_what_is_as_true_does_not_count(trainer, made):
    names = torch.arange(len(made.concepts))
    target, other = made.number["cat"], made.number["animal"]
    excused = torch.zeros(1, len(names), dtype=torch.bool)
    excused[0, other] = True
    batch = material.Batch(None, torch.tensor([target]), excused)
    texts = torch.eye(len(names))
    image = torch.eye(len(names))[[target]]
    before = trainer.names_loss(batch, names, image, texts)
    changed = image.clone()
    changed[0, other] = 1
    assert torch.equal(trainer.names_loss(batch, names, changed, texts), before)


def test_real_pictures_do_not_push_names_without_pictures(trainer, made, monkeypatch):
    names = torch.arange(len(made.concepts))
    excused = torch.zeros(1, len(names), dtype=torch.bool)
    batch = material.Batch(None, torch.tensor([made.number["cat"]]), excused)
    pushed = {}
    for kind, count in (("made", 1), ("real", 0)):
        monkeypatch.setattr(material, "MADE", count)
        texts = torch.eye(len(names), requires_grad=True)
        torch.autograd.backward(trainer.names_loss(batch, names, torch.ones(1, len(names)), texts))
        pushed[kind] = names_of(texts.grad.abs().sum(1) > 0, made)
    assert pushed == {"made": set(made.concepts), "real": {"cat", "pet", "person"}}


class Clock:
    """A budget that is over after two steps."""

    def __init__(self):
        self.shares = iter([0.2, 0.4, 1.0])
        self.saved = []

    def spent(self):
        return next(self.shares)

    def save_now(self, _):
        return False

    def save(self, saved):
        self.saved.append(saved)


def test_two_steps_change_the_text_tower_only_and_are_saved(trainer):
    before = {name: one.clone() for name, one in trainer.model.state_dict().items()}
    clock = Clock()
    train.train(trainer, clock)
    after = trainer.model.state_dict()
    for name in ("text.text_projection", "text.token_embedding.weight", "projection.weight"):
        assert torch.equal(after[name], before[name]) is (name == "projection.weight"), name
    assert clock.saved == [trainer.model]


@pytest.mark.parametrize(
    ("number", "spent", "expected"), [(0, 0, 1 / 30), (29, 0, 1), (99, 0.5, 0.51), (99, 1, 0.02)]
)
def test_learning_rates_rise_in_steps_and_fall_with_the_time(number, spent, expected):
    assert schedule.factor(number, spent) == pytest.approx(expected)


def test_accuracy_among_ten_and_among_all():
    test = measure.TestSet("set", np.zeros((2, 3), np.float32), ["a", "b"], ["a", "b", "c"])
    cosines = np.array([[0.9, 0.1, 0.2], [0.3, 0.2, 0.1]])
    assert measure.all_labels(test, cosines) == 0.5
    assert measure.accuracy(measure.draws(test, cosines, repeats=3)) == 0.5


def test_sure_and_right_is_calibrated_sure_and_wrong_is_not():
    right, wrong = np.array([[1.0, 0.0]] * 4), np.array([[0.0, 1.0]] * 4)
    assert measure.calibration_error(right, 100) == pytest.approx(0)
    assert measure.calibration_error(wrong, 100) == pytest.approx(1)
    assert measure.calibration_error(np.concatenate([right, wrong]), 0) == pytest.approx(0)
    assert measure.likelihood_loss(right, 100) < measure.likelihood_loss(right, 1)


def known(name, set_, held_out):
    row = pictures.Row(set_, "*", 1, "test", (name,))
    picture = pictures.Picture(ROOT / f"{name}.jpg", name, held_out, row)
    return material.Known(picture, np.zeros((2, 4), np.float16))


def test_only_what_is_held_out_is_measured_and_caltechs_sets_share_their_labels():
    all_known = [
        known("stapler", material.UNSEEN, held_out=True),
        known("beagle", "pets", held_out=True),
        known("Siamese", "pets", held_out=True),
        known("ragdoll", "pets", held_out=False),
        known("raccoon", "raccoons", held_out=True),
    ]
    unseen, pets = material.test_sets(all_known)
    assert unseen.name == "caltech101-unseen-other"
    assert len(unseen.labels) == len(
        {row.names[0] for row in pictures.table() if "caltech" in row.set}
    )
    assert (pets.name, pets.truth, pets.labels) == (
        "pets",
        ["beagle", "Siamese"],
        ["Siamese", "beagle"],
    )


def desk(tmp_path):
    from matplotlib import font_manager

    for name in ("DejaVu Sans", "DejaVu Sans Mono"):
        file = font_manager.findfont(name)
        (tmp_path / file.rsplit("/", 1)[1]).symlink_to(file)
    return draw.Desk(1, tmp_path, ["a page of words", "something written; on paper"])


@pytest.mark.parametrize("kind", draw.KINDS)
def test_documents_are_drawn_and_differ(kind, tmp_path):
    table = desk(tmp_path)
    first, second = (
        np.asarray(draw.photographed(table, draw.KINDS[kind](table))) for _ in range(2)
    )
    assert first.shape[2] == 3
    assert first.std() > 5
    assert not np.array_equal(first, second)


def test_a_written_model_loads_as_an_open_clip_folder(tiny, tmp_path):
    trunk = open_clip.CLIP(**model.CONFIG).visual.trunk.state_dict()
    write_model.write(tiny, trunk | {"classifier.weight": torch.zeros(1)}, tmp_path / "tiny")
    config = json.loads((tmp_path / "tiny" / "open_clip_config.json").read_bytes())
    assert config["model_cfg"] == model.CONFIG
    loaded, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'tiny'}")
    assert preprocess.transforms[0].size == 240
    with torch.no_grad():
        ours = tiny.encode_texts(["a dog", "a cat"])
        theirs = loaded.eval().encode_text(open_clip.SimpleTokenizer()(["a dog", "a cat"]), True)
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=0)
    again = model.from_folder(tmp_path / "tiny").state_dict()
    for name, weight in tiny.state_dict().items():
        expected = weight.half().float() if weight.ndim >= 2 else weight
        assert name.endswith("attn_mask") or torch.equal(again[name], expected), name


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_explains_itself(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module(f"scripts.train_tiny.{script}").main()
    assert re.search("--(data|work) FOLDER", capsys.readouterr().out)


def test_the_readme_names_every_script_and_module():
    folder = ROOT / "scripts" / "train_tiny"
    readme = (folder / "README.md").read_text()
    for script in SCRIPTS:
        assert f"python -m scripts.train_tiny.{script} " in readme
    for file in (*folder.glob("*.py"), *folder.glob("*.t*")):
        assert f"`{file.stem if file.suffix == '.py' else file.name}`" in readme, file.name
