"""A file's weights into a model: under their own names, or without the prefix that these share."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from open_clip.model import convert_to_custom_text_state_dict

from clipcli.engines.torch.checkpoints import (
    OPENAI_SETTINGS,
    USUAL_TABLES,
    StateDict,
    WeightSet,
    difference,
    read_weight_sets,
)
from clipcli.engines.torch.sizes import size_advice
from clipcli.engines.torch.transformers_weights import from_transformers
from clipcli.errors import ClipcliWarning, ModelError
from clipcli.models.specs import ModelSpec

_PARALLEL_PREFIX = "module."  # open_clip takes off what parallel training puts before every name

# torch's own wrappers of a part of a model, which no part of one is called.
_WRAPPERS = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


@dataclass(frozen=True)
class _Attempt:
    """Weights under the names that a model might know.

    Attributes:
        source: the table that they come from.
        prefix: what was taken off their names; tensors without it are left out.
        wrapped: whether names of torch's wrappers were taken out of them.
        left_out: how many tensors of the table have another prefix.
        state: under the names that are left, in today's layout.
        fault: what keeps them from fitting; empty where nothing does.
    """

    source: WeightSet
    prefix: str
    wrapped: bool
    left_out: int
    state: StateDict
    fault: str

    @property
    def is_usual(self) -> bool:
        """Whether open_clip itself would read them."""
        usual_prefix = self.prefix in ("", _PARALLEL_PREFIX) and not self.wrapped
        return usual_prefix and self.source.path in USUAL_TABLES

    @property
    def origin(self) -> str:
        """What was taken, for people."""
        table = f" of {self.source.name!r}" if self.source.path else ""
        less = [f"the prefix {self.prefix!r}"] if self.prefix else []
        less += ["the names of torch's wrappers"] if self.wrapped else []
        return f"the weights{table}{' without ' if less else ''}{' and '.join(less)}"


def load_weights(model: torch.nn.Module, file: Path, spec: ModelSpec) -> None:
    """Copy a checkpoint into a model: every tensor of its own name and shape.

    open_clip's own loader would resize positional embeddings and invent a missing bias. Where one
    table of the file, or one common prefix less, makes all names and shapes fit, a warning says so.

    Raises:
        ModelError: nothing in the file fits, or more than one thing does.
    """
    attempts: list[_Attempt] = []
    for attempt in _attempts(read_weight_sets(file), model):
        attempts.append(attempt)
        if attempt.is_usual and not attempt.fault:
            break  # as nearly always: nothing else is looked for
    fitting = [attempt for attempt in attempts if not attempt.fault]
    if not fitting:
        raise _misfit(model, file, spec, attempts)
    chosen = _only(file, fitting)
    if not chosen.is_usual:
        _tell(file, chosen)
    model.load_state_dict(chosen.state)


def _only(file: Path, fitting: Sequence[_Attempt]) -> _Attempt:
    """The weights that open_clip would take; else the only ones, never a choice between two."""
    usual = [attempt for attempt in fitting if attempt.is_usual]
    first, *others = usual or fitting
    if not usual and not all(_same(first.state, other.state) for other in others):
        found = "; ".join(attempt.origin for attempt in fitting)
        raise ModelError(
            f"{file} holds more than one set of weights that fits ({found}):"
            " save the one that you mean in a file of its own"
        )
    return first


def _same(one: StateDict, other: StateDict) -> bool:
    return all(torch.equal(value, other[key]) for key, value in one.items())


def _tell(file: Path, chosen: _Attempt) -> None:
    rest = f" (of {chosen.left_out} other tensors there none is)" if chosen.left_out else ""
    warnings.warn(f"{file}: {chosen.origin} fit, and are taken{rest}", ClipcliWarning, stacklevel=2)


def _attempts(sets: Iterable[WeightSet], model: torch.nn.Module) -> Iterator[_Attempt]:
    wanted = model.state_dict()
    # A training checkpoint's own table before its optimizer's, say.
    for source in sorted(sets, key=lambda each: each.path not in USUAL_TABLES):
        for wrapped, state in _unwrapped(source.state):
            for prefix in _prefixes(state, len(wanted) // 2):
                part = {
                    key.removeprefix(prefix): value
                    for key, value in state.items()
                    if key.startswith(prefix)
                }
                today = _in_todays_layout(model, from_transformers(part))
                left_out, fault = len(state) - len(part), difference(wanted, today)
                yield _Attempt(source, prefix, wrapped, left_out, today, fault)


def _unwrapped(state: StateDict) -> Iterator[tuple[bool, StateDict]]:
    """The tensors, and where torch's wrappers are in their names, those without them, too."""
    yield False, state
    bare = {_WRAPPERS.sub("", key): value for key, value in state.items()}
    if bare.keys() != state.keys() and len(bare) == len(state):
        yield True, bare


def _prefixes(state: StateDict, least: int) -> list[str]:
    """No prefix, and those that enough names have to be a model's, the shortest first."""
    counts = Counter(
        key[: end + 1] for key in state for end, letter in enumerate(key) if letter == "."
    )
    common = [prefix for prefix, count in counts.items() if count >= max(least, 1)]
    return ["", *sorted(common, key=len)]


def _misfit(
    model: torch.nn.Module, file: Path, spec: ModelSpec, attempts: Sequence[_Attempt]
) -> ModelError:
    """Why nothing fits, told of what comes nearest."""
    wanted = model.state_dict()

    def known(attempt: _Attempt) -> int:
        return len(wanted.keys() & attempt.state.keys())

    nearest = max(attempts, key=known)
    what = f"{file}" if nearest.is_usual else f"{file} ({nearest.origin})"
    advice = size_advice(model, spec, nearest.state, file)
    reason = f"{nearest.fault}. {advice}" if advice else nearest.fault
    return ModelError(f"{what} does not fit this architecture: {reason}")


def _in_todays_layout(model: torch.nn.Module, state: StateDict) -> dict[str, torch.Tensor]:
    """Names and shapes that OpenAI and older versions of open_clip wrote, as this one has them."""
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(dict(state))
    wanted = model.state_dict()
    made = _made_by_the_model(model, wanted)
    state = {
        key: value
        for key, value in state.items()
        if key not in made and not key.endswith(".position_ids")
    }
    for key in ("logit_scale", "logit_bias"):  # a scalar, or one value in a row
        if key in state and key in wanted and state[key].numel() == 1:
            state[key] = state[key].reshape(wanted[key].shape)
    return state


def _made_by_the_model(model: torch.nn.Module, wanted: Mapping[str, object]) -> set[str]:
    """Masks and tables of positions: older versions and scripted models save them, too."""
    made = {name for name, _ in model.named_buffers()} - wanted.keys()
    # `CLIP` has its text tower's under names of its own.
    return made | {name.removeprefix("text.") for name in made} | OPENAI_SETTINGS
