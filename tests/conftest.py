"""What several tests share: the installed command, real photos, the bundled model."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from command import PATIENCE, PHOTOS, Command, clean_environment, installed_command
from hypothesis import HealthCheck, settings

# How long an example takes says more about the machine than about what is tested.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def usual_signals() -> Iterator[None]:
    """Signals mean what they mean in a terminal, for this process and for those that it starts.

    A shell's job in the background ignores Ctrl-C, and under `nohup` a hang-up, too. Children
    inherit what is ignored, but not what is handled.
    """
    handlers = {
        signal.SIGINT: signal.default_int_handler,
        # Whoever wants these tests to go on after a hang-up has it so: they are heard, no more.
        signal.SIGQUIT: lambda *_: None,
        signal.SIGHUP: lambda *_: None,
    }
    ignored = [number for number in handlers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, handlers[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="session", autouse=True)
def own_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Every cache and adapter of this test run, for this process and for those that it starts."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPCLI_CACHE_DIR", str(folder))
        patch.setenv("CLIPCLI_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        yield folder


@pytest.fixture(scope="session")
def photos() -> Path:
    """A folder of three real photos: chelsea.png (a cat), coffee.png, rocket.jpg."""
    return PHOTOS


@pytest.fixture(scope="session")
def clipcli() -> Command:
    """Runs the installed command: clipcli("photo.jpg", "-l", "cat", cwd=…, env={…}, input=b"")."""

    def run(
        *arguments: str | bytes | Path,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        input: bytes = b"",  # noqa: A002  subprocess's own name for it
    ) -> subprocess.CompletedProcess[bytes]:
        command: Sequence[str | bytes | Path] = [installed_command(), *arguments]
        environment = {**clean_environment(), **(env or {})}
        return subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            input=input,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )

    return run
