"""Why a model's files cannot be had, told of the model as its user named it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from clipcli.errors import ModelError, UnavailableModelError

if TYPE_CHECKING:
    from clipcli.models.hub.cache import HubError
    from clipcli.models.specs import ModelRequest, ModelSpec


@contextmanager
def told_as_asked(request: ModelRequest, spec: ModelSpec | None = None) -> Iterator[None]:
    """Turn errors of the hub's files into one of the model.

    Args:
        request: what the user asked for.
        spec: what that means, as far as it is known.

    Raises:
        UnavailableModelError: a file of the hub cannot be had.
    """
    try:
        yield
    except ModelError as error:
        # Most models come without the hub's rooms.
        from clipcli.models.hub.cache import HubError

        if not isinstance(error, HubError) or not error.file:
            raise
        raise _unavailable(error, request, spec) from error


def _unavailable(
    error: HubError, request: ModelRequest, spec: ModelSpec | None
) -> UnavailableModelError:
    hint = (error.hint,) if error.hint else ()
    bundled = () if _is_narrowed(request) else ("`--model tiny` works without",)
    if error.absence is None:
        reason = f"{request.name} cannot be had ({error.file}: {error.reason})"
        ways_out = (*hint, _other(request), *bundled)
    else:
        why, until = error.absence
        reason = f"{_what(error, request, spec)} is not on this computer and {why}"
        ways_out = (*bundled, f"{_fetching(request, spec)} {until}", *hint)
    return UnavailableModelError(reason, ways_out, str(error))


def _is_narrowed(request: ModelRequest) -> bool:
    """Whether the bundled model would be refused with what else was asked for."""
    return (request.checkpoint, request.revision, request.quick_gelu) != (None, None, None)


def _other(request: ModelRequest) -> str:
    """Where the weights may come from, if not from the hub."""
    if request.name.startswith("hf-hub:"):
        return "`--model ./FOLDER` takes a model's folder that is here"
    return "`--checkpoint FILE.safetensors` takes weights that are here"


def _what(error: HubError, request: ModelRequest, spec: ModelSpec | None) -> str:
    # Of a folder's model, or one with weights of one's own, the rest is here.
    is_part = spec is not None and isinstance(spec.weights, Path)
    return f"{error.file}, which {request.name} needs," if is_part else request.name


def _fetching(request: ModelRequest, spec: ModelSpec | None) -> str:
    """What downloads the model."""
    if spec is not None and spec.needs_transformers:
        return "the same command"
    return f"`{request.pull_command}`"
