"""What is accepted as an image, and how it is prepared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from clipcli.errors import UsageError
from clipcli.images.formats import EXTRA_FORMATS

# The largest camera sensors have 200 million pixels; decoded as RGB that is 600 MB.
DEFAULT_MAX_PIXELS = 200_000_000
DEFAULT_MAX_BYTES = 256 * 1024 * 1024
# What a limit may be raised to: beyond it are slips of the pen, and numbers that no system takes.
MOST_PIXELS = 1 << 32
MOST_BYTES = 1 << 40


PREPROCESSINGS = ("plain", "reference")
"""How images may be prepared: as a viewer shows them, or exactly as open_clip does it."""

Fit = Literal["crop", "pad", "squash", "tiles"]
FITS: tuple[Fit, ...] = get_args(Fit)
"""How a picture may be brought into a model's shape, which is a square as a rule."""


@dataclass(frozen=True)
class ImageOptions:
    """What is accepted as an image, and how it is prepared.

    Attributes:
        max_bytes: of one encoded image.
        max_pixels: of the decoded image, and of the resized one.
        extra_formats: formats beyond the usual ones: `tiff`, `avif`, `jpeg2000`.
        reference: do exactly what open_clip's transform does to an opened image, instead of
            turning it upright, laying it on white and scaling 16-bit values.
        fast_decode: decode large JPEG photos at a half, a quarter or an eighth of their size;
            their pixels change a little.
        allow_truncated: take what is there of a picture whose file is cut short; the rest is grey.
        fit: how a picture is brought into the model's shape: `crop` takes its middle, `pad` puts a
            border beside it, `squash` gives up its proportions, and `tiles` cuts it into
            overlapping squares, whose embeddings are averaged. None: as the model was trained.

    Raises:
        UsageError: no such extra format or fit, a limit that is out of range, or `fast_decode` or
            `fit` together with `reference`.
    """

    max_bytes: int = DEFAULT_MAX_BYTES
    max_pixels: int = DEFAULT_MAX_PIXELS
    extra_formats: Sequence[str] = ()
    reference: bool = False
    fast_decode: bool = False
    allow_truncated: bool = False
    fit: Fit | None = None

    @property
    def preprocessing(self) -> str:
        """Which of `PREPROCESSINGS` it is."""
        return PREPROCESSINGS[self.reference]

    def __post_init__(self) -> None:
        for what, limit, most in (
            ("bytes", self.max_bytes, MOST_BYTES),
            ("pixels", self.max_pixels, MOST_PIXELS),
        ):
            if not 1 <= limit <= most:
                raise UsageError(f"an image's {what} are limited to 1 to {most:,}, not {limit:,}")
        # A format alone is a text, not its letters.
        if isinstance(self.extra_formats, str):
            object.__setattr__(self, "extra_formats", (self.extra_formats,))
        for name in self.extra_formats:
            if name not in EXTRA_FORMATS:
                known = ", ".join(EXTRA_FORMATS)
                raise UsageError(f"{name!r} is no format that can be allowed: use {known}")
        # Each would be half kept: nobody could say what the numbers are to be compared with.
        if self.fast_decode and self.reference:
            message = "fast decoding changes pixels, which the reference's preprocessing rules out"
            raise UsageError(f"{message}: leave out one of the two")
        self._check_fit()

    def _check_fit(self) -> None:
        if self.fit is None:
            return
        if self.fit not in FITS:
            known = ", ".join(FITS)
            raise UsageError(f"{self.fit!r} is no way to fit a picture: use one of {known}")
        if self.reference:
            message = f"--fit {self.fit} goes without the reference's preprocessing"
            raise UsageError(
                f"{message}, which fits pictures as the model was trained: leave out one of the two"
            )
