"""Every family of architectures in every precision of torch, beside open_clip's own in fp32."""

import numpy as np
import pytest
import torch
from small_models import CLIP, TEXT, VISION, write_model

from benchmarks.families import FAMILIES, can_build, images_of, write_family
from benchmarks.sweep import (
    LEAST_COSINE,
    MOST_DIFFERENCE,
    embedded_by,
    half_on_a_processor,
    reference_of,
    torch_engine,
)
from clipcli.engines.base import EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.errors import ModelError
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.name)
def built(request, tmp_path_factory):
    """A family, the folder of its random model, open_clip's own model and what that answers."""
    family = request.param
    if not can_build(family):
        pytest.skip("transformers is not installed")
    folder = tmp_path_factory.mktemp("family") / "model"
    with torch.random.fork_rng():
        model = write_family(family, folder)
    return family, folder, model, reference_of(model, family)


@pytest.mark.filterwarnings("ignore")  # transformers' own
class TestNumbers:
    @pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
    def test_they_are_open_clips(self, built, precision):
        family, folder, model, expected = built
        with half_on_a_processor():
            found = embedded_by(torch_engine(folder, precision), model, family)
        if precision == "fp32":
            assert found.difference(expected) <= MOST_DIFFERENCE
        assert found.least_cosine(expected) >= LEAST_COSINE

    def test_the_weights_are_such_that_other_inputs_have_other_embeddings(self, built):
        _, _, _, expected = built
        for rows in (expected.images, expected.texts):
            cosines = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
            # A thousand times what fp32 may be off: mixed-up rows do not pass.
            assert cosines.max() < 0.9995


@pytest.mark.parametrize("name", ["ViT", "layer scale", "timm ConvNeXt", "ModifiedResNet"])
def test_maps_of_gradients_are_the_same_in_half_precision(tmp_path, name):
    (family,) = (family for family in FAMILIES if family.name == name)
    model = write_family(family, tmp_path / "model")
    pixels, directions = images_of(model)[0], reference_of(model, family).texts[:2]
    maps = [
        torch_engine(tmp_path / "model", precision).gradient_maps(pixels, directions)
        for precision in ("fp32", "bf16")
    ]
    similarity = np.corrcoef(*(each.ravel() for each in maps))[0, 1]
    assert similarity > 0.95


class TestRefused:
    """What open_clip builds, and then either cannot run or has no one embedding for."""

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"vision_cfg": {**VISION, "pool_type": "none"}}, "gives 5 x 16 numbers|pool_type"),
            ({"text_cfg": {**TEXT, "pool_type": "none"}}, "gives 16 x 16 numbers|pool_type"),
            ({"text_cfg": {**TEXT, "proj_type": "none"}}, "gives 32 numbers .* embed_dim is 16"),
            (
                {"vision_cfg": {**VISION, "attentional_pool": "parallel", "attn_pooler_heads": 2}},
                "cannot run: Given normalized_shape",
            ),
            ({"vision_cfg": {**VISION, "scaled_cosine_attn": True}}, "cannot run: batch1 must be"),
        ],
    )
    def test_it_is_a_fault_of_the_model_and_named(self, tmp_path, change, message):
        write_model(tmp_path / "model", {**CLIP, **change})
        pixels = np.zeros((2, 3, 32, 32), np.float32)
        with pytest.raises(ModelError, match=message):  # noqa: PT012  at whichever step it is found
            spec = resolve_model(ModelRequest(str(tmp_path / "model")))
            engine = load_engine(spec, EngineOptions("cpu", engine="torch"))
            engine.encode_images(pixels)
            engine.encode_tokens(engine.tokenize(["a cat", "a dog"]).ids)
