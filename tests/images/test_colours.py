"""Colours of other spaces than sRGB: converted, and by the right numbers."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from command import ROOT
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image, ImageCms
from profiles import (
    SPACES,
    cmyk_profile,
    encoded_srgb,
    grey_profile,
    in_srgb,
    ink_corners,
    lab_in_srgb,
    light_of,
    rgb_profile,
)

from clipcli import Classifier, PipelineOptions
from clipcli.engines.base import EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.explanation.explain import explain
from clipcli.explanation.options import ExplainOptions
from clipcli.heads.labels import LabelSet
from clipcli.heads.zero_shot import build_head
from clipcli.images.colours import CICP, colours_of
from clipcli.images.colours import in_srgb as converted
from clipcli.images.decoding import as_seen, decode, open_image, plain, preprocess
from clipcli.images.isolation import DecoderPool
from clipcli.images.options import ImageOptions
from clipcli.images.preprocessing import PreprocessConfig
from clipcli.images.sources import ImageRef
from clipcli.images.thumbnails import thumbnail, thumbnails
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest

DEFAULT, REFERENCE = ImageOptions(), ImageOptions(reference=True)
EVERYTHING = ImageOptions(extra_formats=["tiff", "avif", "jpeg2000"])
# Whose pixels are the image's own numbers, 0..255.
RAW = PreprocessConfig.from_open_clip({"mean": 1e-9, "std": 1 / 255}, 32)
OTHERS = [name for name in SPACES if name != "sRGB"]
PHOTO = ROOT / "examples" / "photos" / "chelsea.png"


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def patches(mode: str = "RGB") -> Image.Image:
    """32 x 32 random colours, which no resize mixes."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    return Image.frombytes(mode, (32, 32), np.random.default_rng(5).bytes(32 * 32 * bands))


def numbers(image: Image.Image, options: ImageOptions = DEFAULT) -> np.ndarray:
    """What the model sees, as 8-bit numbers, shape (32, 32, 3)."""
    return preprocess(image, RAW, options).transpose(1, 2, 0)


def with_info(image: Image.Image, **info: Any) -> Image.Image:
    image.info.update(info)
    return image


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG", "AVIF"])
def test_a_profiles_colours_become_srgbs(name, kind):
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    data = encoded(patches(), kind, icc_profile=rgb_profile(name), **lossless.get(kind, {}))
    image = open_image(data, EVERYTHING)
    stored = np.asarray(image.convert("RGB"))
    assert np.abs(numbers(image) - in_srgb(stored, name)).max() < 1.6
    assert np.abs(numbers(image) - stored).max() > 20
    assert np.array_equal(numbers(image, REFERENCE).round(), stored)


@pytest.mark.parametrize("name", OTHERS)
def test_a_profile_moves_colours_and_keeps_white_black_and_greys_order(name):
    greys = np.repeat(np.arange(0, 256, 8, np.uint8)[:, None, None], 3, 2).repeat(32, 1)
    found = numbers(with_info(Image.fromarray(greys), icc_profile=rgb_profile(name)))
    assert np.abs(found[0] - 0).max() < 1e-3
    assert np.abs(np.diff(found, axis=-1)).max() < 2.5  # still grey
    assert (np.diff(found[:, 0, 0]) > 0).all()


SRGB = {
    "by lcms": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    "by hand": rgb_profile("sRGB"),
    "of other bytes": rgb_profile("sRGB").replace("hand".encode("utf-16-be"), b"\0f\0o\0o\0t"),
}


@pytest.mark.parametrize("data", SRGB.values(), ids=list(SRGB))
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_a_profile_that_is_srgb_changes_no_bit(data, mode):
    image = patches().convert(mode)
    bare = numbers(image)
    assert np.array_equal(numbers(with_info(image, icc_profile=data)), bare)


