"""Where a torch model looks: maps of gradients, for vision transformers and for convolutions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clipcli.engines.torch.towers import encode_image
from clipcli.errors import UsageError

# A coarser map names no place: at 64 pixels a ResNet's last map has two a side.
_FEWEST_PLACES = 4
# Stages and their blocks, not the convolutions inside a block, whose channels mean less.
_DEEPEST_NAME = 2


def gradient_maps(model: Any, pixels: Tensor, directions: Tensor) -> Tensor:  # noqa: ANN401
    """Where an image's score comes from, by gradients.

    The score of a direction d is the product of the unit image embedding and d. Vision
    transformers get LeGrad, other towers Grad-CAM.

    Args:
        model: of open_clip, in evaluation mode.
        pixels: one preprocessed image, shape (1, 3, height, width).
        directions: of the embedding space, shape (n, embed_dim).

    Returns:
        What speaks for each direction, nowhere negative, shape (n, rows, columns).

    Raises:
        UsageError: the model's image tower is of another kind.
    """
    tower = _transformer(model.visual)
    with torch.enable_grad():
        pixels = pixels.detach().clone().requires_grad_()
        if tower is None:
            return _grad_cam(model, pixels, directions)
        return _le_grad(model, tower, pixels, directions)


@dataclass(frozen=True)
class _Transformer:
    """A vision transformer.

    Attributes:
        attentions: of its blocks, in their order.
        blocks: the same.
        head: tokens as a block gives them, shape (1, tokens, width), to features (1, embed_dim).
        prefix: tokens that stand for no place in the image.
    """

    attentions: Sequence[Any]
    blocks: Sequence[nn.Module]
    head: Callable[[Tensor], Tensor]
    prefix: int


@dataclass(frozen=True)
class _Attended:
    """What one attention did.

    Attributes:
        values: shape (tokens, width).
        mixed: what the gradient is taken of, shape (1, tokens, width).
        projection: from the mixed values of all heads to `mixed`; None where they are the same.
        heads: their number.
    """

    values: Tensor
    mixed: Tensor
    projection: Tensor | None
    heads: int


def _transformer(visual: Any) -> _Transformer | None:  # noqa: ANN401
    """The parts of an open_clip or timm vision transformer; None for another tower."""
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
    if blocks is not None and all(
        isinstance(block.attn, nn.MultiheadAttention) for block in blocks
    ):
        return _Transformer([block.attn for block in blocks], blocks, _own_head(visual), prefix=1)
    trunk: Any = getattr(visual, "trunk", None)
    blocks = getattr(trunk, "blocks", None)
    if blocks and all(_is_plain(getattr(block, "attn", None)) for block in blocks):

        def head(tokens: Tensor) -> Tensor:
            features: Tensor = visual.head(trunk.forward_head(trunk.norm(tokens)))
            return features

        attentions = [block.attn for block in blocks]
        return _Transformer(attentions, blocks, head, trunk.num_prefix_tokens)
    return None


def _own_head(visual: Any) -> Callable[[Tensor], Tensor]:  # noqa: ANN401
    def head(tokens: Tensor) -> Tensor:
        pooled: Tensor = visual._pool(tokens)[0]
        return pooled if visual.proj is None else pooled @ visual.proj

    return head


def _is_plain(attention: Any) -> bool:  # noqa: ANN401
    """Whether nothing comes between the mixed values of timm's attention and its projection."""
    parts = [getattr(attention, name, None) for name in ("qkv", "proj")]
    is_linear = all(isinstance(part, nn.Linear) for part in parts)
    between = getattr(attention, "norm", nn.Identity()), getattr(attention, "gate", None)
    return is_linear and isinstance(between[0], nn.Identity) and between[1] is None


def _le_grad(model: Any, tower: _Transformer, pixels: Tensor, directions: Tensor) -> Tensor:  # noqa: ANN401
    """LeGrad (Bousselham et al., ICCV 2025).

    Each layer's tokens go through the model's own pooling and projection to a score s of their
    own; the gradient of s by the layer's attention, its positive part averaged over heads and
    asking tokens, says what each place gave to it; the map is the average over layers.
    """
    attended: dict[int, _Attended] = {}
    tokens: dict[int, Tensor] = {}
    with _watched(tower, attended, tokens):
        encode_image(model, pixels)
    if attended.keys() != tokens.keys() or len(tokens) != len(tower.blocks):
        raise _no_map()
    layers = []
    for layer, seen in attended.items():
        scores = _scores(tower.head(tokens[layer]), directions)
        layers.append(torch.stack([_attention_gradient(score, seen) for score in scores]))
    places = torch.stack(layers).mean(0)[:, tower.prefix :]
    height, width = pixels.shape[-2:]
    rows = round((places.shape[1] * height / width) ** 0.5)
    if places.shape[1] % rows:
        raise _no_map()
    return places.reshape(len(directions), rows, -1)


