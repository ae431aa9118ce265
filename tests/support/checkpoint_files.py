"""Checkpoints of all kinds, one that runs code among them."""

import os

import pytest
import torch

from clipcli.engines.base import EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.models.names import resolve_model


class OpenAis(torch.nn.Module):
    """A model whose state dict is as in OpenAI's archives: sizes beside the weights."""

    def __init__(self, model):
        super().__init__()
        for name, value in (
            ("input_resolution", 32),
            ("context_length", 16),
            ("vocab_size", 49408),
        ):
            self.register_buffer(name, torch.tensor(value))
        for name, part in model.named_children():
            self.add_module(name, part)
        for name, parameter in model.named_parameters(recurse=False):
            self.register_parameter(name, parameter)

    def forward(self, image):
        return self.visual(image)


def save_torchscript(model, file):
    image = torch.zeros(1, 3, 32, 32, dtype=model.visual.proj.dtype)
    with pytest.warns(FutureWarning, match="deprecated"):
        torch.jit.trace(OpenAis(model), image, check_trace=False).save(file)


def load(request):
    return load_engine(resolve_model(request), EngineOptions("cpu", engine="torch"), offline=True)


class Evil:
    """Runs a command as soon as a usual unpickler meets it."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def save_scripted(model, file):
    """As open_clip's own `--torchscript` and its users write a model."""
    with pytest.warns(FutureWarning, match="deprecated"):
        torch.jit.script(model).save(file)
