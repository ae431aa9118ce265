"""From eight-bit images to the image tower's input."""

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import Tensor
from torch.nn.functional import interpolate

_MEAN = torch.tensor(OPENAI_DATASET_MEAN).view(1, 3, 1, 1)
_STD = torch.tensor(OPENAI_DATASET_STD).view(1, 3, 1, 1)


def network_input(images: NDArray[np.uint8], side: int) -> Tensor:
    """Resize square images and normalise them with the mean and deviation of OpenAI's models.

    Args:
        images: Shape (n, any, any, 3), uint8, RGB, square.
        side: The side wanted, in pixels.

    Returns:
        Shape (n, 3, side, side), float32, in channels-last order, the faster one on a CPU.
    """
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255)
    if pixels.shape[-1] != side:
        pixels = interpolate(
            pixels, size=(side, side), mode="bilinear", antialias=True, align_corners=False
        )
    return ((pixels - _MEAN) / _STD).contiguous(memory_format=torch.channels_last)
