"""A model's configuration -> open_clip's towers, their weights not yet loaded."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch.overrides import TorchFunctionMode

from clipcli.engines.torch.devices import is_device_fault
from clipcli.engines.torch.switches import silence
from clipcli.engines.torch.timm_sizes import with_named_sizes
from clipcli.errors import ModelError, one_line
from clipcli.models.configurations import CONFIG_FILE
from clipcli.models.specs import ModelSpec
from clipcli.models.weights import built_config


class _NoRandomWeights(TorchFunctionMode):
    """A mode that leaves new parameters as the memory was: a checkpoint replaces every one of them.

    Drawing the 151 million random numbers of ViT-B/32 takes a second.
    """

    _DRAWS = frozenset(
        {
            torch.Tensor.normal_,
            torch.Tensor.uniform_,
            torch.nn.init.normal_,
            torch.nn.init.uniform_,
            torch.nn.init.kaiming_uniform_,
        }
    )

    def __torch_function__(
        self,
        func: Callable[..., Any],
        _types: Any,  # noqa: ANN401
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        if func in self._DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def build(spec: ModelSpec) -> Any:  # noqa: ANN401
    """The architecture without its weights. open_clip's models have no type of their own.

    Raises:
        ModelError: open_clip cannot build it.
    """
    with (
        tempfile.TemporaryDirectory(prefix="clipcli-") as folder,
        silence(),
        # Not where the host program wants its new tensors, nor out of its random numbers.
        torch.device("cpu"),
        torch.random.fork_rng(devices=[]),
        _NoRandomWeights(),
    ):
        # `load` saw to the downloads.
        config = json.dumps({"model_cfg": with_named_sizes(built_config(spec, offline=True))})
        Path(folder, CONFIG_FILE).write_text(config, encoding="utf-8")
        try:
            model = open_clip.create_model(
                f"local-dir:{folder}",
                load_weights=False,
                pretrained_text=False,
            )
        except Exception as error:
            if is_device_fault(error):
                raise
            raise ModelError(f"open_clip cannot build {spec.name}: {one_line(error)}") from error
    # open_clip gives models in training mode, in which dropout would make each answer another.
    return model.eval().requires_grad_(False)
