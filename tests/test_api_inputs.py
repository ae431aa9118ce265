"""What a program may give as pictures and labels, and what is said of everything else."""

from __future__ import annotations

import array
import io
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import PHOTOS
from PIL import Image

from clipcli import Classifier, Failure, FetchOptions, ImageOptions, PipelineOptions, UsageError
from clipcli.errors import FailureCode, ModelError
from clipcli.images.given import given_images

LABELS = ["a cat", "a dog", "a rocket"]
CAT = PHOTOS / "chelsea.png"
BYTES = CAT.read_bytes()
PIXELS = np.asarray(Image.open(CAT).convert("RGB"))


@pytest.fixture(scope="module")
def tiny() -> Classifier:
    return Classifier("tiny")


def refs(images: Any) -> list[Any]:
    return list(given_images(images, 1 << 30))


class Named(io.BytesIO):
    name = "a name"


def written_file() -> io.BytesIO:
    """As it is left behind by whoever saves into it."""
    file = io.BytesIO()
    file.write(BYTES)
    return file


def temporary() -> Any:
    file = tempfile.SpooledTemporaryFile()  # noqa: SIM115
    file.write(BYTES)
    return file


class Pipe(io.RawIOBase):
    """Gives a little at a time, and only once."""

    def __init__(self) -> None:
        self._rest = BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part, self._rest = self._rest[:7000], self._rest[7000:]
        count = min(len(part), len(buffer))
        buffer[:count] = part[:count]
        self._rest = part[count:] + self._rest
        return count


def zipped() -> Any:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("cat.png", BYTES)
    return zipfile.ZipFile(archive).open("cat.png")


class PathLike(os.PathLike[str]):
    def __fspath__(self) -> str:
        return str(CAT)


FLOATS = torch.from_numpy(PIXELS.copy()).permute(2, 0, 1) / 255
ONES = {
    "a path": lambda: CAT,
    "a name": lambda: str(CAT),
    "a NumPy text": lambda: np.str_(CAT),
    "something like a path": PathLike,
    "bytes": lambda: BYTES,
    "a bytearray": lambda: bytearray(BYTES),
    "a memoryview": lambda: memoryview(BYTES),
    "an open file": lambda: CAT.open("rb"),
    "an unbuffered file": lambda: CAT.open("rb", buffering=0),
    "BytesIO": lambda: io.BytesIO(BYTES),
    "BytesIO, just written": written_file,
    "a temporary file": temporary,
    "a file in an archive": zipped,
    "a pipe": Pipe,
    "a PIL image": lambda: Image.open(CAT),
    "an array": lambda: PIXELS,
    "a read-only array": lambda: np.asarray(Image.open(CAT).convert("RGB")),
    "an array not in order": lambda: np.asfortranarray(PIXELS),
    "an opaque array": lambda: np.dstack([PIXELS, np.full(PIXELS.shape[:2], 255, np.uint8)]),
    "a tensor, channels first": lambda: torch.from_numpy(PIXELS.copy()).permute(2, 0, 1),
    "a tensor, channels last": lambda: torch.from_numpy(PIXELS.copy()),
    "a tensor of floats": lambda: FLOATS,
    "a tensor of doubles": FLOATS.double,
    "a tensor with gradients": lambda: FLOATS.clone().requires_grad_(),
}


@pytest.mark.parametrize("make", ONES.values(), ids=list(ONES))
def test_one_picture_of_any_kind_is_one(tiny, make):
    (expected,) = tiny.classify(CAT, LABELS)
    given = make(), make()
    (alone,), (listed,) = tiny.classify(given[0], LABELS), tiny.classify([given[1]], LABELS)
    for image in given:
        if isinstance(image, io.IOBase | tempfile.SpooledTemporaryFile):
            image.close()
    assert alone.scores == listed.scores == expected.scores


MANY = {
    "a list": list,
    "a tuple": tuple,
    "a generator": lambda images: (image for image in images),
    "a deque": deque,
    "a dict's values": lambda images: dict(enumerate(images)).values(),
}


@pytest.mark.parametrize("gather", MANY.values(), ids=list(MANY))
def test_several_pictures_are_several(tiny, gather):
    results = tiny.classify(gather([io.BytesIO(BYTES), PIXELS, CAT, FLOATS]), LABELS)
    assert len({result.scores for result in results}) == 1
    assert [result.index for result in results] == [0, 1, 2, 3]


def test_arrays_of_names_are_several():
    for names in (np.array([str(CAT), "b.png"]), np.array([CAT, Path("b.png")], dtype=object)):
        assert [Path(ref.name).name for ref in refs(names)] == ["chelsea.png", "b.png"]


def test_one_file_may_come_twice(tiny):
    file = io.BytesIO(BYTES)
    first, second = tiny.classify([file, file], LABELS)
    assert first.scores == second.scores


