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
from clipcli.engines.hardware import cuda_available
from clipcli.errors import ModelError
from clipcli.models.names import BUNDLED_MODEL, resolve_model
from clipcli.models.specs import ModelRequest

if TYPE_CHECKING:
    from clipcli.engines.base import Engine


class _Way(NamedTuple):
    """One way to run a model."""

    library: str
    engine: str
    device: str


WAYS: Mapping[str, _Way] = {
    "onnx": _Way("onnxruntime", "onnx", "cpu"),
    "torch": _Way("torch", "torch", "cpu"),
    "torch on CUDA": _Way("torch", "torch", "cuda"),
}


def engines() -> tuple[list[Check], dict[str, Engine]]:
    """Load the bundled model in every way that there is here.

    Returns:
        A check for each way, and the engines that did load.
    """
    loaded: dict[str, Engine] = {}
    checks = [check for way in WAYS for check in attempt(way, partial(_load, way, loaded))]
    if not loaded:
        checks.append(Check("any engine", Outcome.FAILED, "no engine runs: install clipcli anew"))
    return checks, loaded


def self_test(loaded: Mapping[str, Engine]) -> list[Check]:
    """The bundled model's answers, engine by engine."""
    answers = [answer for answer in known_answers() if answer.model == BUNDLED_MODEL]
    checks = []
    for way, engine in loaded.items():
        name = f"{BUNDLED_MODEL}, {way}"
        checks += attempt(name, partial(_compare, name, engine, answers, CHECK_PHOTOS))
    return checks


def published_answers(loaded: Collection[str], folder: Path | None) -> list[Check]:
    """The published answers of real models, as far as these and the images are here.

    Args:
        loaded: the ways in which the bundled model could be loaded.
        folder: of the images; None where there is none.
    """
    answers = [answer for answer in known_answers() if answer.model != BUNDLED_MODEL]
    checks = []
    for name in dict.fromkeys(answer.model for answer in answers):
        of_model = [answer for answer in answers if answer.model == name]
        checks += attempt(name, partial(_published, of_model, loaded, folder))
    return checks


def _load(way: str, loaded: dict[str, Engine]) -> list[Check]:
    # Asked before anything is imported: an installation may leave an engine out on purpose.
    library, engine, device = WAYS[way]
    if find_spec(library) is None:
        return [Check(way, Outcome.NOT_RUN, f"the package {library} is not installed")]
    if device == "cuda" and not cuda_available():
        return [Check(way, Outcome.NOT_RUN, "there is no CUDA device, or torch is built without")]

    from clipcli.engines.choice import load_engine

    spec = resolve_model(ModelRequest(BUNDLED_MODEL))
    loaded[way] = load_engine(spec, EngineOptions(device, engine=engine), offline=True)
    return [Check(way, Outcome.OK, loaded[way].info.engine)]


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
    ways = _ways(model)
    if not ways:
        return [Check(model, Outcome.NOT_RUN, "it is neither prepared nor in the hub's cache")]
    here = [answer for answer in answers if folder and (folder / answer.image).is_file()]
    missing = [f"{answer.image} ({answer.origin})" for answer in answers if answer not in here]
    checks = []
    if missing:
        where = f"in {folder}" if folder else "in a folder that --images names"
        checks.append(Check(model, Outcome.NOT_RUN, f"needs {' and '.join(missing)} {where}"))
    for way in ways if here else ():
        name = f"{model}, {way}"
        if way not in loaded:
            checks.append(Check(name, Outcome.NOT_RUN, "the engine does not load"))
        else:
            checks += attempt(name, partial(_run_published, name, way, here, folder or Path()))
    return checks


def _ways(model: str) -> list[str]:
    """The ways in which a model can run here without a download."""
    from clipcli.models.bundles import find_bundle
    from clipcli.models.weights import weights_file

    spec = resolve_model(ModelRequest(model, offline=True))
    ways = ["onnx"] if find_bundle(spec, "fp32") else []
    try:
        weights_file(spec, offline=True)
    except ModelError:
        return ways
    return [*ways, "torch"]


def _run_published(
    name: str, way: str, answers: Sequence[KnownAnswer], folder: Path
) -> list[Check]:
    from clipcli.engines.choice import load_engine

    spec = resolve_model(ModelRequest(answers[0].model, offline=True))
    options = EngineOptions("cpu", engine=WAYS[way].engine)
    return _compare(name, load_engine(spec, options, offline=True), answers, folder)
