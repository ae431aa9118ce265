"""What LoRA may be asked for."""

import subprocess
import sys
from math import inf, nan, sqrt

import pytest
from command import PATIENCE

from clipcli.adaptation.lora_options import STEPS_WITHOUT_CUDA, LoraOptions
from clipcli.errors import UsageError


@pytest.mark.parametrize(
    ("field", "values"),
    {
        "rank": [0, -1, 1025, 2.0, True, "2"],
        "alpha": [0, -1, nan, inf, "1", True],
        "targets": [(), ("q", "q"), ("w",), ("q", "mlp")],
        "layers": ["", "all", None],
        "last": [0, -2, 1.5],
        "steps": [0, -1, 10.0],
        "dropout": [-0.1, 1, 1.5, nan],
        "learning_rate": [0, -1e-4, inf, nan],
        "final_learning_rate": [-1e-6, 1, nan],
        "weight_decay": [-0.01, nan, inf],
        "batch_size": [0, -3, None],
        "seed": [-1, 0.5],
    }.items(),
)
def test_what_is_out_of_bounds_is_named_with_its_option(field, values):
    option = field.replace("_", "-")
    for value in values:
        with pytest.raises(UsageError, match=rf"--{option} .*: (it must be|name some|use one)"):
            LoraOptions(**{field: value})


def test_bounds_themselves_are_within():
    LoraOptions(rank=1, last=1, steps=1, dropout=0, batch_size=1, weight_decay=0)
    LoraOptions(rank=1024, targets=("out",), final_learning_rate=2e-4, dropout=0.99)


@pytest.mark.parametrize(("rank", "alpha"), [(1, 1.0), (2, 1.0), (16, 2.0)])
def test_changes_are_scaled_by_the_root_of_the_rank(rank, alpha):
    assert LoraOptions(rank=rank, alpha=alpha).scale == alpha / sqrt(rank)


@pytest.mark.parametrize(
    ("pictures", "classes", "cuda", "steps"),
    [
        (16, 4, True, 2000),
        (4, 4, True, 500),
        (3, 4, True, 500),
        (10, 4, True, 1000),
        (0, 0, True, 500),
        (16, 4, False, STEPS_WITHOUT_CUDA),
    ],
)
def test_steps_are_the_papers_on_a_gpu_and_few_without(pictures, classes, cuda, steps):
    assert LoraOptions().steps_for(pictures, classes, cuda=cuda) == steps
    assert LoraOptions(steps=7).steps_for(pictures, classes, cuda=cuda) == 7


def test_they_are_checked_before_any_library_is_imported():
    program = (
        "import sys; import clipcli.adaptation.lora_options;"
        "print({'numpy', 'torch', 'PIL', 'click'} & sys.modules.keys())"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert result.stdout == "set()\n"
