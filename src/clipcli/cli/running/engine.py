"""The model that a command line asks for, loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipcli.engines.choice import choose_engine, for_training, load_engine

if TYPE_CHECKING:
    from clipcli.cli.console import Console
    from clipcli.engines.base import Engine, EngineOptions
    from clipcli.engines.choice import EngineChoice
    from clipcli.heads.adapters import Adapter
    from clipcli.models.specs import ModelSpec


def open_engine(
    spec: ModelSpec,
    options: EngineOptions,
    console: Console,
    adapter: Adapter | None = None,
    *,
    offline: bool,
) -> Engine:
    """Load the model that a command line asks for, and say so to those who want to know.

    Args:
        spec: the model.
        options: where and how it runs.
        console: where that is told.
        adapter: whose LoRA changes the model's weights, if it has one.
        offline: nothing is downloaded.
    """
    from clipcli.images.decoding import lift_pillow_limit

    # A command is the whole program, and --max-pixels says what to do beyond it.
    lift_pillow_limit()
    if adapter is not None and adapter.lora:
        options = for_training(options, f"the LoRA of {adapter.name}")
    choice = choose_engine(spec, options)
    console.note(f"{choice.name} runs, because {choice.reason}")
    engine = load_engine(spec, options, choice, offline=offline)
    # Not before: of a model that cannot be had there is nothing to prepare.
    _advise(choice, spec, console)
    info = engine.info
    console.note(f"{info.name} with {info.engine}, fingerprint {info.fingerprint}")
    if adapter is None:
        return engine
    from clipcli.heads.adapted import adapted_engine

    return adapted_engine(engine, adapter)


def _advise(choice: EngineChoice, spec: ModelSpec, console: Console) -> None:
    if choice.worth_preparing:
        console.hint(
            f"'{spec.request.pull_command}' once makes every later start of this model faster"
        )
