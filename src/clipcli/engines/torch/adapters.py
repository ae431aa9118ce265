"""LoRA: weights of a loaded model that a product of two narrow matrices changes."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from clipcli.arrays import Float32
from clipcli.engines.torch.checkpoints import difference
from clipcli.errors import ModelError

Weights = Mapping[str, Float32]
"""Name -> array. A weight's are `WEIGHT.lora_A` (rank, inputs) and `WEIGHT.lora_B` (outputs, rank).

Of weights in one, as an attention's queries, keys and values, each has its own: `WEIGHT.q.lora_A`.
"""

# The names of an attention's weights in open_clip, timm and transformers -> what they make.
_ROLES = {
    **dict.fromkeys(("in_proj_weight", "qkv"), ("q", "k", "v")),
    "kv": ("k", "v"),
    **dict.fromkeys(("q_proj_weight", "q_proj", "q", "query", "q_lin"), ("q",)),
    **dict.fromkeys(("k_proj_weight", "k_proj", "k", "key", "k_lin"), ("k",)),
    **dict.fromkeys(("v_proj_weight", "v_proj", "v", "value", "v_lin"), ("v",)),
    **dict.fromkeys(("out_proj", "proj", "o_proj", "o", "out_lin"), ("out",)),
}
# Attention that only gathers a map of convolutions, or the tokens of all blocks, into one.
_POOLING = re.compile(r"(^|\.)attn_?pool")
_BLOCK = re.compile(r".*\.\d+(?=\.)")
_NAME = re.compile(r"(?P<weight>.+?)(?:\.(?P<part>[qkv]))?\.lora_[AB]")


@dataclass(frozen=True)
class Layer:
    """A weight that is changed.

    Attributes:
        weight: its name in the model's state dict.
        parts: those of a weight of several in one that change; none where it is one.
    """

    weight: str
    parts: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of its changes, as in `Weights`, without what tells A from B."""
        return tuple(f"{self.weight}.{part}" for part in self.parts) or (self.weight,)


class LowRank(nn.Module):
    """W -> W + scale·B·A (Hu et al. 2021, 2106.09685), for some or all of the weights in one W.

    Args:
        layer: the weight.
        a: shape (parts, rank, inputs).
        b: shape (parts, outputs, rank).
        scale: of the product.

    Attributes:
        kept: of shape (parts, 1, inputs), what each input counts for in the change; None for 1.
    """

    def __init__(self, layer: Layer, a: Tensor, b: Tensor, scale: float) -> None:
        super().__init__()
        self.layer, self.scale = layer, scale
        self.a, self.b = nn.Parameter(a), nn.Parameter(b)
        self.kept: Tensor | None = None

    def forward(self, weight: Tensor) -> Tensor:
        """The weight and its change."""
        inputs = self.a if self.kept is None else self.a * self.kept
        change = self.scale * (self.b @ inputs)
        fused = _fused(self.layer.weight)
        if self.layer.parts and self.layer.parts != fused:
            whole = change.new_zeros(len(fused), *change.shape[1:])
            whole[[fused.index(part) for part in self.layer.parts]] = change
            change = whole
        return (weight + change.reshape(weight.shape)).to(weight.dtype)


def sharing_weights(model: nn.Module) -> Any:  # noqa: ANN401  open_clip's models have no type
    """A model of its own modules, whose weights take no memory: they are the given one's.

    Its weights can be exchanged; what is written into one is written into both.
    """
    shared: dict[int, Any] = {
        id(weight): nn.Parameter(weight.detach(), requires_grad=False)
        for weight in model.parameters()
    }
    return copy.deepcopy(model, shared | {id(buffer): buffer for buffer in model.buffers()})


