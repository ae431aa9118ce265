"""Which part of a picture a model is shown, and how much of it that is."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from clipcli.images.preprocessing import PreprocessConfig, resized_size

UNSEEN_LIGHT = 0.35
"""How light a part that the model is not shown is drawn, of 1."""

# Of a share that people read as percents.
_DIGITS = 4


@dataclass(frozen=True)
class Sight:
    """How much of a picture there was, and how much of that a model was shown.

    Attributes:
        truncated: whether pixels are missing, since the file is cut short.
        seen: the share of the picture's area that the model was shown, in 0..1.
    """

    truncated: bool = False
    seen: float = 1.0

    @property
    def is_narrow(self) -> bool:
        """Whether less than half of the picture was looked at."""
        return self.seen < 0.5

    @property
    def is_worth_telling(self) -> bool:
        """Whether a result should come with it."""
        return self.truncated or self.is_narrow


@dataclass(frozen=True)
class View:
    """The part of a picture that the model's square shows.

    In shares of the picture's width and height, from its top left corner: the whole is 0, 0, 1, 1.
    Where the model gets a border beside the picture, the view reaches beyond them.
    """

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def of(cls, size: tuple[int, int], config: PreprocessConfig) -> View:
        """What is left of a picture after the resize and the crop of `preprocessing.fit`.

        Args:
            size: width and height of the picture, upright.
            config: of the model, fitted as the picture is.
        """
        if config.resize_mode == "tiles":
            return cls(0.0, 0.0, 1.0, 1.0)
        width, height = resized_size(size, config)
        left, right = _cut(width, config.size[1])
        top, bottom = _cut(height, config.size[0])
        return cls(left, top, right, bottom)

    @property
    def share(self) -> float:
        """The part of the picture's area that it shows, in 0..1."""
        within = View(*(min(max(side, 0.0), 1.0) for side in self._sides))
        return round((within.right - within.left) * (within.bottom - within.top), _DIGITS)

    @property
    def _sides(self) -> tuple[float, float, float, float]:
        return self.left, self.top, self.right, self.bottom

    def lit(self, picture: Image.Image) -> Image.Image:
        """A picture with what is not shown of it in the dark.

        Args:
            picture: the whole one, RGB or L, in whatever resolution.
        """
        width, height = picture.size
        left, right = max(0, round(self.left * width)), min(width, round(self.right * width))
        top, bottom = max(0, round(self.top * height)), min(height, round(self.bottom * height))
        # Of an elongated picture's thumbnail it may be less than a pixel.
        box = left, top, max(left + 1, right), max(top + 1, bottom)
        if box == (0, 0, width, height):
            return picture
        dark = picture.point(lambda value: value * UNSEEN_LIGHT)
        dark.paste(picture.crop(box), box)
        return dark


def _cut(length: int, target: int) -> tuple[float, float]:
    """The centre of so many pixels of a side, rounded as `fit` does, in shares of the side."""
    missing = max(0, target - length)
    start = round((length + missing - target) / 2.0) - missing // 2
    return start / length, (start + target) / length
