"""Pictures in tiles on their way through an engine: what is averaged, and in which runs."""

from __future__ import annotations

import numpy as np
import pytest
from fake_engine import FakeEngine
from picture_files import encoded
from PIL import Image

from clipcli import Classifier, Prediction
from clipcli.embeddings.rows import Block
from clipcli.errors import FailureCode, InputError
from clipcli.images.options import ImageOptions
from clipcli.images.sources import ImageRef
from clipcli.runs.options import PipelineOptions
from clipcli.runs.pipeline import encode

TILES = ImageOptions(fit="tiles")


class PlacedEngine(FakeEngine):
    """Its embeddings tell an image's place in its run, and the run's length."""

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        self.batches.append(len(pixels))
        places = (np.arange(len(pixels)) + 16 * len(pixels)) / 1e4
        return self._on_circle(pixels.mean(axis=(1, 2, 3)) + places)


def halves(left: int, right: int, width: int = 24) -> bytes:
    """A PNG file of two greys side by side, 8 pixels high as the fake engine wants them."""
    image = Image.new("RGB", (width, 8), (left,) * 3)
    image.paste((right,) * 3, (width // 2, 0, width, 8))
    return encoded(image, "PNG")


def refs(*files: bytes) -> list[ImageRef]:
    return [ImageRef(index, f"{index}.png", data) for index, data in enumerate(files)]


def embedded(engine: FakeEngine, *files: bytes, **options: object) -> list[Block]:
    how = PipelineOptions(**{"batch_size": 4, "images": TILES, "workers": 1, **options})
    return list(encode(refs(*files), engine, how))


def unit(*greys: float) -> np.ndarray:
    angles = np.array(greys) / 255 * np.pi / 2
    mean = np.stack([np.cos(angles), np.sin(angles)], axis=1).mean(axis=0)
    return mean / np.linalg.norm(mean)


def test_the_unit_embeddings_of_tiles_are_averaged_and_normalised():
    # 16 pixels are two tiles and a bit: three, of which the middle one has both greys.
    (block,) = embedded(FakeEngine(), halves(0, 200, width=16), halves(90, 90, width=8))
    assert block.embeddings is not None
    np.testing.assert_allclose(block.embeddings[0], unit(0, 100, 200), atol=1e-6)
    np.testing.assert_allclose(block.embeddings[1], unit(90), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(block.embeddings, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_no_run_is_larger_than_a_batch_or_than_a_picture_has_tiles(batch_size):
    engine = FakeEngine()
    files = [halves(10, 20, width=8 * 45), halves(1, 2, width=8), halves(3, 4, width=24)] * 2
    blocks = embedded(engine, *files, batch_size=batch_size)
    assert max(engine.batches) <= batch_size
    assert sum(len(block.refs) for block in blocks) == 6
    # 45 times as long as high: 52 tiles with one pixel of 8 in common; 24 pixels: 4.
    assert sum(engine.batches) == 6 + 2 * (51 + 3)


def test_an_images_numbers_do_not_depend_on_its_company():
    """Not even on their last digit: the engine tells where and among how many an image ran."""
    wide, square = halves(0, 200), halves(50, 60, width=8)
    longer = halves(7, 250, width=80)
    companies = [(square, square, square), (wide, longer, square), (b"none", longer, longer)]
    for place in range(4):
        found = []
        for company in companies:
            files = [*company[:place], wide, *company[place:]]
            (block,) = embedded(PlacedEngine(), *files)
            assert block.embeddings is not None
            found.append(block.embeddings[place].tobytes())
        assert len(set(found)) == 1


def test_one_tile_is_the_image_as_it_is_cropped():
    files = [halves(0, 200, width=8), halves(9, 90, width=8), b"none"]
    (tiled,) = embedded(PlacedEngine(), *files)
    (cropped,) = embedded(PlacedEngine(), *files, images=ImageOptions())
    assert tiled.embeddings is not None
    assert cropped.embeddings is not None
    assert tiled.embeddings.tobytes() == cropped.embeddings.tobytes()


class Blind(FakeEngine):
    """Its embedding of white is none."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self._value = value

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        rows = super().encode_images(pixels)
        rows[pixels.mean(axis=(1, 2, 3)) > 0.99] = self._value
        return rows


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 3.0])
@pytest.mark.parametrize("file", [halves(255, 0), halves(0, 255)], ids=["first", "last"])
def test_a_tile_without_an_embedding_is_the_pictures_failure_alone(file, value):
    (block,) = embedded(Blind(value), halves(0, 100), file)
    assert {place: error.code for place, error in block.failures.items()} == {
        1: FailureCode.NOT_FINITE
    }
    assert block.embeddings is not None
    assert np.isfinite(block.embeddings).all()


def test_tiles_that_cancel_each_other_out_are_no_embedding():
    class Opposite(FakeEngine):
        def encode_images(self, pixels: np.ndarray) -> np.ndarray:
            signs = np.where(pixels.mean(axis=(1, 2, 3)) > 0.5, 1, -1)
            return np.stack([signs, 0 * signs], axis=1).astype(np.float32)

    (block,) = embedded(Opposite(), halves(0, 255, width=14))
    assert block.failures[0].code is FailureCode.NOT_FINITE


def test_a_block_says_which_images_are_seen_by_less_than_half():
    files = [halves(1, 2), halves(1, 2, width=8), b"none", halves(1, 2, width=16)]
    (block,) = embedded(FakeEngine(), *files, images=ImageOptions())
    assert {place: sight.seen for place, sight in block.sights.items()} == {0: 0.3333}
    assert isinstance(block.failures[2], InputError)
    assert [dict(block.sights) for block in embedded(FakeEngine(), *files)] == [{}]


# With the bundled model.


def photo(size: tuple[int, int], seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(values)


@pytest.fixture(scope="module")
def tiny() -> Classifier:
    return Classifier("tiny")


def test_the_models_numbers_do_not_depend_on_the_company(tiny):
    options = PipelineOptions(images=TILES)
    wide, square, long = photo((900, 300)), photo((300, 300), 1), photo((300, 2500), 2)
    found = []
    for company in ([square, square], [long, wide], [long, long]):
        first, *others = tiny.classify([wide, *company], ["a cat", "a dog"], options=options)
        assert isinstance(first, Prediction)
        found.append(first.scores)
        if company[0] is square:
            cropped = tiny.classify([wide, *company], ["a cat", "a dog"])
            assert [one.scores for one in others] == [one.scores for one in cropped[1:]]
            assert first.scores != cropped[0].scores
            assert (first.seen, cropped[0].seen) == (None, 0.3333)
    assert len(set(found)) == 1


def test_in_other_processes_the_numbers_are_the_same(tiny):
    files = [encoded(photo(size), "PNG") for size in ((900, 300), (300, 300), (300, 1000))]
    for fit in (None, "tiles", "pad"):
        images = ImageOptions(fit=fit)
        here, there = (
            tiny.classify(files, ["a cat", "a dog"], options=PipelineOptions(images=images, **how))
            for how in ({}, {"isolate_seconds": 60.0})
        )
        assert here == there
        assert [one.seen for one in here] == ([None] * 3 if fit else [0.3333, None, 0.3])