def find_layers(
    model: nn.Module, towers: str, targets: Sequence[str], last: int | None = None
) -> list[Layer]:
    """The weights of a model that LoRA changes.

    Where a tower has attention in its blocks these are the attention's, else those of all linear
    layers and ungrouped convolutions: batch norms and what is grouped stay as they are.

    Args:
        model: of open_clip.
        towers: `vision`, `text` or `both`.
        targets: some of `q`, `k`, `v` and `out`.
        last: of how many blocks at the end of each tower; None for all.
    """
    text = "text" if hasattr(model, "text") else "transformer"
    names = {"vision": ["visual"], "text": [text], "both": ["visual", text]}[towers]
    found = []
    for name in names:
        tower = model.get_submodule(name)
        layers = list(_attention_layers(name, tower, targets)) or list(_plain_layers(name, tower))
        found += _last_blocks(layers, last)
    return found


def _attention_layers(tower: str, module: nn.Module, targets: Sequence[str]) -> Iterator[Layer]:
    for name, part in module.named_modules(prefix=tower):
        weights = dict(_roles(part))
        if _POOLING.search(name) or not any("v" in parts for parts in weights.values()):
            continue
        for weight, parts in weights.items():
            chosen = tuple(target for target in parts if target in targets)
            if chosen:
                yield Layer(f"{name}.{weight}", chosen if len(parts) > 1 else ())


