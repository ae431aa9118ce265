"""How a picture is brought into a model's shape: cropped, padded, squashed, in tiles."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from open_clip.transform import PreprocessCfg, image_transform_v2
from picture_files import encoded
from PIL import Image

from clipcli.errors import FailureCode, InputError, ModelError, UsageError
from clipcli.images.decoding import decode_marked, open_image, prepare
from clipcli.images.isolation import DecoderPool
from clipcli.images.options import FITS, ImageOptions
from clipcli.images.preprocessing import (
    MOST_TILES,
    PreprocessConfig,
    normalised,
    resized_size,
    tile_starts,
)
from clipcli.images.thumbnails import SIDE, thumbnails
from clipcli.images.views import Sight, View

CONFIG = PreprocessConfig.from_open_clip({}, 32)
SHAPES = (
    (100, 100), (101, 100), (100, 101), (150, 100), (160, 90), (90, 160), (200, 100), (100, 201),
    (667, 100), (100, 1000), (3000, 100), (10, 10), (3, 5), (1, 1), (70, 3),
)  # fmt: skip
MODES = {"crop": "shortest", "pad": "longest", "squash": "squash", "tiles": "tiles"}


def noise(size: tuple[int, int]) -> Image.Image:
    values = np.random.default_rng(size).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(values)


# Tiles

SIDES = st.integers(1, 600)


@settings(deadline=None, max_examples=300)
@given(SIDES, st.integers(0, 60_000))
@example(224, 0)
@example(1, 60_000)
def test_tiles_cover_every_pixel_of_a_side_with_as_few_as_may_be(target, surplus):
    length = target + surplus
    starts = tile_starts(length, target)
    assert starts[0] == 0
    assert starts[-1] + target == length
    steps = np.diff(starts)
    # A fifth in common at least, and as even as pixels allow.
    farthest = target - target // 5
    assert all(0 < step <= farthest for step in steps)
    assert max(steps, default=0) - min(steps, default=0) <= 1
    assert (len(starts) - 2) * farthest < surplus or len(starts) == 1


@settings(deadline=None, max_examples=60)
@given(st.tuples(SIDES, SIDES), st.sampled_from([(32, 32), (16, 40), (40, 16), (1, 1)]))
def test_every_pixel_of_the_resized_picture_is_in_some_tile(size, target):
    config = PreprocessConfig.from_open_clip({}, target)
    tiled = config.fitted("tiles")
    image = noise(size)
    width, height = resized_size(size, tiled)
    if (width / target[1]) * (height / target[0]) > 40:  # there may be too many
        return
    found = prepare(image, config, ImageOptions(fit="tiles"))
    assert 1 + len(found.others) <= MOST_TILES
    assert resized_size(size, config) == (width, height)
    strip = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    corners = [
        (top, left)
        for top in tile_starts(height, target[0])
        for left in tile_starts(width, target[1])
    ]
    seen = np.zeros((height, width), bool)
    parts = [strip[top : top + target[0], left : left + target[1]] for top, left in corners]
    for top, left in corners:
        seen[top : top + target[0], left : left + target[1]] = True
    assert seen.all()
    assert np.array_equal(found.pixels, normalised(parts[0], config))
    assert np.array_equal(found.others, np.array(parts[1:]).reshape(found.others.shape))


@pytest.mark.parametrize("size", [(100, 100), (500, 499), (32, 32), (7, 7)])
def test_a_square_is_one_tile_the_same_as_cropped(size):
    cropped = prepare(noise(size), CONFIG, ImageOptions(fit="crop"))
    tiled = prepare(noise(size), CONFIG, ImageOptions(fit="tiles"))
    assert np.array_equal(tiled.pixels, cropped.pixels)
    assert len(tiled.others) == len(cropped.others) == 0


@pytest.mark.parametrize(
    ("size", "count"),
    [((180, 100), 2), ((100, 180), 2), ((181, 100), 3), ((20_000, 3_000), 9), ((5140, 100), 64)],
)
def test_a_picture_has_so_many_tiles(size, count):
    config = PreprocessConfig.from_open_clip({}, 100)
    found = prepare(noise(size), config, ImageOptions(fit="tiles"))
    assert 1 + len(found.others) == count


@pytest.mark.parametrize("size", [(5141, 100), (100, 5141), (1, 60_000)])
@pytest.mark.parametrize("is_open", [False, True], ids=["file", "open"])
def test_more_tiles_than_there_may_be_are_refused_with_the_way_out(size, is_open):
    config = PreprocessConfig.from_open_clip({}, 100)
    options = ImageOptions(fit="tiles")
    image = Image.new("L", size)
    given = image if is_open else encoded(image, "PNG")
    do = prepare if is_open else decode_marked
    with pytest.raises(InputError, match="--fit squash or --fit pad takes all") as caught:
        do(given, config, options)
    assert caught.value.code is FailureCode.TOO_ELONGATED


# Each fit as open_clip has it, where it does


@pytest.mark.parametrize("own", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("fit", ["crop", "pad", "squash", None])
@pytest.mark.parametrize("size", [64, (48, 64)], ids=str)
def test_pixels_are_those_of_open_clips_transform_for_models_trained_so(own, fit, size):
    config = PreprocessConfig.from_open_clip({"resize_mode": own, "fill_color": 99}, size)
    mode = own if fit is None else MODES[fit]
    theirs = image_transform_v2(
        PreprocessCfg(size=size, resize_mode=mode, fill_color=99), is_train=False
    )
    for shape in SHAPES:
        image = noise(shape)
        found = prepare(image, config, ImageOptions(fit=fit))
        assert np.array_equal(found.pixels, theirs(image).numpy()), shape
        assert len(found.others) == 0


def test_a_config_says_what_its_fit_is_called():
    for fit, mode in MODES.items():
        assert CONFIG.fitted(fit).resize_mode == mode
        assert CONFIG.fitted(fit).fit == fit
    assert CONFIG.fitted(None) is CONFIG
    with pytest.raises(ModelError, match="tiles"):
        PreprocessConfig.from_open_clip({"resize_mode": "tiles"}, 32)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fit": "tile"}, "'tile' is no way to fit a picture: use one of crop, pad, squash, tiles"),
        ({"fit": "shortest"}, "'shortest' is no way"),
        *(({"fit": fit, "reference": True}, f"--fit {fit} goes without") for fit in FITS),
    ],
)
def test_what_is_no_fit_or_does_not_go_with_the_reference_is_refused(fields, message):
    with pytest.raises(UsageError, match=message):
        ImageOptions(**fields)


# How much is seen


@pytest.mark.parametrize(
    ("size", "share"),
    [
        ((100, 100), 1.0), ((200, 100), 0.5), ((201, 100), 0.5), ((210, 100), 0.4776),
        ((20_000, 3_000), 0.1502), ((3_000, 20_000), 0.1502), ((10_000, 1), 0.0001),
    ],
)  # fmt: skip
def test_the_share_of_the_area_that_a_crop_shows(size, share):
    assert View.of(size, CONFIG).share == pytest.approx(share, abs=2e-4)
    for fit in ("pad", "squash", "tiles"):
        assert View.of(size, CONFIG.fitted(fit)).share == 1


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("fast", [False, True])
def test_an_image_says_how_much_of_it_is_seen(orientation, reference, fast):
    if reference and fast:
        return
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(noise((1000, 200)), "JPEG", exif=exif)
    options = ImageOptions(reference=reference, fast_decode=fast)
    assert decode_marked(data, CONFIG, options).sight == Sight(seen=0.2)
    assert Sight(seen=0.2).is_worth_telling
    assert not Sight(seen=0.5).is_worth_telling


def test_another_process_prepares_the_same():
    for fit in (None, *FITS):
        options = ImageOptions(fit=fit)
        with DecoderPool(CONFIG, options, 120, workers=1) as pool:
            for size in ((300, 100), (100, 100), (50, 700)):
                data = encoded(noise(size), "PNG")
                here, there = decode_marked(data, CONFIG, options), pool.decoded(data, 2)
                assert there.image.sight == here.sight
                assert np.array_equal(there.image.pixels, here.pixels)
                assert np.array_equal(there.image.others, here.others)
                assert there.thumbnails == thumbnails(data, options, CONFIG, large=True)


# Pictures of it


def light(jpeg: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(jpeg)) as image:
        return np.asarray(image.convert("L"), np.float64)


@pytest.mark.parametrize("size", [(1200, 400), (400, 1200), (2000, 100)])
@pytest.mark.parametrize("large", [False, True])
def test_a_thumbnail_shows_in_the_dark_what_is_not_seen(size, large):
    data = encoded(Image.new("RGB", size, "white"), "PNG")
    pictures = thumbnails(data, ImageOptions(), CONFIG, large=large)
    for jpeg in filter(None, pictures):
        values = light(jpeg)
        along = values.mean(axis=int(size[0] < size[1]))
        middle, share = len(along) // 2, min(size) / max(size)
        half = int(share * len(along) / 2)
        margin = 10  # a JPEG blurs an edge
        assert along[middle] > 200
        assert (along[: middle - half - margin] < 128).all()
        assert (along[middle + half + margin :] < 128).all()
        if half > margin:
            assert (along[middle - half + margin : middle + half - margin] > 245).all()
    assert bool(pictures.large) == large


@pytest.mark.parametrize(
    ("size", "fit"),
    [((300, 300), None), *(((900, 300), fit) for fit in ("pad", "squash", "tiles"))],
)
def test_a_picture_that_is_seen_whole_is_light(size, fit):
    data = encoded(Image.new("RGB", size, "white"), "PNG")
    options = ImageOptions(fit=fit)
    for config in (CONFIG, None):
        assert light(thumbnails(data, options, config).small).min() > 245
    cropped = ImageOptions()
    assert thumbnails(data, cropped) == thumbnails(data, cropped, CONFIG.fitted("pad"))


def test_at_least_a_pixel_of_a_picture_is_light():
    picture = Image.new("L", (SIDE, 1), 255)
    lit = View(0.5, 0.0, 0.5001, 1.0).lit(picture)
    assert (np.asarray(lit) == 255).sum() == 1


def test_open_images_keep_their_own_shape():
    """What is fitted is a copy: the caller's picture is as it was."""
    image = noise((300, 100))
    before = image.tobytes()
    prepare(image, CONFIG, ImageOptions(fit="tiles"))
    assert (image.size, image.tobytes()) == ((300, 100), before)
    assert open_image(encoded(image, "PNG"), ImageOptions(fit="tiles"), CONFIG).size == (300, 100)
    assert json.loads(json.dumps(Sight(seen=0.15).seen)) == 0.15
