"""What a model wants of pixels; that they are open_clip's own, test_images says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipcli.errors import ModelError
from clipcli.images.preprocessing import PreprocessConfig, resized_size

SIDES = st.integers(1, 3000)


def test_settings_that_open_clip_leaves_empty_or_gives_as_one_number_are_understood():
    fields = {"mean": 0.5, "std": [0.5, 0.25, 0.5], "interpolation": None, "resize_mode": None}
    config = PreprocessConfig.from_open_clip(fields, [32, 48])
    assert config == PreprocessConfig((32, 48), (0.5, 0.5, 0.5), (0.5, 0.25, 0.5))


@pytest.mark.parametrize("fields", [{"interpolation": "sinc"}, {"resize_mode": "widest"}], ids=str)
def test_settings_that_are_unknown_are_the_models_fault_not_the_images(fields):
    with pytest.raises(ModelError, match=next(iter(fields.values()))):
        PreprocessConfig.from_open_clip(fields, 224)


@settings(deadline=None, max_examples=300)
@given(
    st.tuples(SIDES, SIDES),
    st.tuples(st.integers(1, 400), st.integers(1, 400)) | st.integers(1, 400),
    st.sampled_from(["shortest", "longest", "squash"]),
)
def test_what_has_been_resized_is_not_resized_again(image_size, size, resize_mode):
    config = PreprocessConfig.from_open_clip({"resize_mode": resize_mode}, size)
    once = resized_size(image_size, config)
    assert resized_size(once, config) == once