def _roles(module: nn.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The weights of an attention, by name, and what they make."""
    own, children = dict(module.named_parameters(recurse=False)), dict(module.named_children())
    for name, parts in _ROLES.items():
        if name in own:
            yield name, parts
        elif isinstance(children.get(name), nn.Linear):
            yield f"{name}.weight", parts


def _plain_layers(tower: str, module: nn.Module) -> Iterator[Layer]:
    for name, part in module.named_modules(prefix=tower):
        if isinstance(part, nn.Linear) or (isinstance(part, nn.Conv2d) and part.groups == 1):
            yield Layer(f"{name}.weight")


def _last_blocks(layers: list[Layer], count: int | None) -> list[Layer]:
    """The layers of the last blocks, and those behind them."""
    # A block is what stands last in a row of numbered modules: `resblocks.11`, `blocks.3.2`.
    found = [_BLOCK.match(layer.weight.rpartition(".")[0]) for layer in layers]
    blocks = [match[0] if match else "" for match in found]
    distinct = [block for block in dict.fromkeys(blocks) if block]
    if count is None or count >= len(distinct):
        return layers
    return layers[blocks.index(distinct[-count]) :]


def new_weights(
    model: nn.Module, layers: Sequence[Layer], rank: int, random: np.random.Generator
) -> dict[str, Float32]:
    """LoRA before its training, which changes nothing: B is zero, A uniform in ±1/√inputs.

    So begin both of them in CLIP-LoRA's code, and in that of Hu et al.
    """
    weights: dict[str, Float32] = {}
    for layer in layers:
        outputs, inputs = _shape(model.get_parameter(layer.weight), layer)
        bound = 1 / sqrt(inputs)
        for name in layer.names:
            drawn = random.uniform(-bound, bound, (rank, inputs))
            weights[f"{name}.lora_A"] = drawn.astype(np.float32)
            weights[f"{name}.lora_B"] = np.zeros((outputs, rank), np.float32)
    return weights


def apply_lora(model: nn.Module, weights: Weights, scale: float) -> list[LowRank]:
    """Let LoRA change a model, in place; its own weights stay beside the change.

    Args:
        model: of open_clip.
        weights: of the changes.
        scale: of each product B·A.

    Returns:
        The changes, to be trained.

    Raises:
        ModelError: they are not of this model, or not finite; nothing is changed.
    """
    _check_fit(model, weights)
    return [_apply(model, weights, scale, layer) for layer in _layers_of(weights)]


def _apply(model: nn.Module, weights: Weights, scale: float, layer: Layer) -> LowRank:
    path, _, name = layer.weight.rpartition(".")
    device = model.get_parameter(layer.weight).device
    a, b = (
        torch.from_numpy(np.stack([weights[f"{name}.{side}"] for name in layer.names]))
        for side in ("lora_A", "lora_B")
    )
    change = LowRank(layer, a.to(device, torch.float32), b.to(device, torch.float32), scale)
    parametrize.register_parametrization(model.get_submodule(path), name, change)
    return change


def lora_weights(changes: Sequence[LowRank]) -> dict[str, Float32]:
    """The weights of changes, as `apply_lora` takes them."""
    weights: dict[str, Float32] = {}
    for change in changes:
        for place, name in enumerate(change.layer.names):
            for side, value in (("lora_A", change.a), ("lora_B", change.b)):
                weights[f"{name}.{side}"] = value[place].detach().cpu().numpy().copy()
    return weights


def merge_lora(model: nn.Module) -> None:
    """Put LoRA's changes into a model's weights, which are then of their old names and shapes."""
    for module in list(model.modules()):
        changes: Mapping[str, Any] = getattr(module, "parametrizations", {})
        for name in [name for name, each in changes.items() if isinstance(each[0], LowRank)]:
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)


def lora_digest(weights: Weights, scale: float) -> str:
    """What tells one LoRA from every other, wherever it lies: a SHA-256 in hexadecimal."""
    digest = hashlib.sha256(repr(float(scale)).encode())
    for name, array in sorted(weights.items()):
        digest.update(f"\n{name} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array, "<f4").tobytes())
    return digest.hexdigest()


def _layers_of(weights: Weights) -> list[Layer]:
    """The weights that changes are of; a name that is none of `Weights` is a weight's."""
    parts: dict[str, set[str]] = {}
    for name in weights:
        match = _NAME.fullmatch(name)
        weight, part = (match["weight"], match["part"] or "") if match else (name, "")
        parts.setdefault(weight, set()).add(part)
    order = ("", "q", "k", "v")
    layers = {
        weight: tuple(part for part in order if part in found) for weight, found in parts.items()
    }
    return [Layer(weight, () if found == ("",) else found) for weight, found in layers.items()]


def _check_fit(model: nn.Module, weights: Weights) -> None:
    """See that all changes are of weights that the model has, and of their shapes."""
    found = {name: torch.from_numpy(np.asarray(array)) for name, array in weights.items()}
    wanted: dict[str, Tensor] = {}
    for layer in _layers_of(weights):
        wanted |= _wanted(model, layer, found)
    fault = difference(wanted, found)
    if fault or not found:
        reason = fault or "it changes nothing"
        raise ModelError(f"this LoRA was not made for this model: {reason}")
    if not all(bool(value.isfinite().all()) for value in found.values()):
        raise ModelError("this LoRA is damaged: it holds numbers that are not finite")


def _wanted(model: nn.Module, layer: Layer, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The matrices that a layer's changes should be; none where the model has no such layer."""
    weight = dict(model.named_parameters()).get(layer.weight)
    if weight is None or weight.ndim < 2 or not set(layer.parts) <= set(_fused(layer.weight)):
        return {}
    # Those of one weight are multiplied at once, and have one rank.
    first = found.get(f"{layer.names[0]}.lora_A", torch.empty(1, 1))
    rank = len(first) if first.ndim else 1
    outputs, inputs = _shape(weight, layer)
    shapes = {"lora_A": (rank, inputs), "lora_B": (outputs, rank)}
    return {
        f"{name}.{side}": torch.empty(shape, device="meta")
        for name in layer.names
        for side, shape in shapes.items()
    }


def _shape(weight: Tensor, layer: Layer) -> tuple[int, int]:
    """Outputs and inputs of a weight, or of each of those in one."""
    outputs = len(weight) // len(_fused(layer.weight)) if layer.parts else len(weight)
    return outputs, prod(weight.shape[1:])


def _fused(weight: str) -> tuple[str, ...]:
    """What the weights in one make, in their order; nothing for one alone."""
    parts = _ROLES.get(weight.removesuffix(".weight").rpartition(".")[2], ())
    return parts if len(parts) > 1 else ()
