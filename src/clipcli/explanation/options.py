"""How an answer is explained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from clipcli.errors import UsageError
from clipcli.images.options import ImageOptions

Method = Literal["occlusion", "gradient"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class ExplainOptions:
    """How an answer is explained.

    Attributes:
        method: `occlusion`, for every engine, or `gradient`, for torch.
        grid: places a side that are covered.
        top_k: labels that get a map, the best first.
        batch_size: images in one run of the engine.
        images: what is accepted as an image, and how it is prepared.
        each_scale: each map is drawn up to its own maximum, not to that of all.

    Raises:
        UsageError: the image is to be cut into tiles, which share no map.
    """

    method: Method = "occlusion"
    grid: int = 10
    top_k: int = 5
    batch_size: int = 32
    images: ImageOptions = field(default_factory=ImageOptions)
    each_scale: bool = False

    def __post_init__(self) -> None:
        if self.images.fit == "tiles":
            raise UsageError(
                "--fit tiles gives no map: a map is of one look at the picture, and tiles are"
                " several; --fit pad or --fit squash shows the model all of it at once"
            )
