"""Cosines of pictures and texts that have nothing to do with each other, model by model.

A model's cosines mean little by themselves: one model gives 0.3 to what fits, another to what does
not. What its check photos have with a hundred strange words tells which.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from clipcli.assets import preset
from clipcli.engines.parity import check_images
from clipcli.engines.prompts import encode_prompts

if TYPE_CHECKING:
    from clipcli.engines.base import Engine

_LEVELS = (0.5, 0.9, 0.95, 0.97, 0.98, 0.985, 0.99, 0.999)

# Of a picture's best label: below this quantile of strangers' cosines nothing is said to fit well.
# On 114 photos of as many things, with the bundled model, it lets 99 % of the right labels pass,
# and of pictures none of whose labels fits 6 % with 2 labels, 8 % with 3, 12 % with 5, 24 % with
# 10. At 0.98 it would be 3, 5, 7 and 14 %, but a cat's face would not pass as a cat.
_DOUBT_LEVEL = 0.97

# Every fifth of ImageNet's thousand: some may be in a photo, and move the quantiles by little.
_WORDS_STEP = 5


def unrelated_cosines(engine: Engine) -> dict[str, float]:
    """Quantiles of the cosines of the check photos and strange words, for a manifest.

    Returns:
        Level, as `"0.98"` -> cosine.
    """
    images = engine.encode_images(check_images(engine.info.preprocess))
    words = encode_prompts(engine, preset("labels", "imagenet")[::_WORDS_STEP])
    cosines = np.quantile(images.astype(np.float64) @ words.T.astype(np.float64), _LEVELS)
    return {
        str(level): round(float(cosine), 6) for level, cosine in zip(_LEVELS, cosines, strict=True)
    }


def doubt_below(quantiles: Mapping[str, float]) -> float | None:
    """The cosine below which a best label fits no better than a strange word may; None: unknown."""
    return quantiles.get(str(_DOUBT_LEVEL))
