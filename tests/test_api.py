from __future__ import annotations

import ast
import doctest
import inspect
import pickle
import pydoc
import re
from pathlib import Path
from typing import get_type_hints

import pytest
from bundle_copies import MANIFEST
from command import ROOT
from PIL import Image

import clipcli
from clipcli import Classifier, ClipcliError, Failure, ModelRequest, Prediction
from clipcli.errors import FailureCode, ModelError, UsageError

LABELS = ["a photo of a cat", "a photo of a dog", "a photo of a mountain"]


@pytest.fixture(scope="module")
def tiny() -> Classifier:
    return Classifier("tiny")


def test_every_kind_of_image_gives_the_same_prediction(tiny: Classifier, photos: Path) -> None:
    path = photos / "chelsea.png"
    with Image.open(path) as image:
        results = tiny.classify([path, str(path), path.read_bytes(), image], LABELS)

    assert [result.answer for result in results] == [LABELS[0]] * 4
    assert len({result.scores for result in results}) == 1
    assert [result.name for result in results] == [str(path), str(path), "image 2", str(path)]


def test_one_image_needs_no_list(tiny: Classifier, photos: Path) -> None:
    for image in (photos / "rocket.jpg", str(photos / "rocket.jpg")):
        (result,) = tiny.classify(image, ["rocket", "cat"])
        assert result.answer == "rocket"


def test_a_bad_image_is_a_failure_among_predictions(tiny: Classifier, photos: Path) -> None:
    results = tiny.classify(["missing.png", photos / "coffee.png", b"text"], ["cup", "cat"])

    assert [type(result) for result in results] == [Failure, Prediction, Failure]
    assert [result.code for result in results if isinstance(result, Failure)] == [
        FailureCode.NOT_FOUND,
        FailureCode.NOT_AN_IMAGE,
    ]


def test_a_url_to_a_private_address_is_refused_and_its_password_kept(tiny: Classifier) -> None:
    (result,) = tiny.classify("http://me:secret@127.0.0.1:9/cat.png", LABELS)

    assert isinstance(result, Failure)
    assert result.code is FailureCode.URL_REFUSED
    assert "secret" not in f"{result.name} {result.message}"


def test_templates_and_sets_change_the_numbers(tiny: Classifier, photos: Path) -> None:
    path = photos / "chelsea.png"
    plain, one, several = (
        tiny.classify(path, ["cat", "dog"], templates=templates)[0]
        for templates in ([], ["a photo of a {}."], ["openai7"])
    )

    assert len({result.best.probability for result in (plain, one, several)}) == 3


def test_below_the_minimum_the_answer_is_none(tiny: Classifier, photos: Path) -> None:
    (sure,) = tiny.classify(photos / "chelsea.png", LABELS)
    assert isinstance(sure, Prediction)
    more = sure.best.probability + 1e-6
    (result,) = tiny.classify(photos / "chelsea.png", LABELS, min_probability=more)

    assert isinstance(result, Prediction)
    assert result.answer is None
    assert result.best.label == LABELS[0]


def test_labels_are_encoded_once(tiny: Classifier, photos: Path, monkeypatch) -> None:
    labels = ["a thing", "another thing"]
    tiny.classify(photos / "rocket.jpg", labels)
    monkeypatch.setattr(tiny._engine, "encode_tokens", None)

    tiny.classify(photos / "rocket.jpg", labels)


@pytest.mark.parametrize("labels", [[], ["cat"], ["cat", "cat"], ["cat", " "]])
def test_bad_labels_are_refused(tiny: Classifier, labels: list[str]) -> None:
    with pytest.raises(UsageError):
        tiny.classify("x.png", labels)


def test_one_text_is_not_taken_for_a_list_of_letters(tiny: Classifier, photos: Path) -> None:
    with pytest.raises(UsageError, match=r"write \['cat', ...\]"):
        tiny.classify(photos / "chelsea.png", "cat")

    one, listed = (
        tiny.classify(photos / "chelsea.png", ["cat", "dog"], templates=templates)
        for templates in ("a photo of a {}", ["a photo of a {}"])
    )
    assert one == listed


def test_what_is_no_image_is_refused_by_its_type(tiny: Classifier, photos: Path) -> None:
    with pytest.raises(UsageError, match="image 1 is of type NoneType"):
        tiny.classify([photos / "chelsea.png", None], LABELS)

    data = bytearray((photos / "chelsea.png").read_bytes())
    assert [result.answer for result in tiny.classify(data, LABELS)] == [LABELS[0]]


