"""Engines at work: do they load, and do they give the answers that are on record?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from clipcli.doctor.findings import Check, Outcome, attempt
from clipcli.doctor.known_answers import CHECK_PHOTOS, KnownAnswer, disagreements, known_answers
from clipcli.engines.base import EngineOptions
from clipcli.engines.choice import load_engine
from clipcli.engines.hardware import cuda_available, cuda_trouble
from clipcli.errors import ModelError
from clipcli.models.names import BUNDLED_MODEL, resolve_model
from clipcli.models.specs import ModelRequest

if TYPE_CHECKING:
    from clipcli.engines.base import Engine


class _Backend(NamedTuple):
    """An engine on a device, and the library that it needs."""

    library: str
    engine: str
    device: str


BACKENDS: Mapping[str, _Backend] = {
    "onnx": _Backend("onnxruntime", "onnx", "cpu"),
    "torch": _Backend("torch", "torch", "cpu"),
    # By its name and not `auto`: what is examined must be what the line says.
    "torch on CUDA": _Backend("torch", "torch", "cuda"),
}


def engines() -> tuple[list[Check], dict[str, Engine]]:
    """Load the bundled model in every backend that there is here.

    Returns:
        A check for each backend, and the engines that did load.
    """
    loaded: dict[str, Engine] = {}
    checks = [
        check for backend in BACKENDS for check in attempt(backend, partial(_load, backend, loaded))
    ]
    # One engine less is an installation's choice; none at all is a fault.
    if not loaded:
        checks.append(Check("any engine", Outcome.FAILED, "no engine runs: install clipcli anew"))
    return checks, loaded


def self_test(loaded: Mapping[str, Engine]) -> list[Check]:
    """The bundled model's answers, engine by engine."""
    answers = [answer for answer in known_answers() if answer.model == BUNDLED_MODEL]
    checks = []
    for backend, engine in loaded.items():
        name = f"{BUNDLED_MODEL}, {backend}"
        checks += attempt(name, partial(_compare, name, engine, answers, CHECK_PHOTOS))
    return checks


def published_answers(loaded: Collection[str], folder: Path | None) -> list[Check]:
    """The published answers of real models, as far as these and the images are here.

    Args:
        loaded: the backends in which the bundled model could be loaded.
        folder: of the images; None where there is none.
    """
    answers = [answer for answer in known_answers() if answer.model != BUNDLED_MODEL]
    checks = []
    for name in dict.fromkeys(answer.model for answer in answers):
        of_model = [answer for answer in answers if answer.model == name]
        checks += attempt(name, partial(_published, of_model, loaded, folder))
    return checks


def _load(backend: str, loaded: dict[str, Engine]) -> list[Check]:
    # Asked before anything is imported: an installation may leave an engine out on purpose.
    library, engine, device = BACKENDS[backend]
    if find_spec(library) is None:
        return [Check(backend, Outcome.NOT_RUN, f"the package {library} is not installed")]
    if device == "cuda" and not cuda_available():
        why = cuda_trouble() or "there is no CUDA device, or torch is built without"
        return [Check(backend, Outcome.NOT_RUN, why)]

    spec = resolve_model(ModelRequest(BUNDLED_MODEL))
    loaded[backend] = load_engine(spec, EngineOptions(device, engine=engine), offline=True)
    return [Check(backend, Outcome.OK, loaded[backend].info.engine)]


def _compare(
    name: str, engine: Engine, answers: Sequence[KnownAnswer], folder: Path
) -> list[Check]:
    found = disagreements(engine, answers, folder)
    if found:
        return [Check(name, Outcome.FAILED, "; ".join(found))]
    return [Check(name, Outcome.OK, f"{len(answers)} known answers came out")]


def _published(
    answers: Sequence[KnownAnswer], loaded: Collection[str], folder: Path | None
) -> list[Check]:
    """One model's answers: what is missing is said before anything is loaded."""
    model = answers[0].model
    backends = _backends(model)
    if not backends:
        return [Check(model, Outcome.NOT_RUN, "it is neither prepared nor in the hub's cache")]
    # The part that can be asked is asked, even where some images are missing.
    here = [answer for answer in answers if folder and (folder / answer.image).is_file()]
    missing = [f"{answer.image} ({answer.origin})" for answer in answers if answer not in here]
    checks = []
    if missing:
        where = f"in {folder}" if folder else "in a folder that --images names"
        checks.append(Check(model, Outcome.NOT_RUN, f"needs {' and '.join(missing)} {where}"))
    for backend in backends if here else ():
        name = f"{model}, {backend}"
        if backend not in loaded:
            checks.append(Check(name, Outcome.NOT_RUN, "the engine does not load"))
        else:
            checks += attempt(name, partial(_run_published, name, backend, here, folder or Path()))
    return checks


def _backends(model: str) -> list[str]:
    """The backends in which a model can run here without a download."""
    from clipcli.models.bundles import find_bundle
    from clipcli.models.weights import weights_file

    # Offline: an examination must find the same twice, and cost no download.
    spec = resolve_model(ModelRequest(model, offline=True))
    backends = ["onnx"] if find_bundle(spec, "fp32") else []
    try:
        weights_file(spec, offline=True)
    except ModelError:
        return backends
    return [*backends, "torch"]


def _run_published(
    name: str, backend: str, answers: Sequence[KnownAnswer], folder: Path
) -> list[Check]:
    spec = resolve_model(ModelRequest(answers[0].model, offline=True))
    options = EngineOptions("cpu", engine=BACKENDS[backend].engine)
    return _compare(name, load_engine(spec, options, offline=True), answers, folder)