def test_files_have_their_names(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(BYTES)
    with path.open("rb") as file:
        names = [ref.name for ref in refs([file, Named(BYTES), io.BytesIO(BYTES), PIXELS])]
    assert names == [str(path), "a name", "image 2", "image 3"]


def test_grey_arrays_have_one_channel_or_none(tiny):
    grey = np.asarray(Image.open(CAT).convert("L"))
    tensor = torch.from_numpy(grey.copy())
    results = tiny.classify([grey, grey[:, :, None], tensor, tensor[None]], LABELS)
    assert len({result.scores for result in results}) == 1


def test_transparent_arrays_are_laid_on_white():
    clear = np.zeros((4, 4, 4), np.uint8)
    assert refs([clear])[0].source.mode == "RGBA"
    assert refs([np.zeros((4, 4, 2), np.uint8)])[0].source.mode == "LA"


def test_an_array_that_is_used_again_is_the_picture_that_it_was(tiny):
    frame = np.zeros_like(PIXELS)

    def frames() -> Iterator[np.ndarray]:
        for picture in (PIXELS, np.zeros_like(PIXELS)):
            frame[:] = picture
            yield frame

    cat, black = tiny.classify(frames(), LABELS)
    assert cat.scores == tiny.classify(CAT, LABELS)[0].scores
    assert black.scores != cat.scores


def test_a_bad_file_is_a_failure_among_predictions(tiny):
    closed = io.BytesIO(BYTES)
    closed.close()

    class Broken(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise OSError(5, "Input/output error")

    empty = np.zeros((0, 4, 3), np.uint8)
    given = [closed, Broken(BYTES), io.BytesIO(), io.BytesIO(b"hello"), empty, io.BytesIO(BYTES)]
    results = tiny.classify(given, LABELS)
    assert [getattr(result, "code", None) for result in results] == [
        FailureCode.UNREADABLE,
        FailureCode.UNREADABLE,
        FailureCode.EMPTY,
        FailureCode.NOT_AN_IMAGE,
        FailureCode.DAMAGED,
        None,
    ]


def test_files_have_a_limit(tiny):
    options = PipelineOptions(images=ImageOptions(max_bytes=1000))
    (result,) = tiny.classify(io.BytesIO(BYTES), LABELS, options=options)
    assert isinstance(result, Failure)
    assert result.code is FailureCode.TOO_MANY_BYTES


NOT_IMAGES = {
    "None": (None, "of type NoneType"),
    "a number": (3, "of type int"),
    "a dict": ({"a": CAT}, r"list\(images.values\(\)\)"),
    "a class": (object(), "of type object"),
    "None among them": ([CAT, None], "image 1 is of type NoneType"),
    "a number among them": ([CAT, 1.5], "image 1 is of type float"),
    "a list among them": ([[CAT]], "image 0 is of type list"),
    "an array of floats": (PIXELS / 255, "an array of float64: give uint8"),
    "an array of numbers": (PIXELS.astype(np.int32), "an array of int32"),
    "an array of 16 bits": (PIXELS.astype(np.uint16), "an array of uint16"),
    "an array of truths": (PIXELS > 9, "an array of bool"),
    "an array of complex numbers": (PIXELS * 1j, "an array of complex128"),
    "a batch": (PIXELS[None], r"a batch, of shape .*list\(batch\)"),
    "a batch of tensors": (FLOATS[None], "a batch"),
    "a row": (np.zeros(9, np.uint8), r"the shape \(9,\)"),
    "a number in an array": (np.uint8(9), r"the shape \(\)"),
    "channels first": (PIXELS.transpose(2, 0, 1), r"\(height, width, channels\)"),
    "five channels": (np.zeros((4, 4, 5), np.uint8), "1 to 4 channels"),
    "a normalised tensor": (FLOATS * 4 - 2, "before it is normalised"),
    "a tensor of NaN": (FLOATS * float("nan"), "beyond 0 to 1"),
    "a tensor of integers": (torch.zeros(3, 4, 4, dtype=torch.int64), "an array of int64"),
    "a text file": (io.StringIO("text"), "mode 'rb'"),
    "numbers in an array of Python's": (array.array("i", [1, 2]), "image 0 is of type int"),
}


@pytest.mark.parametrize(("value", "message"), NOT_IMAGES.values(), ids=list(NOT_IMAGES))
def test_what_is_no_picture_is_refused_in_pythons_words(tiny, value, message):
    with pytest.raises(UsageError, match=message) as caught:
        tiny.classify(value, LABELS)
    assert not re.search(r"(?<!\w)--?[a-z]", str(caught.value))


# Labels


def test_a_dict_of_labels_has_texts_of_its_own(tiny):
    (named,) = tiny.classify(CAT, {"feline": "a photo of a cat", "canine": ["a photo of a dog"]})
    (plain,) = tiny.classify(CAT, ["a photo of a cat", "a photo of a dog"])
    assert named.answer == "feline"
    assert [score.similarity for score in named.scores] == [
        score.similarity for score in plain.scores
    ]


def test_several_texts_of_a_label_are_averaged(tiny):
    texts = {"cat": ["a photo of a cat", "a drawing of a cat"], "dog": ("a photo of a dog",)}
    templates = ["a photo of a {}", "a drawing of a {}"]
    (several,) = tiny.classify(CAT, texts)
    (templated,) = tiny.classify(CAT, ["cat", "dog"], templates=templates)
    assert several.scores[0].label == templated.scores[0].label == "cat"
    assert several.scores[0].similarity == pytest.approx(templated.scores[0].similarity, abs=1e-6)
    (both,) = tiny.classify(CAT, {"cat": ["cat", "kitten"], "dog": "dog"}, templates=templates)
    assert both.scores != several.scores


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        tuple(LABELS),
        iter(LABELS),
        dict.fromkeys(LABELS).keys(),
        np.array(LABELS),
        deque(LABELS),
    ],
    ids=lambda labels: type(labels).__name__,
)
def test_labels_are_any_row_of_texts(tiny, labels):
    assert tiny.classify(CAT, labels) == tiny.classify(CAT, LABELS)