def test_one_lazily_opened_image_may_come_several_times(tiny: Classifier, photos: Path) -> None:
    for _ in range(5):
        with Image.open(photos / "chelsea.png") as image:
            results = tiny.classify([image] * 8, LABELS)
        assert {result.answer for result in results} == {LABELS[0]}


def test_the_example_of_the_docstring_is_true(tiny: Classifier, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(clipcli, "Classifier", lambda name: tiny, raising=False)
    found = doctest.DocTestFinder().find(Classifier, "Classifier", globs={})
    runner = doctest.DocTestRunner()
    for test in found:
        runner.run(test)

    assert runner.summarize() == (0, 4)


def test_no_images_give_no_results(tiny: Classifier) -> None:
    assert tiny.classify([], LABELS) == []


def test_an_unknown_model_says_what_it_may_have_been() -> None:
    with pytest.raises(ModelError, match="tiny"):
        Classifier("tinny")


def test_a_request_says_more_than_a_name(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="offline is set"):
        Classifier(ModelRequest("ViT-B/32", offline=True), engine="torch")
    (tmp_path / "weights.bin").write_bytes(b"no pickle")
    asked = ModelRequest("tiny", allow_pickle=True)
    with pytest.raises(ModelError, match="is something else, and a state dict"):
        Classifier(asked, checkpoint=tmp_path / "weights.bin", engine="torch")
    assert Classifier(ModelRequest("tiny")).info == Classifier("tiny").info


def test_the_model_tells_what_it_is(tiny: Classifier) -> None:
    width = MANIFEST["embed_dim"]
    assert (tiny.info.name, tiny.info.embed_dim, tiny.info.activation) == ("tiny", width, "softmax")


def test_help_reads_well() -> None:
    text = pydoc.plain(pydoc.render_doc(Classifier))

    for part in ("which of some texts fits an image", "Raises:", "Example:", "classify(self"):
        assert part in text
    for name in clipcli.__all__:
        assert name == "__version__" or inspect.getdoc(getattr(clipcli, name))


def test_public_names_are_found_by_tools() -> None:
    assert dir(clipcli) == sorted(clipcli.__all__)
    assert issubclass(ClipcliError, Exception)
    with pytest.raises(AttributeError, match="no attribute 'classify'"):
        clipcli.classify  # noqa: B018


@pytest.mark.parametrize("name", clipcli.__all__)
def test_a_public_name_says_that_it_is_one(name: str) -> None:
    value = getattr(clipcli, name)
    if name != "__version__":
        assert (value.__module__, value.__qualname__) == ("clipcli", name)
        assert pickle.loads(pickle.dumps(value)) is value


def test_the_types_of_results_can_still_be_asked_for() -> None:
    """As libraries do that make JSON schemas of dataclasses."""
    assert get_type_hints(Prediction)["scores"] == tuple[clipcli.LabelScore, ...]
    assert get_type_hints(Failure)["code"] is clipcli.FailureCode
    assert get_type_hints(clipcli.PipelineOptions)["images"] is clipcli.ImageOptions


def test_help_says_what_is_private() -> None:
    text = pydoc.plain(pydoc.render_doc(clipcli))
    assert "The modules and packages below are private" in text
    named = set(clipcli.__all__) - {"__version__"}
    assert {name for name in named if name not in text} == set()


def names_of_classes() -> set[str]:
    """All public-looking classes of clipcli's own."""
    trees = (ast.parse(file.read_text("utf-8")) for file in (ROOT / "src/clipcli").rglob("*.py"))
    return {
        node.name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    }


def test_what_public_docstrings_name_is_public() -> None:
    public = [getattr(clipcli, name) for name in clipcli.__all__ if name != "__version__"]
    texts = [clipcli.__doc__ or ""]
    for value in public:
        members = [member for name, member in vars(value).items() if not name.startswith("_")]
        texts += [inspect.getdoc(part) or "" for part in (value, *members)]
    # In backticks, or before a colon, as in `Raises:`.
    words = re.findall(r"`(\w+)`|^ +(\w+):", "\n".join(texts), re.MULTILINE)
    spoken = {word for pair in words for word in pair} & names_of_classes()
    assert spoken - set(clipcli.__all__) == set()
    assert {"ModelError", "UsageError", "Prediction", "Failure", "ModelRequest"} <= spoken


def test_the_readme_names_what_is_public_and_nothing_else() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## From Python")[2]
    text = text.partition("\n## ")[0]
    told = {name for name in re.findall(r"`(\w+)`", text) if name[0].isupper()}
    assert told == {name for name in clipcli.__all__ if name[0].isupper()}
    for line in re.findall(r"from clipcli import (.+)", text):
        assert set(line.split(", ")) <= set(clipcli.__all__)