def _attention_gradient(score: Tensor, seen: _Attended) -> Tensor:
    """The positive gradient by each token's share of attention: shape (tokens,).

    A head's mixed value of token i is o_i = sum_j A_ij v_j, hence ds/dA_ij = ds/do_i . v_j: the
    attention itself, which fused kernels do not give out, is not needed.
    """
    (gradient,) = torch.autograd.grad(score, seen.mixed, retain_graph=True)
    gradient = gradient[0].float()
    if seen.projection is not None:
        gradient = gradient @ seen.projection.float()
    mixed = gradient.reshape(len(gradient), seen.heads, -1)
    values = seen.values.detach().float().reshape(len(gradient), seen.heads, -1)
    return torch.einsum("ihd,jhd->hij", mixed, values).relu().mean((0, 1))


@contextmanager
def _watched(
    tower: _Transformer, attended: dict[int, _Attended], tokens: dict[int, Tensor]
) -> Iterator[None]:
    """Keep what each layer's attention did, and each layer's tokens, while the model runs."""
    hooks = []
    for layer, (attention, block) in enumerate(zip(tower.attentions, tower.blocks, strict=True)):
        watch = _watch_own if isinstance(attention, nn.MultiheadAttention) else _watch_timm
        hooks += watch(attention, layer, attended)

        def keep(_module: nn.Module, _inputs: Any, output: Tensor, layer: int = layer) -> None:  # noqa: ANN401
            tokens[layer] = output

        hooks.append(block.register_forward_hook(keep))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _watch_own(
    attention: nn.MultiheadAttention, layer: int, attended: dict[int, _Attended]
) -> list[Any]:
    def keep(_module: nn.Module, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        # The last third of the stacked projections is the values'.
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        start = 2 * attention.embed_dim
        values = nn.functional.linear(inputs[2], weight[start:], bias[start:])
        projection = attention.out_proj.weight
        attended[layer] = _Attended(values[0], output[0], projection, attention.num_heads)

    return [attention.register_forward_hook(keep)]


def _watch_timm(attention: Any, layer: int, attended: dict[int, _Attended]) -> list[Any]:  # noqa: ANN401
    values: list[Tensor] = []

    def keep_values(_module: nn.Module, _inputs: Any, output: Tensor) -> None:  # noqa: ANN401
        values[:] = [output[0, :, output.shape[-1] // 3 * 2 :]]

    def keep_mixed(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if values:  # some attentions use the weights of `qkv` without calling it
            attended[layer] = _Attended(values[0], inputs[0], None, attention.num_heads)

    return [
        attention.qkv.register_forward_hook(keep_values),
        attention.proj.register_forward_pre_hook(keep_mixed),
    ]


def _grad_cam(model: Any, pixels: Tensor, directions: Tensor) -> Tensor:  # noqa: ANN401
    """Grad-CAM (Selvaraju et al., ICCV 2017), on the deepest map of at least 4 x 4 places.

    Channels are weighted with the average gradient of the score, and summed; what speaks against
    the score is dropped.
    """
    features: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:  # noqa: ANN401
        is_map = isinstance(output, Tensor) and output.ndim == 4 and output.requires_grad
        if is_map and min(output.shape[2:]) >= _FEWEST_PLACES:
            features[:] = [output]

    hooks = [stage.register_forward_hook(keep) for stage in _stages(model.visual)]
    try:
        scores = _scores(encode_image(model, pixels), directions)
    finally:
        for hook in hooks:
            hook.remove()
    if not features:
        raise _no_map()
    maps = []
    for score in scores:
        (gradient,) = torch.autograd.grad(score, features[0], retain_graph=True)
        weights = gradient[0].float().mean((1, 2))
        maps.append(torch.einsum("c,chw->hw", weights, features[0][0].detach().float()).relu())
    return torch.stack(maps)


def _stages(visual: nn.Module) -> list[nn.Module]:
    """The parts of a tower, and their parts: `layer4` and its blocks, say."""
    trunk = getattr(visual, "trunk", visual)
    names = ((name, part) for name, part in trunk.named_modules() if name)
    return [part for name, part in names if name.count(".") < _DEEPEST_NAME]


def _scores(features: Tensor, directions: Tensor) -> Tensor:
    """The scores of one image's features, shape (1, embed_dim), for each direction."""
    return nn.functional.normalize(features[0].float(), dim=-1) @ directions.T


def _no_map() -> UsageError:
    return UsageError(
        "there is no map of gradients for this kind of image tower: use --method occlusion"
    )
