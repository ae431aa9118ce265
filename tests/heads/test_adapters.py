"""Adapters on disk: whole or refused with the reason, in nobody's way, of one model alone."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from adaptation_data import made_material
from fake_engine import FakeEngine
from safetensors.numpy import load_file, save_file

from clipcli.adaptation.adapt import Seen, adapt
from clipcli.adaptation.options import AdaptOptions
from clipcli.adaptation.writing import check_target, write_adapter
from clipcli.disk.hashes import hash_file
from clipcli.errors import UsageError
from clipcli.heads import adapter_description
from clipcli.heads.adapted import adapted_head, unadapted_head
from clipcli.heads.adapter_description import Description
from clipcli.heads.adapters import (
    DESCRIPTION_FILE,
    TENSORS_FILE,
    adapter_folder,
    adapter_names,
    kept_adapters,
    read_adapter,
)
from clipcli.heads.results import ScoreOptions
from clipcli.images.sources import ImageRef

SEEN = Seen("plain", "crop")
INFO = replace(FakeEngine().info, embed_dim=32, logit_scale=20.0)


@pytest.fixture(scope="module")
def adaptation():
    return adapt(made_material([6, 7, 8]), AdaptOptions())


@pytest.fixture
def folder(tmp_path, monkeypatch, adaptation) -> Path:
    """A written adapter, `signs`, in a data folder of the test's own."""
    monkeypatch.setenv("CLIPCLI_DATA_DIR", str(tmp_path / "data"))
    folder = adapter_folder("signs")
    write_adapter(folder, adaptation.description(INFO, SEEN, AdaptOptions()), adaptation.tensors())
    return folder


def test_what_is_written_is_read(folder, adaptation) -> None:
    adapter = read_adapter("signs")

    assert sorted(os.listdir(folder.parent)) == ["signs"]
    assert sorted(os.listdir(folder)) == [DESCRIPTION_FILE, TENSORS_FILE]
    assert adapter.labels == adaptation.material.labels
    assert adapter.description.counts == [6, 7, 8]
    assert adapter.description.figures["gate"]["passed"] == adaptation.is_accepted
    assert adapter.sha256 == hash_file(folder / DESCRIPTION_FILE)
    for name, tensor in adaptation.tensors().items():
        assert np.array_equal(adapter.tensors[name], tensor)


def test_each_field_has_a_rule() -> None:
    assert adapter_description._RULES.keys() == {one.name for one in fields(Description)}


def test_an_adapter_is_its_folder_wherever_that_is(folder, tmp_path, monkeypatch) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)

    assert read_adapter("./elsewhere").sha256 == read_adapter("signs").sha256
    assert adapter_names() == ["signs"]


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "-x", "a b", "a\nb", "a\0b", "x" * 81, "~", "*"]
)
def test_no_adapter_is_called_so(name) -> None:
    with pytest.raises(UsageError, match="no adapter can be called"):
        adapter_folder(name)


def test_an_unknown_one_is_named_with_those_there_are(folder) -> None:
    with pytest.raises(UsageError, match=r"no adapter sings \(there are: signs\): 'clipcli adapt"):
        read_adapter("sings")


def spoil_json(**changes):
    def spoil(folder: Path) -> None:
        file = folder / DESCRIPTION_FILE
        content = json.loads(file.read_text())
        for name, value in changes.items():
            if value is ...:
                del content[name]
            else:
                content[name] = value
        file.write_text(json.dumps(content))

    return spoil


def spoil_tensors(change):
    """Tensors that are others, in a file that the description has the hash of."""

    def spoil(folder: Path) -> None:
        file = folder / TENSORS_FILE
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file)
        size = file.stat().st_size
        spoil_json(tensors_sha256=hash_file(file), tensors_bytes=size)(folder)

    return spoil


def cut(folder: Path) -> None:
    file = folder / TENSORS_FILE
    file.write_bytes(file.read_bytes()[:-1])


def flip(folder: Path) -> None:
    file = folder / TENSORS_FILE
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)


def grow(folder: Path) -> None:
    with (folder / TENSORS_FILE).open("ab") as file:
        file.write(b"x")


def pickled(folder: Path) -> None:
    file = folder / TENSORS_FILE
    file.write_bytes(b"\x80\x04K\x01.")
    spoil_json(tensors_sha256=hash_file(file), tensors_bytes=5)(folder)