P3 = rgb_profile("Display P3")
BROKEN = {
    "nothing": b"",
    "a few bytes": b"abc",
    "noise": np.random.default_rng(1).bytes(3000),
    "a header alone": P3[:128],
    "cut": P3[: len(P3) // 2],
    "tags out of reach": P3[:132] + b"\xff" * 60 + P3[192:],
    "no such space": P3[:16] + b"8CLR" + P3[20:],
    "another PCS": P3[:20] + b"RGB " + P3[24:],
    "no magic": P3.replace(b"acsp", b"xxxx"),
    "a type that is none": P3.replace(b"para", b"nope"),
    "curves of nothing": P3.replace(b"para\0\0\0\0\0\3", b"para\0\0\0\0\0\x99"),
    "no red": P3.replace(b"rXYZ", b"qXYZ", 1),
    "CMYK's": cmyk_profile(),
    "of Lab": P3[:16] + b"Lab " + P3[20:],
    "too large": P3 + bytes(20 << 20),
    "no bytes": "text",
    "none": None,
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=list(BROKEN))
def test_a_profile_that_says_nothing_costs_nothing(data):
    image = patches()
    bare = numbers(image)
    assert np.array_equal(numbers(with_info(image, icc_profile=data)), bare)


@pytest.mark.parametrize("seed", range(40))
def test_a_profile_with_other_bytes_never_fails_a_picture(seed):
    rng = np.random.default_rng(seed)
    data = bytearray(P3)
    for place in rng.integers(0, len(data), 4):
        data[place] = rng.integers(256)
    assert numbers(with_info(patches(), icc_profile=bytes(data))).shape == (32, 32, 3)


@pytest.mark.parametrize("mode", ["L", "LA", "1", "I;16"])
@pytest.mark.parametrize("gamma", [1.0, 1.8, 3.0])
def test_grey_pictures_have_profiles_of_grey(gamma, mode):
    image = patches("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    image = with_info(image.convert(mode), icc_profile=grey_profile(gamma))
    stored = np.asarray(plain(image).convert("RGB"))
    expected = encoded_srgb(light_of(stored / 255, gamma))
    assert np.abs(numbers(image) - expected).max() < 1.6


def test_a_grey_profile_says_nothing_of_colours():
    image = with_info(patches(), icc_profile=grey_profile(1.0))
    assert np.array_equal(numbers(image).round(), np.asarray(image))


def test_a_grey_picture_follows_a_colour_profile():
    image = with_info(patches("L"), icc_profile=rgb_profile("ProPhoto"))
    stored = np.asarray(image.convert("RGB"))
    assert np.abs(numbers(image) - in_srgb(stored, "ProPhoto")).max() < 1.6


def test_inks_become_the_colours_of_their_profile():
    data = encoded(patches("CMYK"), "TIFF", icc_profile=cmyk_profile())
    image = open_image(data, EVERYTHING)
    found, naive = numbers(image), np.asarray(image.convert("RGB"))
    assert np.abs(found - naive).mean() > 10
    assert np.array_equal(numbers(image, REFERENCE).round(), naive)


@pytest.mark.parametrize(("inks", "lab"), ink_corners().items(), ids=str)
def test_each_ink_has_its_profiles_colour(inks, lab):
    full = Image.new("CMYK", (32, 32), tuple(255 * ink for ink in inks))
    found = numbers(with_info(full, icc_profile=cmyk_profile()))
    assert np.abs(found[0, 0] - lab_in_srgb(lab)).max() < 4


def test_inks_follow_no_profile_of_colours():
    image = with_info(patches("CMYK"), icc_profile=P3)
    assert np.array_equal(numbers(image).round(), np.asarray(image.convert("RGB")))


# What PNG, AVIF and HEIC say without a profile


@pytest.mark.parametrize(("cicp", "name"), [((12, 13), "Display P3"), ((1, 13), "sRGB")])
def test_primaries_and_curves_have_numbers(cicp, name):
    image = with_info(patches(), **{CICP: cicp, "icc_profile": rgb_profile("ProPhoto")})
    assert np.abs(numbers(image) - in_srgb(np.asarray(image), name)).max() < 0.6


@pytest.mark.parametrize("cicp", [(2, 2), (9, 16), (9, 18), (99, 13), (1, 99), "x", (1,), None])
def test_numbers_that_are_unknown_leave_the_profile_its_say(cicp):
    image = with_info(patches(), **{CICP: cicp, "icc_profile": P3})
    assert np.abs(numbers(image) - in_srgb(np.asarray(image), "Display P3")).max() < 1.6


@pytest.mark.parametrize("gamma", [1.0, 1 / 1.8, 0.3])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_gamma_far_from_srgbs_is_heeded(gamma, mode):
    image = with_info(patches(mode), gamma=gamma)
    stored = np.asarray(image.convert("RGB"))
    expected = encoded_srgb(light_of(stored / 255, 1 / gamma))
    assert np.abs(numbers(image) - expected).max() < 0.6


def chromaticity(name: str) -> tuple[float, ...]:
    primaries, white, _ = SPACES[name]
    return (*white, *(value for pair in primaries for value in pair))


@pytest.mark.parametrize("name", ["Display P3", "ProPhoto"])
def test_primaries_are_heeded(name):
    _, _, gamma = SPACES[name]
    info = {} if gamma is None else {"gamma": 1 / gamma}
    image = with_info(patches(), chromaticity=chromaticity(name), **info)
    assert np.abs(numbers(image) - in_srgb(np.asarray(image), name)).max() < 1.1


@pytest.mark.parametrize(
    "info",
    [
        {"gamma": 0.45455},
        {"gamma": 0.45455, "chromaticity": chromaticity("sRGB")},
        {"gamma": 1.0, "srgb": 0},
        {"gamma": 0.0},
        {"gamma": 1e9},
        {"gamma": float("nan")},
        {"gamma": "x"},
        {"chromaticity": (0.0,) * 8},
        {"chromaticity": (0.3127, 0.329) * 4},
        {"chromaticity": (1,)},
        {"chromaticity": (float("nan"),) * 8},
    ],
    ids=str,
)
def test_what_says_srgb_or_makes_no_sense_changes_no_bit(info):
    image = patches()
    bare = numbers(image)
    assert np.array_equal(numbers(with_info(image, **info)), bare)


# Everywhere alike


def photo(size: tuple[int, int], **options: Any) -> bytes:
    image = Image.open(PHOTO).convert("RGB").resize(size)
    return encoded(image, "JPEG", quality=95, subsampling=0, **options)


def test_the_photo_is_resized_before_its_colours_are_converted():
    data = photo((600, 400), icc_profile=rgb_profile("ProPhoto"))
    image = open_image(data, DEFAULT)
    config = replace(RAW, size=(224, 224))
    resized = preprocess(image, config, REFERENCE).transpose(1, 2, 0)
    found = preprocess(image, config, DEFAULT).transpose(1, 2, 0)
    assert np.abs(found - in_srgb(resized.round(), "ProPhoto")).max() < 1.6


def test_the_border_beside_a_photo_keeps_its_colour():
    fields = {"mean": 1e-9, "std": 1 / 255, "resize_mode": "longest", "fill_color": 99}
    config = PreprocessConfig.from_open_clip(fields, 32)
    for colour in ((64, 32), (32, 64)):
        image = with_info(Image.new("RGB", colour, (200, 30, 30)), icc_profile=P3)
        assert preprocess(image, config, DEFAULT)[:, 0, 0].round().tolist() == [99] * 3


@pytest.mark.parametrize("orientation", [1, 6])
def test_decoding_fast_and_in_another_process_is_the_same(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    profile = rgb_profile("ProPhoto")
    data = photo((1600, 1200), icc_profile=profile, exif=tags.tobytes())
    config = replace(RAW, size=(112, 112))
    usual, fast = (decode(data, config, ImageOptions(fast_decode=on)) for on in (False, True))
    bare = decode(photo((1600, 1200), exif=tags.tobytes()), config, DEFAULT)
    assert np.abs(usual - fast).mean() < 1
    assert np.abs(usual - bare).mean() > 5
    with DecoderPool(config, DEFAULT, 120, workers=1) as pool:
        found = pool.decoded(data, thumbnails=1)
    assert np.array_equal(found.image.pixels, usual)
    assert found.thumbnails == thumbnails(data, DEFAULT, config)


def test_thumbnails_are_in_srgb():
    red = Image.new("RGB", (40, 30), (200, 60, 40))
    small = thumbnail(encoded(red, "PNG", icc_profile=rgb_profile("ProPhoto")), DEFAULT)
    assert small is not None
    image = Image.open(io.BytesIO(small))
    assert "icc_profile" not in image.info
    expected = in_srgb(np.array((200, 60, 40)), "ProPhoto")
    assert np.abs(np.subtract(image.getpixel((9, 9)), expected)).max() < 6


def test_explanations_show_and_judge_the_converted_picture():
    engine = load_engine(resolve_model(ModelRequest("tiny")), EngineOptions(engine="onnx"))
    head = build_head(engine, LabelSet(("a cat", "a dog")))
    image = open_image(photo((96, 64), icc_profile=rgb_profile("ProPhoto")), DEFAULT)
    found = explain(ImageRef(0, "x", b""), image, engine, head, ExplainOptions(grid=2))
    expected = in_srgb(np.asarray(image), "ProPhoto")
    assert np.abs(np.asarray(found.picture) - expected).max() < 1.6
    shown = explain(
        ImageRef(0, "x", b""), image, engine, head, ExplainOptions(grid=2, images=REFERENCE)
    )
    assert np.array_equal(np.asarray(shown.picture), np.asarray(image))


def test_an_opened_image_and_its_file_have_the_same_scores():
    data = photo((300, 200), icc_profile=rgb_profile("Adobe RGB"))
    classifier = Classifier("tiny")
    file, opened = classifier.classify([data, Image.open(io.BytesIO(data))], ["a cat", "a dog"])
    plain_colours = PipelineOptions(images=REFERENCE)
    (reference,) = classifier.classify(data, ["a cat", "a dog"], options=plain_colours)
    assert file.scores == opened.scores
    assert file.scores != reference.scores


@pytest.mark.parametrize("name", OTHERS)
def test_the_reference_is_the_reference(name):
    config = PreprocessCfg()
    image = with_info(patches().resize((300, 250)), icc_profile=rgb_profile(name))
    ours = PreprocessConfig.from_open_clip(asdict(config), config.size)
    theirs = image_transform_v2(config, is_train=False)(image).numpy()
    assert np.array_equal(preprocess(image, ours, REFERENCE), theirs)


def test_a_callers_image_is_not_changed():
    for mode in ("RGB", "L", "CMYK", "P"):
        image = with_info(patches(mode), icc_profile=P3, gamma=1.0)
        before = image.mode, image.tobytes(), dict(image.info)
        preprocess(image, RAW, DEFAULT)
        as_seen(image)
        assert (image.mode, image.tobytes(), dict(image.info)) == before


def test_images_without_a_profile_import_nothing_for_it():
    code = (
        "import sys; from PIL import Image; from clipcli.images.decoding import as_seen;"
        "as_seen(Image.new('RGB', (9, 9))); assert 'PIL.ImageCms' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_modes_beyond_a_profiles_are_left_alone():
    for mode in ("F", "LAB", "HSV", "YCbCr"):
        image = with_info(Image.new(mode, (9, 9)), icc_profile=P3)
        assert converted(image, colours_of(image)) is image
