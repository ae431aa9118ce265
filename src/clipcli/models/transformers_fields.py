"""Fields of the transformers library's configurations, read with its own defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from clipcli.models.fields import check, number, shown

# Any name says that it is not CLIP's: the files are the model's own.
OWN_TOKENIZER = {"hf_tokenizer_name": "tokenizer.json"}

_USUAL_EPSILON = 1e-5  # of torch's own LayerNorm, and so of open_clip's
_EPSILON = number(1e-12, 1)

# The largest values of what open_clip counts, too; see `model_fields` for why there are bounds.
_MOST = {"num_hidden_layers": 512, "num_attention_heads": 1 << 10, "image_size": 1 << 13}
_MOST_OTHERWISE = 1 << 18


def check_channels(vision: Mapping[str, Any]) -> None:
    """Refuse images of anything but red, green and blue.

    Raises:
        ValueError: they have other channels.
    """
    if vision["num_channels"] != 3:
        raise ValueError(f"its images have {vision['num_channels']!r} channels, not 3")


def read_tower(
    content: Mapping[str, Any], name: str, defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings of one tower.

    Raises:
        ValueError: they are no table.
    """
    # Where both are given, transformers takes the one with the longer name, and nothing else.
    fields = content.get(f"{name}_dict")
    fields = content.get(name) if fields is None else fields
    if not isinstance(fields, dict | None):
        raise ValueError(f"its {name} is not a table of settings")
    return {**defaults, **(fields or {})}


def transformer(tower: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that open_clip's two towers share.

    Raises:
        ValueError: one of them is not what open_clip can build.
    """
    width = positive(tower, "hidden_size")
    inner = positive(tower, "intermediate_size")
    ratio = inner / width
    if int(width * ratio) != inner:  # as open_clip multiplies: a rounding must not cost a row
        ratio = math.nextafter(ratio, math.inf)
    epsilon = tower["layer_norm_eps"]
    check({"layer_norm_eps": epsilon}, {"layer_norm_eps": _EPSILON}, "")
    usual = epsilon == _USUAL_EPSILON
    return {
        "layers": positive(tower, "num_hidden_layers"),
        "width": width,
        "mlp_ratio": ratio,
        **({} if usual else {"norm_kwargs": {"eps": epsilon}}),
    }


def heads(tower: Mapping[str, Any]) -> int:
    """The number of a tower's attention heads.

    Raises:
        ValueError: its width is no multiple of it.
    """
    width, number = positive(tower, "hidden_size"), positive(tower, "num_attention_heads")
    if width % number:
        raise ValueError(f"its width {width} is no multiple of its {number} heads")
    return number


def positive(fields: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """A whole number above zero, and below what no model has.

    Raises:
        ValueError: it is something else.
    """
    value = fields.get(name, default)
    if type(value) is not int or not 1 <= value <= _MOST.get(name, _MOST_OTHERWISE):
        raise ValueError(f"it has an unusable {name}: {shown(value)}")
    return value