SPOILED = {
    "cut": (cut, "not the one that was written"),
    "flipped": (flip, "not the one that was written"),
    "longer": (grow, "longer than it should be"),
    "gone": (lambda folder: (folder / TENSORS_FILE).unlink(), "No such file"),
    "pickle": (pickled, "no safetensors file"),
    "not json": (lambda folder: (folder / DESCRIPTION_FILE).write_text("{"), "Expecting"),
    "not text": (lambda folder: (folder / DESCRIPTION_FILE).write_bytes(b"\xff"), "utf-8"),
    "a list": (lambda folder: (folder / DESCRIPTION_FILE).write_text("[]"), "this version"),
    "nested": (
        lambda folder: (folder / DESCRIPTION_FILE).write_text("[" * 100_000),
        "nested too deeply",
    ),
    "later": (spoil_json(format=2), "this version"),
    "unknown field": (spoil_json(extra=1), "extra is unknown"),
    "no labels": (spoil_json(labels=...), "labels is missing"),
    "method": (spoil_json(method="magic"), "method is 'magic'"),
    "one label": (spoil_json(labels=["a"]), "not of one length"),
    "empty label": (spoil_json(labels=["a", "", "c"]), "a label is empty"),
    "label twice": (spoil_json(labels=["a", "a", "c"]), "more than once"),
    "half a character": (spoil_json(labels=["a", "\ud800", "c"]), "not UTF-8"),
    "no template": (spoil_json(templates=["photo"]), "has no {}"),
    "texts": (spoil_json(texts=[["a"]]), "texts are not"),
    "counts": (spoil_json(counts=[1, 1, 1]), "do not add up"),
    "other counts": (spoil_json(counts=[7, 6, 8]), "not those that were counted"),
    "temperature": (spoil_json(temperature=0), "temperature is 0"),
    "infinite": (spoil_json(temperature=float("inf")), "temperature is inf"),
    "thresholds": (spoil_json(thresholds={"knn": "low"}), "a table of numbers"),
    "width": (spoil_json(embed_dim=31), "no tensor weights of the shape"),
    "huge": (spoil_json(embed_dim=1 << 40), "embed_dim is"),
    "fit": (spoil_json(fit="stretch!"), "fit is 'stretch!'"),
    "fingerprint": (spoil_json(fingerprint="../../etc"), "32 hexadecimal digits"),
    "pictures": (spoil_json(pictures=["x"] * 21), "64 hexadecimal digits"),
    "no weights": (spoil_tensors(lambda tensors: tensors.pop("weights")), "no tensor weights"),
    "not finite": (
        spoil_tensors(lambda tensors: tensors["weights"].__setitem__((0, 0), np.nan)),
        "weights is not finite",
    ),
    "a class too many": (
        spoil_tensors(lambda tensors: tensors["classes"].__setitem__(0, 3)),
        "not those that were counted",
    ),
    "a class below 0": (
        spoil_tensors(lambda tensors: tensors["classes"].__setitem__(0, -1)),
        "negative",
    ),
    "another kind": (
        spoil_tensors(lambda tensors: tensors.update(texts=tensors["texts"].astype(np.float64))),
        "no tensor texts",
    ),
}


@pytest.mark.parametrize(("spoil", "reason"), SPOILED.values(), ids=SPOILED)
def test_what_is_spoiled_is_refused_with_the_reason(folder, spoil, reason) -> None:
    spoil(folder)

    with pytest.raises(UsageError) as refused:
        read_adapter("signs")

    text = str(refused.value)
    assert text.startswith(f"the adapter in {folder} is not usable: ")
    assert reason in text
    assert text.endswith("make it anew with 'clipcli adapt'")
    ((path, error),) = kept_adapters()
    assert (path, str(error)) == (folder, text)


def test_nothing_that_is_no_adapter_is_replaced(folder, tmp_path) -> None:
    file, empty, other, link = (tmp_path / name for name in ("file", "empty", "other", "link"))
    file.touch()
    empty.mkdir()
    shutil.copytree(folder, other)
    (other / "photo.jpg").touch()
    link.symlink_to(folder)

    for path, reason in ((file, "is no adapter"), (other, "other things"), (link, "is no adapter")):
        with pytest.raises(UsageError, match=reason):
            check_target("x", path, may_be_there=True)
    with pytest.raises(UsageError, match=r"exists already .*--force replaces it"):
        check_target("signs", folder, may_be_there=False)
    check_target("signs", folder, may_be_there=True)
    check_target("x", empty, may_be_there=False)
    check_target("x", tmp_path / "new", may_be_there=False)