NOT_LABELS = {
    "a number among them": (["a", 3], "one of labels is 3, of type int"),
    "None among them": (["a", None], "one of labels is None"),
    "bytes among them": (["a", b"b"], "of type bytes"),
    "a list among them": (["a", ["b"]], "of type list"),
    "a text": ("cat", r"write \['cat', ...\]"),
    "bytes": (b"cat", "labels are of type bytes"),
    "None": (None, "no labels: give the texts to choose between"),
    "a number": (7, "labels are of type int"),
    "none at all": ([], r"no labels: give .* \['a cat', 'a dog'\]"),
    "an empty dict": ({}, "no labels"),
    "one": (["cat"], r"write \['cat', 'something else'\]"),
    "twice the same": (["cat", "dog", "cat"], "label given more than once: 'cat'"),
    "an empty one": (["cat", " "], "a label is empty"),
    "a dict of numbers": ({"cat": 3, "dog": 4}, "the texts of 'cat' are of type int"),
    "a dict of nothing": ({"cat": [], "dog": "dog"}, "the label 'cat' has no texts"),
    "a dict of None": ({"cat": None, "dog": None}, "the texts of 'cat' are of type NoneType"),
    "a dict of mixtures": ({"cat": ["cat", 1], "dog": "dog"}, "one of the texts of 'cat' is 1"),
    "a dict by numbers": ({0: "cat", 1: "dog"}, "a label is 0, of type int"),
    "a dict of dicts": ({"cat": {"a": 1}, "dog": "d"}, "the texts of 'cat' are of type dict"),
}


@pytest.mark.parametrize(("labels", "message"), NOT_LABELS.values(), ids=list(NOT_LABELS))
def test_what_is_no_label_is_refused_in_pythons_words(tiny, labels, message):
    with pytest.raises(UsageError, match=message) as caught:
        tiny.classify(CAT, labels)
    assert not re.search(r"(?<!\w)--?[a-z]", str(caught.value))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"templates": 3}, "templates are of type int"),
        ({"templates": ["a {}", 3]}, "one of templates is 3"),
        ({"templates": None}, "templates are of type NoneType"),
        ({"templates": "no place"}, "has no {} where the label goes"),
        ({"min_probability": "0.5"}, "min_probability is '0.5': give a number"),
        ({"min_probability": None}, "min_probability is None"),
        ({"min_similarity": float("nan")}, "min_similarity is nan"),
        ({"options": {"batch_size": 3}}, r"give PipelineOptions\(batch_size=8"),
        ({"options": ImageOptions()}, "options are of type ImageOptions"),
    ],
    ids=str,
)
def test_other_arguments_are_checked_in_pythons_words(tiny, arguments, message):
    with pytest.raises(UsageError, match=message):
        tiny.classify(CAT, LABELS, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"engine": "onnx", "device": "cuda"},
            'engine="onnx" runs on the CPU: leave out device="cuda"',
        ),
        ({"engine": "onnx", "precision": "bf16"}, 'engine="onnx" has fp32 and int8'),
        ({"model": 3}, "the model is 3, of type int"),
        ({"model": None}, "the model is None"),
    ],
    ids=str,
)
def test_a_model_is_refused_in_pythons_words(arguments, message):
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        Classifier(**{"model": "tiny", **arguments})
    assert "--" not in str(caught.value)


def test_a_checkpoint_that_is_refused_is_an_argument(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match="allow_pickle=True") as caught:
        Classifier("tiny", checkpoint=tmp_path / "weights.bin", engine="torch")
    assert "--" not in str(caught.value)


def test_a_format_and_a_host_alone_are_not_their_letters():
    assert ImageOptions(extra_formats="tiff").extra_formats == ("tiff",)
    assert FetchOptions(allowed_hosts="localhost").allows("localhost", 80)
    assert not FetchOptions(allowed_hosts="localhost").allows("l", 80)


def test_torch_is_not_imported_for_what_is_no_tensor():
    code = (
        "import sys, io, numpy as np; from clipcli import Classifier;"
        "images = [np.zeros((9, 9, 3), np.uint8), io.BytesIO(b'x')];"
        "Classifier('tiny').classify(images, ['a', 'b']);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
