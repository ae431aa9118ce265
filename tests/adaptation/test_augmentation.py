"""Pictures as training sees them."""

import numpy as np
import pytest
from command import PHOTOS
from PIL import Image

from clipcli.adaptation.augmentation import kept_picture, random_box, random_view
from clipcli.images.preprocessing import OPENAI_MEAN, OPENAI_STD, PreprocessConfig

SQUARE = PreprocessConfig((32, 32), OPENAI_MEAN, OPENAI_STD)
WIDE = PreprocessConfig((32, 96), (0.5,) * 3, (0.5,) * 3, "bilinear", "squash")


def boxes(size, count=2000):
    random = np.random.default_rng(0)
    return np.array([random_box(size, random) for _ in range(count)])


class TestBox:
    @pytest.mark.parametrize("size", [(640, 480), (30, 900), (7, 5), (1, 1), (1, 500)])
    def test_it_lies_within_and_is_never_empty(self, size):
        left, top, right, bottom = boxes(size).T
        assert (left >= 0).all()
        assert (left < right).all()
        assert (right <= size[0]).all()
        assert (top >= 0).all()
        assert (top < bottom).all()
        assert (bottom <= size[1]).all()

    def test_areas_and_shapes_are_those_of_torchvision(self):
        """Beside its own draws, whose random numbers are others, by their averages."""
        import torch
        from torchvision.transforms import RandomResizedCrop

        image = torch.zeros(3, 480, 640)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            theirs = [
                RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3])
                for _ in range(2000)
            ]
        top, left, height, width = np.array(theirs).T
        expected = [left, top, left + width, top + height]
        found = boxes((640, 480)).T
        for ours, their in zip(found, expected, strict=True):
            spread = np.hypot(ours.std(), their.std()) / np.sqrt(2000)
            assert abs(ours.mean() - their.mean()) < 5 * spread
        area = (found[2] - found[0]) * (found[3] - found[1])
        spread = np.hypot(area.std(), (height * width).std()) / np.sqrt(2000)
        assert abs(area.mean() - (height * width).mean()) < 5 * spread
        shapes = (found[2] - found[0]) / (found[3] - found[1])
        assert shapes.min() > 0.74
        assert shapes.max() < 1.35

    def test_of_a_strip_it_is_the_middle(self):
        """No part of a tenth of its area is so nearly square."""
        random = np.random.default_rng(0)
        assert random_box((9000, 10), random) == (4493, 0, 4506, 10)
        assert random_box((10, 9000), random) == (0, 4493, 10, 4506)


class TestView:
    @pytest.mark.parametrize("config", [SQUARE, WIDE], ids=["square", "wide"])
    def test_it_has_the_models_shape_and_scale(self, config):
        white = Image.new("RGB", (80, 60), "white")
        pixels = random_view(white, config, np.random.default_rng(0))
        assert pixels.shape == (3, *config.size)
        assert pixels.dtype == np.float32
        expected = (1 - np.array(config.mean)) / np.array(config.std)
        np.testing.assert_allclose(pixels.mean(axis=(1, 2)), expected, rtol=1e-5)

    def test_half_of_them_are_mirrored(self):
        ramp = Image.linear_gradient("L").rotate(90).convert("RGB")  # brighter to one side
        random = np.random.default_rng(0)
        views = [random_view(ramp, SQUARE, random)[0] for _ in range(400)]
        brighter_on_the_left = np.mean([view[:, 0].mean() > view[:, -1].mean() for view in views])
        assert brighter_on_the_left == pytest.approx(0.5, abs=0.1)

    def test_the_same_seed_gives_the_same(self):
        photo = kept_picture(Image.open(PHOTOS / "chelsea.png"), SQUARE)
        views = [random_view(photo, SQUARE, np.random.default_rng(seed)) for seed in (0, 0, 1)]
        assert np.array_equal(views[0], views[1])
        assert not np.array_equal(views[0], views[2])


class TestKeptPicture:
    def test_a_large_one_is_kept_small_in_its_shape(self):
        assert kept_picture(Image.new("RGB", (4000, 3000)), SQUARE).size == (85, 64)
        assert kept_picture(Image.new("RGB", (3000, 9000)), WIDE).size == (192, 576)

    def test_a_small_one_stays_as_it_is(self):
        assert kept_picture(Image.new("RGB", (50, 60)), SQUARE).size == (50, 60)

    @pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "I;16"])
    def test_it_is_in_rgb_as_a_viewer_shows_it(self, mode):
        assert kept_picture(Image.new(mode, (100, 100)), SQUARE).mode == "RGB"

    def test_it_is_upright(self):
        image = Image.new("RGB", (100, 50))
        image.getexif()[0x0112] = 6  # turned by a quarter
        assert kept_picture(image, SQUARE).size == (50, 100)