def test_a_new_one_takes_the_place_of_the_old(folder, adaptation) -> None:
    before = read_adapter("signs").sha256
    made = adaptation.description(INFO, SEEN, AdaptOptions(seed=1))

    write_adapter(folder, made, adaptation.tensors())

    assert read_adapter("signs").sha256 != before
    assert os.listdir(folder.parent) == ["signs"]


def test_what_cannot_be_written_leaves_nothing(folder, adaptation, monkeypatch) -> None:
    def full(_number: int) -> None:
        raise OSError(28, "No space left on device")

    before = read_adapter("signs").sha256
    monkeypatch.setattr(os, "fsync", full)
    made = adaptation.description(INFO, SEEN, AdaptOptions(seed=1))
    with pytest.raises(Exception, match="No space left"):
        write_adapter(folder, made, adaptation.tensors())

    assert read_adapter("signs").sha256 == before
    assert os.listdir(folder.parent) == ["signs"]


OTHERS = {
    "model": ({"name": "other", "fingerprint": "1" * 32}, "adapts fake .*, not other: use --model"),
    "weights": ({"fingerprint": "1" * 32}, "not these weights of it .*the same weights and --prec"),
}


@pytest.mark.parametrize(("changes", "reason"), OTHERS.values(), ids=OTHERS)
def test_another_model_is_refused_with_both_names(folder, changes, reason) -> None:
    with pytest.raises(UsageError, match=reason):
        adapted_head(read_adapter("signs"), replace(INFO, **changes))


def test_the_head_answers_by_the_weights_and_shows_cosines(folder, adaptation) -> None:
    material, adapter = adaptation.material, read_adapter("signs")
    refs = [ImageRef(place, str(place), b"") for place in range(len(material.truth))]
    head = adapted_head(adapter, INFO)

    predictions = list(head.score(refs, material.pictures, ScoreOptions()))

    logits = material.scale.logits(material.pictures, adapter.tensors["weights"])
    shares = material.scale.probabilities(logits / adapter.description.temperature)
    cosines = material.pictures @ material.texts.T
    names = material.labels.names
    for row, prediction in enumerate(predictions):
        assert prediction.answer == names[shares[row].argmax()]
        for score in prediction.scores:
            place = names.index(score.label)
            assert score.probability == pytest.approx(shares[row, place], abs=1e-6)
            assert score.similarity == pytest.approx(cosines[row, place], abs=1e-6)


def test_the_unadapted_head_is_zero_shot(folder, adaptation) -> None:
    head = unadapted_head(read_adapter("signs"), INFO)
    material = adaptation.material

    cosines, products = head.compare(material.pictures)

    assert cosines is products
    assert cosines == pytest.approx(material.pictures @ material.texts.T, abs=1e-6)
    assert (head.logit_scale, head.logit_bias) == (INFO.logit_scale, INFO.logit_bias)


def test_an_adapted_model_is_another_model(folder, adaptation) -> None:
    first = read_adapter("signs").answering(INFO)
    made = adaptation.description(INFO, SEEN, AdaptOptions(seed=1))
    write_adapter(folder, made, adaptation.tensors())
    second = read_adapter("signs").answering(INFO)

    assert len({INFO.fingerprint, first.fingerprint, second.fingerprint}) == 3
    assert replace(first, fingerprint=INFO.fingerprint) == INFO


@pytest.mark.parametrize("way", ["knn", "mahalanobis"])
def test_what_is_like_none_of_the_pictures_has_no_answer(folder, adaptation, way) -> None:
    material = adaptation.material
    head = adapted_head(read_adapter("signs"), INFO, way)
    own = head.novelty.is_novel(material.pictures)
    strange = np.random.default_rng(5).normal(size=(50, 32))
    strange = (strange / np.linalg.norm(strange, axis=1, keepdims=True)).astype(np.float32)
    refs = [ImageRef(place, str(place), b"") for place in range(50)]

    predictions = list(head.score(refs, strange, ScoreOptions()))

    assert own.mean() <= 0.05
    novel = [prediction.novel for prediction in predictions]
    assert np.mean(novel) > 0.5
    assert [prediction.answer is None for prediction in predictions] == novel


def test_without_a_threshold_novelty_is_refused(folder) -> None:
    spoil_json(thresholds={})(folder)

    with pytest.raises(UsageError, match="--novelty knn: the adapter signs has no threshold"):
        adapted_head(read_adapter("signs"), INFO, "knn")
